#include "bindings/file_handle.h"

#include <lauxlib.h>

#include "bindings/bind.h"

struct lua_file *check_file(lua_State *L, int arg) {
    struct lua_file *self = luaL_checkudata(L, arg, FILE_CLASS);
    luaL_argcheck(L, self->file, arg, "the file is closed");
    return self;
}

int push_file_closed(lua_State *L) {
    return push_failure(L, "ECANCELED", "the file was closed");
}

void write_frame_header(uint8_t *to, const char *kind, size_t len) {
    *to = (uint8_t)*kind;
    for (int i = 0; i < 4; i++)
        to[1 + i] = (uint8_t)(len >> (24 - 8 * i));
}
