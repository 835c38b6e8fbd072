/*
 * core.reliable.machine: the link without a socket and without a clock, for whoever has datagrams
 * and instants of his own (a script that carries them, a simulation).
 */
#include <errno.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/reliable.h"
#include "host/loop.h"

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

static double opt_now(lua_State *L, int arg) {
    return lua_isnoneornil(L, arg) ? loop_now() : luaL_checknumber(L, arg);
}

/***
A machine. `now` is on the scale of all other instants.
@function machine
@tparam table options as for @{new}, without `carrier`; and `now`
*/
static int l_machine(lua_State *L) {
    struct reliable_options options = check_reliable_options(L);
    double now = opt_number(L, 1, "now", loop_now());
    struct lua_machine *self = bind_new(L, MACHINE_CLASS, sizeof *self);
    self->machine = reliable_new(&options, now);
    return 1;
}

/* feed(datagram[, now]) -> true; or nil, message, code: it is none of ours */
static int m_feed(lua_State *L) {
    struct reliable *r = check_machine(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    int err = reliable_feed(r, data, len, opt_now(L, 3));
    if (err)
        return push_error(L, err, "feed");
    lua_pushboolean(L, true);
    return 1;
}

/* poll([now]) -> the next datagram to send, or nil */
static int m_poll(lua_State *L) {
    uint8_t datagram[RELIABLE_SIZE_MAX];
    size_t len = reliable_poll(check_machine(L), datagram, sizeof datagram, opt_now(L, 2));
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
        return push_reliable_error(L, r, (int)n, "write");
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
        return push_reliable_error(L, r, (int)n, "read");
    if (n == 0)
        return 0;
    lua_pushlstring(L, data, (size_t)n);
    return 1;
}

/* send(message) -> true */
static int m_send(lua_State *L) {
    struct reliable *r = check_machine(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    int err = reliable_post(r, data, len);
    if (err)
        return push_reliable_error(L, r, err, "send");
    lua_pushboolean(L, true);
    return 1;
}

/* receive() -> message, or nil, message, code: EPIPE when the peer has ended */
static int m_receive(lua_State *L) {
    struct reliable *r = check_machine(L);
    const char *data;
    ssize_t n = reliable_message(r, &data);
    if (n < 0)
        return push_reliable_error(L, r, (int)n, "receive");
    lua_pushlstring(L, data, (size_t)n);
    reliable_drop(r);
    return 1;
}

static int m_shutdown(lua_State *L) {
    struct reliable *r = check_machine(L);
    int err = reliable_shutdown(r);
    if (err)
        return push_reliable_error(L, r, err, "shutdown");
    lua_pushboolean(L, true);
    return 1;
}

/* leave([now]): nobody will read or write any more; what poll() gives still has to leave */
static int m_leave(lua_State *L) {
    reliable_leave(check_machine(L), opt_now(L, 2));
    return 0;
}

static int m_info(lua_State *L) {
    push_reliable_info(L, check_machine(L));
    return 1;
}

static int m_close(lua_State *L) {
    struct lua_machine *self = luaL_checkudata(L, 1, MACHINE_CLASS);
    reliable_free(self->machine);
    self->machine = NULL;
    return 0;
}

void bind_reliable_machine(lua_State *L) {
    static const luaL_Reg METHODS[] = {
        {"feed", m_feed},   {"poll", m_poll}, {"due", m_due},         {"write", m_write},
        {"read", m_read},   {"send", m_send}, {"receive", m_receive}, {"shutdown", m_shutdown},
        {"leave", m_leave}, {"info", m_info}, {"close", m_close},     {NULL, NULL}};
    static const luaL_Reg META[] = {{"__gc", m_close}, {"__close", m_close}, {NULL, NULL}};
    bind_class(L, MACHINE_CLASS, METHODS, META);
    lua_pushcfunction(L, l_machine);
    lua_setfield(L, -2, "machine");
}
