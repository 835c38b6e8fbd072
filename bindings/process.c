/*
 * p2pd.core.process: child processes.
 *
 * A child's userdata owns the process; the streams over its pipes are userdata of their own, kept
 * in its user value so that close() ends them too. One that is collected instead of closed is
 * killed at once: nobody is left who could want its last words.
 */
/***
Child processes.
@module p2pd.core.process
@pragma nostrip
*/
#include "host/process.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"
#include "host/fd.h"

#define CLASS "p2pd.process"

struct child {
    struct process *process; /* NULL: closed */
    struct waitlist waiters;
};

static const char *const STDIO[] = {"stdin", "stdout", "stderr"};

static struct child *to_child(lua_State *L) {
    return luaL_checkudata(L, 1, CLASS);
}

static struct process *to_process(lua_State *L) {
    struct child *c = to_child(L);
    if (!c->process)
        luaL_error(L, "attempt to use a closed process");
    return c->process;
}

/* Pops the value at the top into the list `keep`: what is there lives as long as the list. */
static void keep_top(lua_State *L, int keep) {
    lua_rawseti(L, keep, (lua_Integer)lua_rawlen(L, keep) + 1);
}

/* Like keep_top(), for a text without NUL bytes; `what` names it in the error. */
static char *keep_text(lua_State *L, int keep, const char *what) {
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    if (!text)
        luaL_error(L, "%s: string expected, got %s", what, luaL_typename(L, -1));
    if (strlen(text) != len)
        luaL_error(L, "%s: contains a NUL byte", what);
    keep_top(L, keep);
    return (char *)text;
}

/* A list of pointers, zeroed and ended by NULL, kept in `keep`. */
static char **keep_pointers(lua_State *L, int keep, lua_Integer len) {
    size_t size = ((size_t)len + 1) * sizeof(char *);
    char **list = lua_newuserdatauv(L, size, 0);
    memset(list, 0, size);
    keep_top(L, keep);
    return list;
}

static char **read_argv(lua_State *L, int keep) {
    lua_Integer len = (lua_Integer)lua_rawlen(L, 1);
    luaL_argcheck(L, len > 0, 1, "no program to run");
    char **argv = keep_pointers(L, keep, len);
    for (lua_Integer i = 0; i < len; i++) {
        lua_rawgeti(L, 1, i + 1);
        argv[i] = keep_text(L, keep, i == 0 ? "program" : "argument of the program");
    }
    return argv;
}

static lua_Integer count_pairs(lua_State *L, int t) {
    lua_Integer n = 0;
    for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1))
        n++;
    return n;
}

/* "NAME=value" from the pair at the top, whose value it pops. */
static char *keep_variable(lua_State *L, int keep) {
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "option 'env': names must be strings, not %s", luaL_typename(L, -2));
    const char *name = lua_tostring(L, -2);
    if (*name == '\0' || strlen(name) != lua_rawlen(L, -2) || strchr(name, '='))
        luaL_error(L, "option 'env': '%s' cannot be a variable's name", name);
    const char *value = keep_text(L, keep, "option 'env'");
    lua_pushfstring(L, "%s=%s", name, value);
    return keep_text(L, keep, name);
}

static char **read_env(lua_State *L, int keep) {
    int type = lua_getfield(L, 1, "env");
    if (type == LUA_TNIL)
        return NULL;
    if (type != LUA_TTABLE)
        luaL_error(L, "option 'env': table expected, got %s", luaL_typename(L, -1));
    int env = lua_gettop(L);
    char **list = keep_pointers(L, keep, count_pairs(L, env));
    char **next = list;
    for (lua_pushnil(L); lua_next(L, env);)
        *next++ = keep_variable(L, keep);
    return list;
}

static const char *read_cwd(lua_State *L, int keep) {
    if (lua_getfield(L, 1, "cwd") == LUA_TNIL)
        return NULL;
    return keep_text(L, keep, "option 'cwd'");
}

static enum process_io read_io(lua_State *L, int i, const char *otherwise) {
    static const char *const names[] = {"inherit", "null", "pipe", "stdout"};
    const char *name = opt_string(L, 1, STDIO[i], otherwise);
    int known = i == 2 ? 4 : 3;
    for (int io = 0; io < known; io++)
        if (strcmp(name, names[io]) == 0)
            return (enum process_io)io;
    return luaL_error(L, "option '%s': unknown kind '%s'", STDIO[i], name);
}

