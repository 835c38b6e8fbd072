/***
Files of the user's that are his alone.
@module p2pd.core.private_file
*/
#include "host/private_file.h"

#include <string.h>

#include "bindings/bind.h"

/***
Writes a file that only its owner can use in the place of the former one, as a whole or not at all;
folders that are missing are made.
@function swap
@tparam string path
@tparam string was what the former one is, else nothing is written; empty: there is none
@tparam string text
@treturn boolean true; or nil, message, code: EAGAIN: it has been changed meanwhile
*/
static int l_swap(lua_State *L) {
    size_t path_len, was_len, len;
    const char *path = luaL_checklstring(L, 1, &path_len);
    const char *was = luaL_checklstring(L, 2, &was_len);
    const char *text = luaL_checklstring(L, 3, &len);
    luaL_argcheck(L, path_len > 0 && !memchr(path, 0, path_len), 1, "a path expected");
    int err = private_file_swap(path, was, was_len, text, len);
    if (err < 0)
        return push_error(L, err, "write %s", path);
    lua_pushboolean(L, true);
    return 1;
}

static const luaL_Reg FUNCTIONS[] = {{"swap", l_swap}, {NULL, NULL}};

int bind_private_file(lua_State *L) {
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
