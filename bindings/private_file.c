/***
Files of the user's that are his alone.
@module p2pd.core.private_file
*/
#include "host/private_file.h"

#include <errno.h>
#include <string.h>

#include "bindings/bind.h"

#define READ_MAX 4096 /* bytes */

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

/***
Reads a file that nobody but its owner can use.
@function read
@tparam string path
@treturn string its first 4096 bytes at most; or nil, message, code: EACCES: others can use it;
EPERM: it is somebody else's; ELOOP: it is a symbolic link
*/
static int l_read(lua_State *L) {
    char text[READ_MAX];
    const char *path = luaL_checkstring(L, 1);
    ssize_t n = private_file_read(path, text, sizeof text);
    if (n == -EACCES)
        return push_failure(L, "EACCES", "%s: others may use it, or it can't be read", path);
    if (n < 0)
        return push_error(L, (int)n, "read %s", path);
    lua_pushlstring(L, text, (size_t)n);
    return 1;
}

static const luaL_Reg FUNCTIONS[] = {{"swap", l_swap}, {"read", l_read}, {NULL, NULL}};

int bind_private_file(lua_State *L) {
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
