/*
 * The executable: a Lua state with p2pd inside it, and p2pd.lua_main as its main task. All that
 * can be Lua is there; here is what must come before it: LUA_NOENV, the built-in modules and the
 * exit status.
 *
 * Where modules come from: run from a checkout, that checkout's lua/ goes before everything; else
 * the embedded ones do, so that an older installed lua/ never mixes with a newer executable.
 */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bindings/scheduler.h"
#include "host/embed.h"

#define EXIT_SIGNAL_BASE 128 /* as shells report a death by signal */

int luaopen_p2pd_core(lua_State *L);

/* -- the modules inside -------------------------------------------------------------------- */

static const struct embedded *find(const char *name) {
    for (const struct embedded *e = EMBEDDED; e->name; e++)
        if (strcmp(e->name, name) == 0)
            return e;
    return NULL;
}

/* The build's Lua may have been another one than ours: then its code is refused. */
static void load(lua_State *L, const struct embedded *e) {
    if (luaL_loadbufferx(L, e->code, e->code_len, e->chunk, "b") == LUA_OK)
        return;
    lua_pop(L, 1);
    if (luaL_loadbufferx(L, e->data, e->len, e->chunk, "t") != LUA_OK)
        lua_error(L);
}

static int search(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    const struct embedded *e = find(name);
    if (!e || !e->code) {
        lua_pushfstring(L, "no module '%s' in the executable", name);
        return 1;
    }
    load(L, e);
    lua_pushstring(L, e->chunk + 1);
    return 2;
}

/* embedded.source(name): a source's text and chunk name, or nothing. */
static int l_source(lua_State *L) {
    const struct embedded *e = find(luaL_checkstring(L, 1));
    if (!e)
        return 0;
    lua_pushlstring(L, e->data, e->len);
    lua_pushstring(L, e->chunk);
    return 2;
}

