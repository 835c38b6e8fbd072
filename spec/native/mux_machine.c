/*
 * spec.mux_machine: the machine of a mux without a socket and without a clock, so that specs can
 * carry its bytes in virtual time. Streams are named by their numbers.
 */
#include <errno.h>
#include <ev.h>
#include <string.h>

#include "host/mux/machine.h"
#include "spec/native/machine.h"

#define MACHINE_CLASS "p2pd.mux.machine"
#define NUMBERS 4096
#define READ_MAX (1024 * 1024)

struct lua_machine {
    struct mux_machine *machine; /* NULL: closed */
    double rtt;
    struct mux_stream *streams[NUMBERS];
};

static struct lua_machine *check_self(lua_State *L) {
    struct lua_machine *self = luaL_checkudata(L, 1, MACHINE_CLASS);
    luaL_argcheck(L, self->machine, 1, "the machine is closed");
    return self;
}

static struct mux_machine *check_machine(lua_State *L) {
    return check_self(L)->machine;
}

static struct mux_stream **check_place(lua_State *L) {
    struct lua_machine *self = check_self(L);
    lua_Integer number = luaL_checkinteger(L, 2);
    luaL_argcheck(L, number > 0 && number < NUMBERS && self->streams[number], 2, "no such stream");
    return &self->streams[number];
}

static struct mux_stream *check_numbered(lua_State *L) {
    return *check_place(L);
}

static int push_result(lua_State *L, ssize_t n) {
    if (n < 0)
        return push_error(L, (int)n, "mux");
    lua_pushinteger(L, n);
    return 1;
}

static int push_number(lua_State *L, struct lua_machine *self, struct mux_stream *s) {
    if (!s)
        return 0;
    luaL_argcheck(L, ms_number(s) < NUMBERS, 1, "too many streams");
    self->streams[ms_number(s)] = s;
    ms_set_owner(s, self);
    lua_pushinteger(L, ms_number(s));
    return 1;
}

static double on_rtt(void *arg) {
    return ((struct lua_machine *)arg)->rtt;
}

/* new{ client=, backlog=, streams_max=, window_max=, memory_max=, rtt= }; seconds on one scale */
static int l_new(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "client");
    struct mux_options options = {
        .client = lua_toboolean(L, -1),
        .backlog = (int)opt_integer(L, 1, "backlog", 0),
        .streams_max = (int)opt_integer(L, 1, "streams_max", 0),
        .window_max = (size_t)opt_integer(L, 1, "window_max", 0),
        .memory_max = (size_t)opt_integer(L, 1, "memory_max", 0),
        .rtt = on_rtt,
    };
    double rtt = opt_number(L, 1, "rtt", -1);
    struct lua_machine *self = bind_new(L, MACHINE_CLASS, sizeof *self);
    self->rtt = rtt;
    options.arg = self;
    self->machine = mm_new(&options);
    return 1;
}

/* feed(bytes, now) */
static int m_feed(lua_State *L) {
    struct mux_machine *m = check_machine(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    mm_feed(m, data, len, luaL_checknumber(L, 3));
    return 0;
}

/* poll([max]) -> bytes that leave now, or "" */
static int m_poll(lua_State *L) {
    struct mux_machine *m = check_machine(L);
    const uint8_t *data = NULL;
    size_t len = mm_poll(m, &data), max = (size_t)luaL_optinteger(L, 2, READ_MAX);
    len = len < max ? len : max;
    lua_pushlstring(L, len ? (const char *)data : "", len);
    mm_sent(m, len);
    return 1;
}

/* open() -> number; or nil, message, code */
static int m_open(lua_State *L) {
    struct lua_machine *self = check_self(L);
    int err;
    struct mux_stream *s = mm_open(self->machine, &err);
    return s ? push_number(L, self, s) : push_error(L, err, "open");
}

/* accept() -> number, or nothing */
static int m_accept(lua_State *L) {
    struct lua_machine *self = check_self(L);
    return push_number(L, self, mm_accept(self->machine));
}

/* write(number, bytes) -> how many were taken; or nil, message, code */
static int m_write(lua_State *L) {
    struct mux_stream *s = check_numbered(L);
    size_t len;
    const char *data = luaL_checklstring(L, 3, &len);
    ssize_t n = ms_write(s, data, len);
    if (n == -EAGAIN)
        ms_want(s, EV_WRITE);
    return push_result(L, n);
}

/* read(number, max, now) -> bytes; or nil, message, code; or nothing at the end */
static int m_read(lua_State *L) {
    static char data[READ_MAX];
    struct mux_stream *s = check_numbered(L);
    lua_Integer max = luaL_checkinteger(L, 3);
    ssize_t n = ms_read(s, data, max < READ_MAX ? (size_t)max : READ_MAX, luaL_checknumber(L, 4));
    if (n <= 0)
        return n ? push_result(L, n) : 0;
    lua_pushlstring(L, data, (size_t)n);
    return 1;
}

static int m_shutdown(lua_State *L) {
    return push_result(L, ms_shutdown(check_numbered(L)));
}

static int m_reset(lua_State *L) {
    ms_reset(check_numbered(L));
    return 0;
}

static int m_free(lua_State *L) {
    struct mux_stream **place = check_place(L);
    ms_free(*place);
    *place = NULL;
    return 0;
}

/* events(number) -> "", "r", "w" or "rw" */
static int m_events(lua_State *L) {
    int events = ms_events(check_numbered(L));
    lua_pushfstring(L, "%s%s", events & EV_READ ? "r" : "", events & EV_WRITE ? "w" : "");
    return 1;
}

static int m_window(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)ms_window(check_numbered(L)));
    return 1;
}

