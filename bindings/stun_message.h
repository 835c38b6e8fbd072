/* STUN messages as tables, for both halves of core.stun. */
#ifndef P2PD_BINDINGS_STUN_MESSAGE_H
#define P2PD_BINDINGS_STUN_MESSAGE_H

#include <lua.h>

#include "host/stun.h"
#include "host/stun/integrity.h"

#define STUN_ID_BITS 12 /* bytes of an id that are random */

/* Pushes the message as core.stun.decode() gives it; key.data NULL: integrity is not checked. */
void push_stun_message(lua_State *L, const struct stun_message *m, struct stun_text key);

/* Pushes nil, m->reason, "EBADMSG" or "EMSGSIZE" for what stun_decode() returned; returns 3. */
int push_stun_refusal(lua_State *L, int err, const struct stun_message *m);

/* 0, or -EIO. */
int stun_random_bits(uint8_t bits[STUN_ID_BITS]);

/* The Lua functions encode and decode. */
int stun_l_encode(lua_State *L);
int stun_l_decode(lua_State *L);

#endif
