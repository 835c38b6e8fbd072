/* The facts of a transport (transport_describe()) as a Lua table. */
#ifndef P2PD_BINDINGS_FACTS_H
#define P2PD_BINDINGS_FACTS_H

#include <lua.h>

#include "host/transport.h"

/* A transport_tell whose arg is the lua_State: sets t[layer][name] in the table on top. */
void set_fact(void *L, const struct transport_fact *fact);

#endif
