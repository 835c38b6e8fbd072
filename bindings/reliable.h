/* What the bindings of the machine and of the link share. */
#ifndef P2PD_BIND_RELIABLE_H
#define P2PD_BIND_RELIABLE_H

#include <lua.h>

#include "host/reliable.h"

/* The options table at 1: id, role, message, mtu, silence; raises when one is missing or wrong. */
struct reliable_options check_reliable_options(lua_State *L);

/* Pushes nil, "CALL: REASON", code; returns 3. */
int push_reliable_error(lua_State *L, const struct reliable *r, int err, const char *call);

void push_reliable_info(lua_State *L, const struct reliable *r);

/* Adds core.reliable.machine to the table on top. */
void bind_reliable_machine(lua_State *L);

#endif
