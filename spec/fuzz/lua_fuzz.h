/* What the fuzzers of Lua code share: an interpreter, and the lines it runs as the fuzzer's
 * coverage. */
#ifndef P2PD_LUA_FUZZ_H
#define P2PD_LUA_FUZZ_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

#include "spec/fuzz/fuzz.h"

#define COUNTERS 16384

int luaopen_p2pd_core(lua_State *L);

/* libFuzzer looks at this section as it does at the counters that the compiler puts into C. */
static uint8_t counters[COUNTERS] __attribute__((section("__libfuzzer_extra_counters"), used));

static void on_line(lua_State *L, lua_Debug *ar) {
    lua_getinfo(L, "S", ar);
    uint32_t hash = (uint32_t)ar->currentline;
    for (const char *c = ar->short_src; *c; c++)
        hash = hash * 31 + (uint8_t)*c;
    uint8_t *counter = &counters[hash % COUNTERS];
    *counter += *counter < UINT8_MAX;
}

static void fail(lua_State *L) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
}

/* Runs a chunk that returns a function of the input, which must raise for what must not be. The
 * function stays on the stack. From the checkout's root. */
static lua_State *lua_fuzz_start(const char *chunk) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_requiref(L, "p2pd.core", luaopen_p2pd_core, 0);
    lua_pop(L, 1);
    if (luaL_dostring(L, "package.path = 'lua/?.lua;' .. package.path") ||
        luaL_loadstring(L, chunk) || lua_pcall(L, 0, 1, 0))
        fail(L);
    lua_sethook(L, on_line, LUA_MASKLINE, 0);
    return L;
}

/* Gives an input to the function of such a chunk: the first one that is given. */
static void lua_fuzz(const char *chunk, const uint8_t *data, size_t size) {
    static lua_State *L;
    if (!L)
        L = lua_fuzz_start(chunk);
    lua_pushvalue(L, -1);
    lua_pushlstring(L, (const char *)data, size);
    if (lua_pcall(L, 1, 0, 0))
        fail(L);
}

#endif