/* writer() -> the number of the next whose turn it is; or nothing, while there is something to send
 */
static int m_writer(lua_State *L) {
    struct mux_machine *m = check_machine(L);
    const uint8_t *data;
    struct mux_stream *s = mm_poll(m, &data) ? NULL : mm_next_writer(m);
    if (!s)
        return 0;
    lua_pushinteger(L, ms_number(s));
    return 1;
}

/* stirred() -> the number of the next that is different, or nothing */
static int m_stirred(lua_State *L) {
    struct mux_stream *s = mm_next_stirred(check_machine(L));
    if (!s)
        return 0;
    lua_pushinteger(L, ms_number(s));
    return 1;
}

static int m_go_away(lua_State *L) {
    mm_go_away(check_machine(L));
    return 0;
}

/* error() -> nil; or the reason and the code */
static int m_error(lua_State *L) {
    const struct mux_machine *m = check_machine(L);
    if (!mm_error(m))
        return 0;
    lua_pushstring(L, mm_reason(m));
    lua_pushstring(L, strerrorname_np(-mm_error(m)));
    return 2;
}

static int m_fail(lua_State *L) {
    mm_fail(check_machine(L), 0, "the connection has ended");
    return 0;
}

static int m_info(lua_State *L) {
    struct mux_info info;
    mm_info(check_machine(L), &info);
    lua_createtable(L, 0, 6);
    set_integer(L, "streams", info.streams);
    set_integer(L, "peers_streams", info.peers_streams);
    set_integer(L, "refused", info.refused);
    set_integer(L, "unread", info.unread);
    set_integer(L, "window", info.window);
    return 1;
}

static int m_close(lua_State *L) {
    struct lua_machine *self = luaL_checkudata(L, 1, MACHINE_CLASS);
    if (!self->machine)
        return 0;
    for (int i = 0; i < NUMBERS; i++)
        if (self->streams[i])
            ms_free(self->streams[i]);
    for (struct mux_stream *s; (s = mm_accept(self->machine));)
        ms_free(s);
    mm_free(self->machine);
    self->machine = NULL;
    return 0;
}

__attribute__((visibility("default"))) int luaopen_spec_mux_machine(lua_State *L);

int luaopen_spec_mux_machine(lua_State *L) {
    static const luaL_Reg METHODS[] = {{"feed", m_feed},
                                       {"poll", m_poll},
                                       {"open", m_open},
                                       {"accept", m_accept},
                                       {"write", m_write},
                                       {"read", m_read},
                                       {"shutdown", m_shutdown},
                                       {"reset", m_reset},
                                       {"free", m_free},
                                       {"events", m_events},
                                       {"window", m_window},
                                       {"writer", m_writer},
                                       {"stirred", m_stirred},
                                       {"go_away", m_go_away},
                                       {"error", m_error},
                                       {"fail", m_fail},
                                       {"info", m_info},
                                       {"close", m_close},
                                       {NULL, NULL}};
    return open_machine(L, MACHINE_CLASS, METHODS, l_new, m_close);
}
