/***
The log on stderr.
@module p2pd.core.log
*/
#include "host/log.h"

#include "bindings/bind.h"

static int check_level(lua_State *L, int arg) {
    int level = log_parse_level(luaL_checkstring(L, arg));
    luaL_argcheck(L, level >= 0, arg, "a level expected: error, warn, info or debug");
    return level;
}

/***
Writes a line, if its level is to be shown.
@function write
@tparam string level "error", "warn", "info" or "debug"
@tparam string text
*/
static int l_write(lua_State *L) {
    log_write((enum log_level)check_level(L, 1), "%s", luaL_checkstring(L, 2));
    return 0;
}

/***
The least important level that is shown.
@function level
@tparam[opt] string level the new one
@treturn string the level
*/
static int l_level(lua_State *L) {
    static const char *const NAMES[] = {"error", "warn", "info", "debug"};
    if (!lua_isnoneornil(L, 1))
        log_set_level((enum log_level)check_level(L, 1));
    lua_pushstring(L, NAMES[log_level()]);
    return 1;
}

/***
Whether the terminal's line shows progress now, which the next line of the log takes the place of.
@function over_progress
@tparam boolean shown
*/
static int l_over_progress(lua_State *L) {
    log_over_progress(lua_toboolean(L, 1));
    return 0;
}

static const luaL_Reg FUNCTIONS[] = {
    {"write", l_write}, {"level", l_level}, {"over_progress", l_over_progress}, {NULL, NULL}};

int bind_log(lua_State *L) {
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
