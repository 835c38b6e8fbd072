/* What the machines that specs drive have in common. */
#ifndef P2PD_SPEC_NATIVE_MACHINE_H
#define P2PD_SPEC_NATIVE_MACHINE_H

#include <string.h>

#include "bindings/bind.h"

/* Pushes nil, message, code; reason: the machine's own, or NULL. */
static inline int push_machine_error(lua_State *L, int err, const char *reason, const char *call) {
    if (!reason)
        return push_error(L, err, "%s", call);
    return push_failure(L, strerrorname_np(-err), "%s: %s", call, reason);
}

/* Makes the class, and pushes the module: new(options), which makes a machine. */
static inline int open_machine(lua_State *L, const char *name, const luaL_Reg *methods,
                               lua_CFunction new, lua_CFunction close) {
    const luaL_Reg meta[] = {{"__gc", close}, {"__close", close}, {NULL, NULL}};
    const luaL_Reg functions[] = {{"new", new}, {NULL, NULL}};
    bind_class(L, name, methods, meta);
    luaL_newlib(L, functions);
    return 1;
}

#endif