static int l_names(lua_State *L) {
    lua_newtable(L);
    for (lua_Integer i = 0; EMBEDDED[i].name; i++) {
        lua_pushstring(L, EMBEDDED[i].name);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* The folder of the executable when it is a checkout's, or NULL; buf holds PATH_MAX. */
static const char *find_checkout(char *buf) {
    char init[PATH_MAX + 32];
    ssize_t n = readlink("/proc/self/exe", buf, PATH_MAX - 1);
    if (n <= 0)
        return NULL;
    buf[n] = '\0';
    *strrchr(buf, '/') = '\0';
    snprintf(init, sizeof init, "%s/lua/p2pd/init.lua", buf);
    return access(init, R_OK) == 0 ? buf : NULL;
}

/* package.preload["p2pd.embedded"] */
static int open_embedded(lua_State *L) {
    char buf[PATH_MAX];
    static const luaL_Reg FUNCTIONS[] = {{"source", l_source}, {"names", l_names}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    lua_pushstring(L, find_checkout(buf));
    lua_setfield(L, -2, "checkout");
    return 1;
}

/* Stack: package. */
static void prefer_checkout(lua_State *L, const char *checkout) {
    lua_pushfstring(L, "%s/lua/?.lua;%s/lua/?/init.lua;", checkout, checkout);
    lua_getfield(L, 1, "path");
    lua_concat(L, 2);
    lua_setfield(L, 1, "path");
}

/* Stack: package. position 0: the last. */
static void add_searcher(lua_State *L, lua_Integer position) {
    lua_getfield(L, 1, "searchers");
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1) + 1;
    for (; position && n > position; n--) {
        lua_rawgeti(L, -1, n - 1);
        lua_rawseti(L, -2, n);
    }
    lua_pushcfunction(L, search);
    lua_rawseti(L, -2, n);
}

static int install(lua_State *L) {
    char buf[PATH_MAX];
    const char *checkout = find_checkout(buf);
    lua_getglobal(L, "package");
    if (checkout)
        prefer_checkout(L, checkout);
    add_searcher(L, checkout ? 0 : 2);
    lua_getfield(L, 1, "preload");
    lua_pushcfunction(L, luaopen_p2pd_core);
    lua_setfield(L, -2, "p2pd.core");
    lua_pushcfunction(L, open_embedded);
    lua_setfield(L, -2, "p2pd.embedded");
    return 0;
}

/* -- standard input and output ------------------------------------------------------------- */

/* A standard descriptor that is closed would become whatever is opened next, an event loop for
 * instance. Input is empty then, what is written to output fails, and what is for people is lost.
 * The numbers are right because open() returns the lowest that is free. Other constructors open
 * descriptors too, so this one is the first. */
__attribute__((constructor(101))) static void fill_standard_descriptors(void) {
    static const int MODES[] = {O_RDONLY, O_RDONLY, O_RDWR};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", MODES[fd]) != fd)
            _exit(EXIT_FAILURE);
}

/* Lua's print() forgets that it failed; stdout remembers. */
static int finish_output(int status) {
    int failed = ferror(stdout);
    errno = 0;
    if (fflush(stdout) == 0 && !failed)
        return status;
    if (status != EXIT_SUCCESS)
        return status;
    const char *reason = errno == EBADF ? "it is closed" : strerror(errno);
    fprintf(stderr, "p2pd: standard output: %s\n", errno ? reason : "a write failed");
    return EXIT_FAILURE;
}

/* -- from the first to the last ------------------------------------------------------------ */

/* Is -E among the options? It has to be known before the libraries read the environment. */
static bool ignores_environment(int argc, char **argv) {
    for (int i = 1; i < argc && argv[i][0] == '-' && argv[i][1] && argv[i][1] != '-'; i++) {
        if (strcmp(argv[i], "-E") == 0)
            return true;
        if (strcmp(argv[i], "-e") == 0 || strcmp(argv[i], "-l") == 0)
            i++;
    }
    return false;
}

/* Pushes require(module)[...fields, up to NULL]. */
static void push_from(lua_State *L, const char *module, const char *a, const char *b) {
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, a);
    if (b)
        lua_getfield(L, -1, b);
}

static void push_arguments(lua_State *L, int argc, char **argv) {
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
}

/* Runs p2pd.lua_main.main(argv) as a task; returns its exit status. */
static int protected_main(lua_State *L) {
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);
    luaL_checkversion(L);
    if (ignores_environment(argc, argv)) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    luaL_openlibs(L);
    lua_pushcfunction(L, install);
    lua_call(L, 0, 0);
    push_from(L, "p2pd.core", "task", "run");
    push_from(L, "p2pd.lua_main", "main", NULL);
    lua_remove(L, -2);
    push_arguments(L, argc, argv);
    lua_call(L, 2, 1);
    return 1;
}

static int l_interrupted(lua_State *L) {
    push_from(L, "p2pd.core", "task", "interrupted");
    lua_call(L, 0, 1);
    return 1;
}

/* The signal that ended the main task, or 0. */
static int interrupted(lua_State *L) {
    lua_pushcfunction(L, l_interrupted);
    int number = lua_pcall(L, 0, 1, 0) == LUA_OK ? (int)lua_tointeger(L, -1) : 0;
    lua_pop(L, 1);
    return number;
}

/* The error is on top. */
static int report(lua_State *L) {
    int number = interrupted(L);
    if (number)
        return EXIT_SIGNAL_BASE + number;
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "p2pd: %s\n", message ? message : "(error object is not a string)");
    return EXIT_FAILURE;
}

int main(int argc, char **argv) {
    lua_State *L = luaL_newstate();
    if (!L) {
        fputs("p2pd: cannot create state: not enough memory\n", stderr);
        return EXIT_FAILURE;
    }
    lua_pushcfunction(L, protected_main);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    int status = lua_pcall(L, 2, 1, 0) == LUA_OK ? (int)lua_tointeger(L, -1) : report(L);
    status = finish_output(status);
    task_cancel_all(L);
    lua_close(L);
    return status;
}