static int push_spawn_error(lua_State *L, int err, const struct process_options *o,
                            const char *call) {
    if (strcmp(call, "exec") == 0)
        return push_error(L, err, "cannot run \"%s\"", o->argv[0]);
    if (strcmp(call, "chdir") == 0)
        return push_error(L, err, "cannot run \"%s\" in \"%s\"", o->argv[0], o->cwd);
    return push_error(L, err, "cannot run \"%s\": %s", o->argv[0], call);
}

/* Gives the child at the top its streams, {stdin =, stdout =, stderr =} where there is a pipe. */
static void push_streams(lua_State *L, const int fds[3]) {
    lua_newtable(L);
    for (int i = 0; i < 3; i++) {
        if (fds[i] < 0)
            continue;
        push_stream(L, stream_new(fd_transport(fds[i], true)));
        lua_setfield(L, -2, STDIO[i]);
    }
    lua_setiuservalue(L, -2, 1);
}

/***
Runs a program. It dies with us, has its own process group, default signals, and no descriptor of
ours but the standard three.
@function spawn
@tparam table options the program, looked up in PATH, and its arguments as a list; `stdin`: `"null"`
 (default), `"pipe"` or `"inherit"`; `stdout` and `stderr`: `"inherit"` (default), `"pipe"` or
`"null"`, and `"stdout"` for a stderr that goes where stdout goes; `env`: variables added to ours by
name; `cwd`: the folder it runs in; `foreground`: true for a program that talks to the user: when
our standard input is a terminal, its keys and Ctrl-C are the program's until it ends
@treturn p2pd.process the child; or nil, message, code when it cannot be run
*/
static int l_spawn(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_newtable(L);
    struct process_options o = {
        .io = {read_io(L, 0, "null"), read_io(L, 1, "inherit"), read_io(L, 2, "inherit")},
        .foreground = opt_boolean(L, 1, "foreground", false)};
    o.argv = read_argv(L, 2);
    o.env = read_env(L, 2);
    o.cwd = read_cwd(L, 2);
    struct child *c = bind_new(L, CLASS, sizeof *c);
    int fds[3];
    const char *call;
    int err = process_spawn(&c->process, &o, fds, &call);
    if (err < 0)
        return push_spawn_error(L, err, &o, call);
    push_streams(L, fds);
    return 1;
}

/***
The process id.
@function process:pid
@treturn integer the id
*/
static int m_pid(lua_State *L) {
    lua_pushinteger(L, process_pid(to_process(L)));
    return 1;
}

/***
The parent's end of a pipe to the child; so are `process:stdout()` and `process:stderr()`.
@function process:stdin
@treturn ?p2pd.stream nil when it is no pipe
*/
static int m_stream(lua_State *L) {
    to_process(L);
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_rawget(L, -2);
    return 1;
}

static void on_exit_event(void *owner) {
    struct child *c = owner;
    task_wake_all(&c->waiters);
}

static int push_end(lua_State *L, int ended, const struct process_result *result) {
    if (ended < 0)
        return push_error(L, ended, "wait");
    lua_pushstring(L, result->signaled ? "signal" : "exit");
    lua_pushinteger(L, result->value);
    return 2;
}

/* 0: still running; else the number of results pushed. */
static int try_wait(lua_State *L, struct child *c) {
    if (!c->process)
        return push_failure(L, "ECANCELED", "process was closed");
    struct process_result result;
    int ended = process_poll(c->process, &result);
    return ended ? push_end(L, ended, &result) : 0;
}

static int on_waited(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    struct child *c = to_child(L);
    int results = try_wait(L, c);
    if (results)
        return results;
    if (!task_expired()) {
        process_watch(c->process, on_exit_event, c);
        return task_wait_again(L, &c->waiters, ctx, on_waited);
    }
    if (!c->waiters.first)
        process_watch(c->process, NULL, NULL);
    return task_push_timeout(L);
}

