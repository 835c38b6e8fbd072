/* The Lua face of host/datagrams.h, for the bindings that make carriers and those that use them. */
#ifndef P2PD_BINDINGS_DATAGRAMS_H
#define P2PD_BINDINGS_DATAGRAMS_H

#include <lua.h>

#include "host/datagrams.h"

/* Pushes a userdata that owns d. Raises only when out of memory. */
void push_datagrams(lua_State *L, struct datagrams *d);

/* Takes the carrier out of the userdata at arg, which is closed then; raises when there is another
 * value or a closed one. */
struct datagrams *take_datagrams(lua_State *L, int arg);

#endif
