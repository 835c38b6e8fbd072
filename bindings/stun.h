/* What the two halves of core.stun share: messages as tables, and transactions. */
#ifndef P2PD_BIND_STUN_H
#define P2PD_BIND_STUN_H

#include <lua.h>

#include "host/stun.h"
#include "host/stun/integrity.h"

/* Pushes the message as core.stun.decode() gives it; key.data NULL: integrity is not checked. */
void push_stun_message(lua_State *L, const struct stun_message *m, struct stun_text key);

/* Pushes nil, m->reason, "EBADMSG" or "EMSGSIZE" for what stun_decode() returned; returns 3. */
int push_stun_refusal(lua_State *L, int err, const struct stun_message *m);

/* Makes the class of transactions and sets `transaction` in the table on the top of the stack. */
void bind_stun_transaction(lua_State *L);

#endif
