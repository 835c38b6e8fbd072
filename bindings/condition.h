/* Condition variables for tasks. */
#ifndef P2PD_BINDINGS_CONDITION_H
#define P2PD_BINDINGS_CONDITION_H

#include <lua.h>

void condition_class(lua_State *L);

/* The Lua function: pushes a new condition with wait([timeout]), signal() and broadcast(). */
int condition_new(lua_State *L);

#endif
