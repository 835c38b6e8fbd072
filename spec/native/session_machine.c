/*
 * spec.session_machine: the machine of a session without a path's transport and without a clock, so
 * that specs can carry its bytes in virtual time, and change them.
 */
#include <errno.h>

#include "host/session/machine.h"
#include "spec/native/machine.h"

#define MACHINE_CLASS "p2pd.session.machine"
#define READ_MAX (64 * 1024)

struct lua_machine {
    struct session_machine *machine; /* NULL: closed */
};

static struct session_machine *check_machine(lua_State *L) {
    struct lua_machine *self = luaL_checkudata(L, 1, MACHINE_CLASS);
    luaL_argcheck(L, self->machine, 1, "the machine is closed");
    return self->machine;
}

static uint32_t check_path(lua_State *L) {
    return (uint32_t)luaL_checkinteger(L, 2);
}

static int push_result(lua_State *L, int err, const char *call) {
    const struct session_machine *m = check_machine(L);
    if (err)
        return push_machine_error(L, err, err == sm_error(m) ? sm_reason(m) : NULL, call);
    lua_pushboolean(L, true);
    return 1;
}

/* new{ initiator=, silence=, keep_max= }; instants are seconds on one scale */
static int l_new(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct session_options options = {.initiator = opt_boolean(L, 1, "initiator", false),
                                      .silence = opt_number(L, 1, "silence", 0),
                                      .keep_max = (size_t)opt_integer(L, 1, "keep_max", 0)};
    struct lua_machine *self = bind_new(L, MACHINE_CLASS, sizeof *self);
    self->machine = sm_new(&options);
    return 1;
}

/* -- paths: each call takes the path's number, and the instant last ------------------------- */

static int m_attach(lua_State *L) {
    int64_t number = sm_attach(check_machine(L), luaL_checknumber(L, 2));
    if (number < 0)
        return push_error(L, (int)number, "attach");
    lua_pushinteger(L, (lua_Integer)number);
    return 1;
}

/* path_state(path) -> "live", "leaving" or "dead" */
static int m_path_state(lua_State *L) {
    static const char *const STATES[] = {"live", "leaving", "dead"};
    lua_pushstring(L, STATES[sm_path_state(check_machine(L), check_path(L))]);
    return 1;
}

static int m_feed(lua_State *L) {
    size_t len;
    const char *data = luaL_checklstring(L, 3, &len);
    sm_feed(check_machine(L), check_path(L), data, len, luaL_checknumber(L, 4));
    return 0;
}

/* poll(path, now) -> the next bytes to send, which count as sent, and whether more do; or nil */
static int m_poll(lua_State *L) {
    struct session_machine *m = check_machine(L);
    double now = luaL_checknumber(L, 3);
    const uint8_t *data;
    size_t len = sm_poll(m, check_path(L), &data, now);
    if (!len)
        return 0;
    lua_pushlstring(L, (const char *)data, len);
    lua_pushboolean(L, sm_has_more(m, check_path(L)));
    sm_sent(m, check_path(L), len, now);
    return 2;
}

/* fail(path, why, now): it is broken; why nil: it has ended */
static int m_fail(lua_State *L) {
    const char *why = luaL_optstring(L, 3, NULL);
    sm_path_failed(check_machine(L), check_path(L), why ? -ECONNRESET : 0,
                   why ? why : "the path has ended", luaL_checknumber(L, 4));
    return 0;
}

static int m_switch(lua_State *L) {
    return push_result(L, sm_switch(check_machine(L), check_path(L), luaL_checknumber(L, 3)),
                       "switch");
}

/* drop(path, why, at_once, now) */
static int m_drop(lua_State *L) {
    int err = sm_drop(check_machine(L), check_path(L), luaL_checkstring(L, 3), lua_toboolean(L, 4),
                      luaL_checknumber(L, 5));
    return push_result(L, err, "drop");
}

static int m_doubt(lua_State *L) {
    sm_doubt(check_machine(L), luaL_checknumber(L, 2));
    return 0;
}

/* -- the stream ----------------------------------------------------------------------------- */