/***
Waits until the child has ended; its end is remembered, so this can be asked again.
@function process:wait
@tparam[opt] number timeout seconds
@treturn string `"exit"` or `"signal"`; or nil, message, code
@treturn integer the exit status or the signal's number
*/
static int m_wait(lua_State *L) {
    struct child *c = to_child(L);
    to_process(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    int results = try_wait(L, c);
    if (results)
        return results;
    process_watch(c->process, on_exit_event, c);
    return task_wait(L, &c->waiters, deadline, 0, on_waited);
}

static int parse_signal(const char *name) {
    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    for (int number = 1; number < NSIG; number++) {
        const char *known = sigabbrev_np(number);
        if (known && strcasecmp(name, known) == 0)
            return number;
    }
    return -1;
}

static int check_signal(lua_State *L, int arg) {
    bool named = lua_type(L, arg) == LUA_TSTRING;
    lua_Integer number =
        named ? parse_signal(lua_tostring(L, arg)) : luaL_optinteger(L, arg, SIGTERM);
    luaL_argcheck(L, number >= 0 && number < NSIG, arg, "no such signal");
    return (int)number;
}

/***
Sends a signal to the child alone, not to its group.
@function process:kill
@tparam[opt="TERM"] string|integer signal its name, with or without SIG, or its number
@treturn boolean true; or nil, message, code: ESRCH when it has ended
*/
static int m_kill(lua_State *L) {
    struct process *p = to_process(L);
    int err = process_kill(p, check_signal(L, 2));
    if (err < 0)
        return push_error(L, err, "kill");
    lua_pushboolean(L, 1);
    return 1;
}

/* Detaches the process from the userdata; the caller releases it. NULL when that was done before.
 */
static struct process *take(struct child *c) {
    struct process *p = c->process;
    c->process = NULL;
    if (p)
        process_watch(p, NULL, NULL);
    task_wake_all(&c->waiters);
    return p;
}

static void close_streams(lua_State *L) {
    if (lua_getiuservalue(L, 1, 1) != LUA_TTABLE)
        return;
    for (int i = 0; i < 3; i++) {
        if (lua_getfield(L, -1, STDIO[i]) == LUA_TNIL) {
            lua_pop(L, 1);
            continue;
        }
        lua_getfield(L, -1, "close");
        lua_insert(L, -2);
        lua_call(L, 1, 0);
    }
}

/***
Closes the streams and, if it lives, ends the child: its group is sent SIGTERM and, two seconds
later, SIGKILL. Does not wait for that.
@function process:close
*/
static int m_close(lua_State *L) {
    struct process *p = take(to_child(L));
    if (!p)
        return 0;
    process_release(p, PROCESS_GRACE_S);
    close_streams(L);
    return 0;
}

static int m_gc(lua_State *L) {
    struct process *p = take(to_child(L));
    if (p)
        process_release(p, 0);
    return 0;
}

static int m_tostring(lua_State *L) {
    struct child *c = to_child(L);
    struct process_result result;
    if (!c->process)
        lua_pushliteral(L, "process (closed)");
    else
        lua_pushfstring(L, "process (%d%s)", (int)process_pid(c->process),
                        process_poll(c->process, &result) ? ", ended" : "");
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"pid", m_pid}, {"wait", m_wait}, {"kill", m_kill}, {"close", m_close}, {NULL, NULL},
};

static const luaL_Reg META[] = {
    {"__gc", m_gc},
    {"__close", m_close},
    {"__tostring", m_tostring},
    {NULL, NULL},
};

/* process:stdin(), process:stdout(), process:stderr(): the stream over that pipe, or nil. */
static void add_stream_methods(lua_State *L) {
    luaL_getmetatable(L, CLASS);
    lua_getfield(L, -1, "__index");
    for (int i = 0; i < 3; i++) {
        lua_pushstring(L, STDIO[i]);
        lua_pushcclosure(L, m_stream, 1);
        lua_setfield(L, -2, STDIO[i]);
    }
    lua_pop(L, 2);
}

/***
How many descriptors this process may have, and how many it has: the lowest one that is free.
@function descriptors
@treturn integer the limit (RLIMIT_NOFILE)
@treturn integer how many are taken, at least
*/
static int l_descriptors(lua_State *L) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return push_error(L, -errno, "getrlimit");
    lua_Integer most = limit.rlim_cur < INT_MAX ? (lua_Integer)limit.rlim_cur : INT_MAX;
    int fd = eventfd(0, EFD_CLOEXEC);
    if (fd >= 0)
        close(fd);
    lua_pushinteger(L, most);
    lua_pushinteger(L, fd >= 0 ? fd : most);
    return 2;
}

int bind_process(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"spawn", l_spawn}, {"descriptors", l_descriptors}, {NULL, NULL}};
    bind_class(L, CLASS, METHODS, META);
    add_stream_methods(L);
    luaL_newlib(L, functions);
    return 1;
}
