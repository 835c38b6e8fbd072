/* The two clocks: one that never jumps, for deadlines, and the system's idea of the time of day. */
#include <time.h>

#include "bind.h"
#include "loop.h"

static int l_monotonic(lua_State *L) {
    lua_pushnumber(L, loop_now());
    return 1;
}

static int l_realtime(lua_State *L) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec * 1e-9);
    return 1;
}

static const luaL_Reg FUNCTIONS[] = {
    {"monotonic", l_monotonic}, {"realtime", l_realtime}, {NULL, NULL}};

int bind_clock(lua_State *L) {
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
