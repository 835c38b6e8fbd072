/* The Lua face of host/keys.h, for the bindings that need a key. */
#ifndef P2PD_BINDINGS_KEYS_H
#define P2PD_BINDINGS_KEYS_H

#include <lua.h>

#include "host/keys.h"

/* The key at arg, borrowed. Raises when there is another value or a closed key. */
struct keys *check_keys(lua_State *L, int arg);

#endif
