/***
Regular expressions (PCRE2) on bytes, with limits on what a match may take.
@module p2pd.core.pattern
*/
#include "host/pattern.h"

#include <errno.h>

#include "bindings/bind.h"

#define PATTERN_CLASS "p2pd.pattern"

struct lua_pattern {
    struct pattern *pattern; /* NULL: closed */
};

static struct pattern *check_pattern(lua_State *L) {
    struct lua_pattern *self = luaL_checkudata(L, 1, PATTERN_CLASS);
    if (!self->pattern)
        luaL_error(L, "the pattern is closed");
    return self->pattern;
}

/***
Compiles a pattern.
@function compile
@tparam string text at most 1024 bytes
@treturn pattern to be closed; or nil, message, code (EINVAL: it is malformed; ELIBACC: libpcre2-8
is not there)
*/
static int l_compile(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    char error[PATTERN_ERROR_MAX];
    struct lua_pattern *self = bind_new(L, PATTERN_CLASS, sizeof *self);
    int err = pattern_new(&self->pattern, text, len, error);
    if (err == -EINVAL)
        return push_failure(L, "EINVAL", "%s", error);
    if (err < 0)
        return push_error(L, err, "libpcre2-8");
    return 1;
}

/***
Whether it occurs in a text.
@function pattern:find
@tparam string text
@treturn boolean; or nil, message, code (E2BIG: it takes too much)
*/
static int m_find(lua_State *L) {
    struct pattern *pattern = check_pattern(L);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    int found = pattern_find(pattern, text, len);
    if (found < 0)
        return push_failure(L, "E2BIG", "the pattern takes too much");
    lua_pushboolean(L, found);
    return 1;
}

/***
Frees it. It can be called twice.
@function pattern:close
*/
static int m_close(lua_State *L) {
    struct lua_pattern *self = luaL_checkudata(L, 1, PATTERN_CLASS);
    if (self->pattern)
        pattern_free(self->pattern);
    self->pattern = NULL;
    return 0;
}

int bind_pattern(lua_State *L) {
    static const luaL_Reg METHODS[] = {{"find", m_find}, {"close", m_close}, {NULL, NULL}};
    static const luaL_Reg META[] = {{"__gc", m_close}, {"__close", m_close}, {NULL, NULL}};
    static const luaL_Reg FUNCTIONS[] = {{"compile", l_compile}, {NULL, NULL}};
    bind_class(L, PATTERN_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
