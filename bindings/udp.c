/***
UDP sockets; only receiving waits.
@module p2pd.core.udp
@pragma nostrip
*/
#include "host/udp.h"

#include <errno.h>

#include "bindings/bind.h"
#include "bindings/datagrams.h"
#include "bindings/inet.h"
#include "bindings/scheduler.h"
#include "host/datagrams/udp.h"
#include "host/loop.h"

#define UDP_CLASS "p2pd.udp"

struct lua_udp {
    struct udp udp;
    struct waitlist waiters;
};

static void on_ready(struct udp *u) {
    struct lua_udp *self = u->owner;
    task_wake_all(&self->waiters);
}

static struct lua_udp *check_self(lua_State *L) {
    return luaL_checkudata(L, 1, UDP_CLASS);
}

static int push_closed(lua_State *L) {
    return push_failure(L, "EBADF", "the socket is closed");
}

static void push_addr(lua_State *L, const struct inet_addr *addr) {
    char text[INET_TEXT_MAX];
    lua_pushstring(L, inet_ip(addr, text));
    lua_pushinteger(L, inet_port(addr));
}

/***
A socket.
@function bind
@tparam table options ip ("0.0.0.0"), port (0: a free one), interface, reuse
@treturn p2pd.udp to be closed; or nil, message, code
*/
static int l_bind(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *ip = opt_string(L, 1, "ip", "0.0.0.0");
    int port = opt_port(L, 1, "port", 0);
    struct udp_options options = {.interface = opt_string(L, 1, "interface", NULL),
                                  .reuse = opt_boolean(L, 1, "reuse", false)};
    if (inet_parse(&options.local, ip, port) < 0)
        return luaL_error(L, "option 'ip': '%s' is not an IP address", ip);
    struct lua_udp *self = bind_new(L, UDP_CLASS, sizeof *self);
    self->udp.on_ready = on_ready;
    self->udp.owner = self;
    int err = udp_open(&self->udp, &options);
    char text[INET_TEXT_MAX];
    if (err)
        return push_error(L, err, "bind UDP to %s", inet_format(&options.local, text));
    return 1;
}

/***
Sends a datagram.
@function udp:sendto
@tparam string data
@tparam string ip
@tparam integer port
@return ip and port, spelt as @{udp:recvfrom} spells them; or nil, message, code
*/
static int m_sendto(lua_State *L) {
    struct lua_udp *self = check_self(L);
    struct inet_addr to;
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    check_endpoint(L, 3, &to);
    if (!self->udp.open)
        return push_closed(L);
    ssize_t n = udp_sendto(&self->udp, data, len, &to);
    char text[INET_TEXT_MAX];
    if (n < 0)
        return push_error(L, (int)n, "send to %s", inet_format(&to, text));
    push_addr(L, &to);
    return 2;
}

/* Whom an ICMP error is about comes after the three values of a failure. */
static int push_receive_error(lua_State *L, int err, const struct inet_addr *peer) {
    if (!peer->len)
        return push_error(L, err, "receive");
    char text[INET_TEXT_MAX];
    push_error(L, err, "receive from %s", inet_format(peer, text));
    push_addr(L, peer);
    return 5;
}

static int recvfrom_k(lua_State *L, int status, lua_KContext ctx);

static int receive(lua_State *L, struct lua_udp *self, double deadline, bool first_try) {
    static char datagram[UDP_DATAGRAM_MAX];
    struct inet_addr peer;
    if (!self->udp.open)
        return push_closed(L);
    ssize_t n = udp_recvfrom(&self->udp, datagram, sizeof datagram, &peer);
    if (n >= 0) {
        lua_pushlstring(L, datagram, (size_t)n);
        push_addr(L, &peer);
        return 3;
    }
    if (n != -EAGAIN)
        return push_receive_error(L, (int)n, &peer);
    if (!first_try && task_expired()) {
        udp_want(&self->udp, self->waiters.first != NULL);
        return task_push_timeout(L);
    }
    udp_want(&self->udp, true);
    return first_try ? task_wait(L, &self->waiters, deadline, 0, recvfrom_k)
                     : task_wait_again(L, &self->waiters, 0, recvfrom_k);
}

static int recvfrom_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return receive(L, lua_touserdata(L, 1), 0, false);
}

/***
Waits for a datagram.
@function udp:recvfrom
@tparam[opt] number timeout seconds
@return data, ip, port; or nil, message, code, and with an ICMP error the ip and port that it is
about
*/
static int m_recvfrom(lua_State *L) {
    struct lua_udp *self = check_self(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return receive(L, self, deadline, true);
}

/***
A carrier that talks to that peer alone; the socket is closed for others.
@function udp:datagrams
@tparam string ip
@tparam integer port
@treturn p2pd.datagrams to be closed; or nil, message, code
*/
static int m_datagrams(lua_State *L) {
    struct lua_udp *self = check_self(L);
    struct inet_addr peer;
    char text[INET_TEXT_MAX];
    check_endpoint(L, 2, &peer);
    if (!self->udp.open)
        return push_closed(L);
    struct datagrams *d = udp_datagrams(&self->udp, &peer);
    if (!d)
        return push_error(L, errno, "connect to %s", inet_format(&peer, text));
    task_wake_all(&self->waiters);
    push_datagrams(L, d);
    return 1;
}

/***
The local address.
@function udp:getsockname
@return ip and port; or nil, message, code
*/
static int m_getsockname(lua_State *L) {
    struct lua_udp *self = check_self(L);
    struct inet_addr addr;
    if (!self->udp.open)
        return push_closed(L);
    int err = udp_local(&self->udp, &addr);
    if (err)
        return push_error(L, err, "getsockname");
    push_addr(L, &addr);
    return 2;
}

/***
Closes it; whoever waits learns that. It can be called twice.
@function udp:close
*/
static int m_close(lua_State *L) {
    struct lua_udp *self = check_self(L);
    if (!self->udp.open)
        return 0;
    udp_close(&self->udp);
    task_wake_all(&self->waiters);
    return 0;
}

static int m_tostring(lua_State *L) {
    struct lua_udp *self = check_self(L);
    struct inet_addr addr;
    char text[INET_TEXT_MAX];
    if (udp_local(&self->udp, &addr) == 0)
        lua_pushfstring(L, "udp (%s): %p", inet_format(&addr, text), (void *)self);
    else
        lua_pushfstring(L, "udp (closed): %p", (void *)self);
    return 1;
}

static const luaL_Reg METHODS[] = {{"sendto", m_sendto},       {"recvfrom", m_recvfrom},
                                   {"datagrams", m_datagrams}, {"getsockname", m_getsockname},
                                   {"close", m_close},         {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"bind", l_bind}, {NULL, NULL}};

int bind_udp(lua_State *L) {
    bind_class(L, UDP_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
