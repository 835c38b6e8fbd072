/***
Random bytes from the kernel.
@module p2pd.core.random
*/
#include <errno.h>
#include <sys/random.h>

#include "bindings/bind.h"

#define RANDOM_MAX 256 /* getrandom(2) gives that many in one piece */

/***
Random bytes, for ids that nobody can guess.
@function bytes
@tparam integer n 1 to 256
@treturn string n bytes
*/
static int l_bytes(lua_State *L) {
    unsigned char bytes[RANDOM_MAX];
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n > 0 && n <= RANDOM_MAX, 1, "a count from 1 to 256 expected");
    if (getrandom(bytes, (size_t)n, 0) != n)
        return luaL_error(L, "getrandom failed");
    lua_pushlstring(L, (const char *)bytes, (size_t)n);
    return 1;
}

static const luaL_Reg FUNCTIONS[] = {{"bytes", l_bytes}, {NULL, NULL}};

int bind_random(lua_State *L) {
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
