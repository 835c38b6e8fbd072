/***
The clocks, in seconds.
@module p2pd.core.clock
*/
#include <time.h>

#include "bindings/bind.h"
#include "host/loop.h"

/***
The clock that never jumps, for deadlines.
@function monotonic
@treturn number seconds
*/
static int l_monotonic(lua_State *L) {
    lua_pushnumber(L, loop_now());
    return 1;
}

static int push_clock(lua_State *L, clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec * 1e-9);
    return 1;
}

/***
The same with the time that the machine slept.
@function boottime
@treturn number seconds
*/
static int l_boottime(lua_State *L) {
    return push_clock(L, CLOCK_BOOTTIME);
}

/***
The system's idea of the time of day.
@function realtime
@treturn number seconds since 1970
*/
static int l_realtime(lua_State *L) {
    return push_clock(L, CLOCK_REALTIME);
}

static const luaL_Reg FUNCTIONS[] = {
    {"monotonic", l_monotonic}, {"boottime", l_boottime}, {"realtime", l_realtime}, {NULL, NULL}};

int bind_clock(lua_State *L) {
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
