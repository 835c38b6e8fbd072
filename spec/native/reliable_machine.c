/*
 * spec.reliable_machine: the machine of a reliable link without a socket and without a clock, so
 * that specs can carry its datagrams in virtual time.
 */
#include <errno.h>
#include <string.h>

#include "host/reliable.h"
#include "host/reliable/id.h"
#include "spec/native/machine.h"

#define MACHINE_CLASS "p2pd.reliable.machine"
#define READ_MAX (64 * 1024)

struct lua_machine {
    struct reliable *machine; /* NULL: closed */
};

static struct reliable *check_machine(lua_State *L) {
    struct lua_machine *self = luaL_checkudata(L, 1, MACHINE_CLASS);
    luaL_argcheck(L, self->machine, 1, "the machine is closed");
    return self->machine;
}

static int push_failed(lua_State *L, int err, const char *call) {
    const struct reliable *r = check_machine(L);
    return push_machine_error(L, err, err == reliable_error(r) ? reliable_reason(r) : NULL, call);
}

/* new{ id=, role=, mtu=, silence=, now= }; instants are seconds on one scale */
static int l_new(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *id = opt_string(L, 1, "id", "");
    struct reliable_options options = {
        .dialer = strcmp(opt_string(L, 1, "role", ""), "dialer") == 0,
        .size = (size_t)opt_integer(L, 1, "mtu", RELIABLE_SIZE),
        .silence = opt_number(L, 1, "silence", RELIABLE_SILENCE_S),
    };
    reliable_make_id(id, strlen(id), options.id);
    double now = opt_number(L, 1, "now", 0);
    struct lua_machine *self = bind_new(L, MACHINE_CLASS, sizeof *self);
    self->machine = reliable_new(&options, now);
    return 1;
}

/* feed(datagram, now) -> true; or nil, message, code: it is not of this link */
static int m_feed(lua_State *L) {
    struct reliable *r = check_machine(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    int err = reliable_feed(r, data, len, luaL_checknumber(L, 3));
    if (err)
        return push_error(L, err, "feed");
    lua_pushboolean(L, true);
    return 1;
}

/* poll(now) -> the next datagram to send, or nil */
static int m_poll(lua_State *L) {
    uint8_t datagram[RELIABLE_SIZE_MAX];
    size_t len = reliable_poll(check_machine(L), datagram, sizeof datagram, luaL_checknumber(L, 2));
    if (!len)
        return 0;
    lua_pushlstring(L, (const char *)datagram, len);
    return 1;
}

static int m_due(lua_State *L) {
    lua_pushnumber(L, reliable_due(check_machine(L)));
    return 1;
}

/* write(data) -> how many bytes were taken */
static int m_write(lua_State *L) {
    struct reliable *r = check_machine(L);
    size_t len, taken = 0;
    const char *data = luaL_checklstring(L, 2, &len);
    ssize_t n = 0;
    while (taken < len && (n = reliable_write(r, data + taken, len - taken)) > 0)
        taken += (size_t)n;
    if (n < 0 && n != -EAGAIN)
        return push_failed(L, (int)n, "write");
    lua_pushinteger(L, (lua_Integer)taken);
    return 1;
}

/* read([max]) -> bytes, or nil at the end; or nil, message, code */
static int m_read(lua_State *L) {
    static char data[READ_MAX];
    struct reliable *r = check_machine(L);
    lua_Integer max = luaL_optinteger(L, 2, READ_MAX);
    luaL_argcheck(L, max > 0, 2, "a count of bytes expected");
    ssize_t n = reliable_read(r, data, max < READ_MAX ? (size_t)max : READ_MAX);
    if (n < 0)
        return push_failed(L, (int)n, "read");
    if (n == 0)
        return 0;
    lua_pushlstring(L, data, (size_t)n);
    return 1;
}

static int m_shutdown(lua_State *L) {
    int err = reliable_shutdown(check_machine(L));
    if (err)
        return push_failed(L, err, "shutdown");
    lua_pushboolean(L, true);
    return 1;
}

/* leave(now): nobody will read or write any more; what poll() gives still has to leave */
static int m_leave(lua_State *L) {
    reliable_leave(check_machine(L), luaL_checknumber(L, 2));
    return 0;
}

static int m_info(lua_State *L) {
    static const char *const STATES[] = {"opening", "open", "ended", "failed", "gone"};
    struct reliable_info info;
    reliable_info(check_machine(L), &info);
    lua_createtable(L, 0, 8);
    set_string(L, "state", STATES[info.state]);
    set_number(L, "rtt", info.rtt);
    set_integer(L, "mtu", info.size);
    set_integer(L, "unacked", info.unacked);
    set_integer(L, "retransmitted", info.retransmitted);
    set_integer(L, "lost", info.lost);
    set_integer(L, "spurious", info.spurious);
    set_integer(L, "duplicates", info.duplicates);
    set_integer(L, "refused", info.refused);
    return 1;
}

static int m_close(lua_State *L) {
    struct lua_machine *self = luaL_checkudata(L, 1, MACHINE_CLASS);
    reliable_free(self->machine);
    self->machine = NULL;
    return 0;
}

__attribute__((visibility("default"))) int luaopen_spec_reliable_machine(lua_State *L);

int luaopen_spec_reliable_machine(lua_State *L) {
    static const luaL_Reg METHODS[] = {{"feed", m_feed},   {"poll", m_poll},
                                       {"due", m_due},     {"write", m_write},
                                       {"read", m_read},   {"shutdown", m_shutdown},
                                       {"leave", m_leave}, {"info", m_info},
                                       {"close", m_close}, {NULL, NULL}};
    return open_machine(L, MACHINE_CLASS, METHODS, l_new, m_close);
}
