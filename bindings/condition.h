/* Places where tasks wait for each other. */
#ifndef P2PD_CONDITION_H
#define P2PD_CONDITION_H

#include <lua.h>

void condition_class(lua_State *L);

/* The Lua function: pushes a new condition with wait([timeout]), signal() and broadcast(). */
int condition_new(lua_State *L);

#endif