/* write(data) -> how many bytes were taken */
static int m_write(lua_State *L) {
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    ssize_t n = sm_write(check_machine(L), data, len);
    if (n < 0 && n != -EAGAIN)
        return push_result(L, (int)n, "write");
    lua_pushinteger(L, n > 0 ? (lua_Integer)n : 0);
    return 1;
}

/* read([max]) -> bytes, or nothing at the end; or nil, message, code */
static int m_read(lua_State *L) {
    static char data[READ_MAX];
    lua_Integer max = luaL_optinteger(L, 2, READ_MAX);
    luaL_argcheck(L, max > 0 && max <= READ_MAX, 2, "a count of bytes expected");
    ssize_t n = sm_read(check_machine(L), data, (size_t)max);
    if (n < 0)
        return push_result(L, (int)n, "read");
    if (n == 0)
        return 0;
    lua_pushlstring(L, data, (size_t)n);
    return 1;
}

static int m_shutdown(lua_State *L) {
    return push_result(L, sm_shutdown(check_machine(L), luaL_checknumber(L, 2)), "shutdown");
}

static int m_leave(lua_State *L) {
    sm_close(check_machine(L), luaL_checknumber(L, 2));
    return 0;
}

static int m_abort(lua_State *L) {
    sm_abort(check_machine(L), -ECONNABORTED, luaL_checkstring(L, 2));
    return 0;
}

static int m_abandon(lua_State *L) {
    sm_abandon(check_machine(L));
    return 0;
}

/* -- time, events --------------------------------------------------------------------------- */

static int m_due(lua_State *L) {
    lua_pushnumber(L, sm_due(check_machine(L)));
    return 1;
}

static int m_tick(lua_State *L) {
    sm_tick(check_machine(L), luaL_checknumber(L, 2));
    return 0;
}

/* event() -> type, path, reason, pause; or nothing */
static int m_event(lua_State *L) {
    static const char *const TYPES[] = {"up", "moved", "down", "lost", "ended"};
    struct session_event event;
    if (!sm_event(check_machine(L), &event))
        return 0;
    lua_pushstring(L, TYPES[event.type]);
    lua_pushinteger(L, event.path);
    lua_pushstring(L, event.reason);
    lua_pushnumber(L, event.pause);
    return 4;
}

static int m_info(lua_State *L) {
    static const char *const STATES[] = {"open", "closing", "ended", "failed"};
    struct session_info info;
    sm_info(check_machine(L), &info);
    lua_createtable(L, 0, 12);
    set_string(L, "state", STATES[info.state]);
    set_string(L, "reason", sm_reason(check_machine(L)));
    set_number(L, "rtt", info.rtt);
    set_integer(L, "path", info.path);
    set_integer(L, "paths", info.paths);
    set_integer(L, "moves", info.moves);
    set_integer(L, "resumed", info.resumed);
    set_integer(L, "again", info.again);
    set_integer(L, "unacked", info.unacked);
    set_integer(L, "kept", info.kept);
    set_integer(L, "keep", info.keep);
    set_integer(L, "unread", info.unread);
    return 1;
}

static int m_close(lua_State *L) {
    struct lua_machine *self = luaL_checkudata(L, 1, MACHINE_CLASS);
    sm_free(self->machine);
    self->machine = NULL;
    return 0;
}

__attribute__((visibility("default"))) int luaopen_spec_session_machine(lua_State *L);

int luaopen_spec_session_machine(lua_State *L) {
    static const luaL_Reg METHODS[] = {{"attach", m_attach},     {"path_state", m_path_state},
                                       {"feed", m_feed},         {"poll", m_poll},
                                       {"fail", m_fail},         {"switch", m_switch},
                                       {"drop", m_drop},         {"doubt", m_doubt},
                                       {"write", m_write},       {"read", m_read},
                                       {"shutdown", m_shutdown}, {"leave", m_leave},
                                       {"abort", m_abort},       {"abandon", m_abandon},
                                       {"due", m_due},           {"tick", m_tick},
                                       {"event", m_event},       {"info", m_info},
                                       {"close", m_close},       {NULL, NULL}};
    return open_machine(L, MACHINE_CLASS, METHODS, l_new, m_close);
}
