/* What the bindings share: errors, classes, options, fields. */
#include "bindings/bind.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int live;

int push_failure(lua_State *L, const char *code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    lua_pushnil(L);
    lua_pushvfstring(L, format, args);
    lua_pushstring(L, code);
    va_end(args);
    return 3;
}

int push_error(lua_State *L, int err, const char *format, ...) {
    err = abs(err);
    const char *code = strerrorname_np(err);
    va_list args;
    va_start(args, format);
    lua_pushnil(L);
    lua_pushvfstring(L, format, args);
    lua_pushfstring(L, ": %s", strerror(err));
    lua_concat(L, 2);
    lua_pushstring(L, code ? code : "EUNKNOWN");
    va_end(args);
    return 3;
}

/* A class's own finaliser, kept as upvalue 1, and then one live userdata fewer. */
static int collect(lua_State *L) {
    live--;
    lua_pushvalue(L, lua_upvalueindex(1));
    if (lua_isnil(L, -1))
        return 0;
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 0);
    return 0;
}

void bind_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta) {
    luaL_newmetatable(L, name);
    if (meta)
        luaL_setfuncs(L, meta, 0);
    lua_getfield(L, -1, "__gc");
    lua_pushcclosure(L, collect, 1);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void set_methods(lua_State *L, const char *field, const char *name) {
    luaL_getmetatable(L, name);
    lua_getfield(L, -1, "__index");
    lua_setfield(L, -3, field);
    lua_pop(L, 1);
}

void *bind_new(lua_State *L, const char *name, size_t size) {
    void *object = lua_newuserdatauv(L, size, 1);
    memset(object, 0, size);
    luaL_setmetatable(L, name);
    live++;
    return object;
}

int bind_live(lua_State *L) {
    lua_pushinteger(L, live);
    return 1;
}

static int opt_field(lua_State *L, int t, const char *field) {
    if (lua_isnoneornil(L, t)) {
        lua_pushnil(L);
        return LUA_TNIL;
    }
    luaL_checktype(L, t, LUA_TTABLE);
    return lua_getfield(L, t, field);
}

static void bad_option(lua_State *L, const char *field, const char *expected) {
    luaL_error(L, "option '%s': %s expected, got %s", field, expected, luaL_typename(L, -1));
}

const char *opt_string(lua_State *L, int t, const char *field, const char *otherwise) {
    int type = opt_field(L, t, field);
    if (type != LUA_TNIL && type != LUA_TSTRING)
        bad_option(L, field, "string");
    const char *value = type == LUA_TNIL ? otherwise : lua_tostring(L, -1);
    lua_pop(L, 1);
    return value;
}

lua_Integer opt_integer(lua_State *L, int t, const char *field, lua_Integer otherwise) {
    int type = opt_field(L, t, field);
    int ok = 1;
    lua_Integer value = type == LUA_TNIL ? otherwise : lua_tointegerx(L, -1, &ok);
    if (!ok)
        bad_option(L, field, "integer");
    lua_pop(L, 1);
    return value;
}

lua_Number opt_number(lua_State *L, int t, const char *field, lua_Number otherwise) {
    int type = opt_field(L, t, field);
    int ok = 1;
    lua_Number value = type == LUA_TNIL ? otherwise : lua_tonumberx(L, -1, &ok);
    if (!ok)
        bad_option(L, field, "number");
    lua_pop(L, 1);
    return value;
}

bool opt_boolean(lua_State *L, int t, const char *field, bool otherwise) {
    bool value = opt_field(L, t, field) == LUA_TNIL ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

int opt_port(lua_State *L, int t, const char *field, int otherwise) {
    lua_Integer port = opt_integer(L, t, field, otherwise);
    if (port < 0 || port > 65535)
        luaL_error(L, "option '%s': port %I is not 0 to 65535", field, (LUAI_UACINT)port);
    return (int)port;
}

void set_string(lua_State *L, const char *field, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, field);
}

void set_integer(lua_State *L, const char *field, lua_Integer value) {
    lua_pushinteger(L, value);
    lua_setfield(L, -2, field);
}

void set_number(lua_State *L, const char *field, lua_Number value) {
    lua_pushnumber(L, value);
    lua_setfield(L, -2, field);
}

void set_boolean(lua_State *L, const char *field, bool value) {
    lua_pushboolean(L, value);
    lua_setfield(L, -2, field);
}
