/***
TCP: connect and listen; both give streams.
@module p2pd.core.tcp
*/
#include "host/tcp.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "bindings/bind.h"
#include "bindings/inet.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"
#include "host/fd.h"
#include "host/local_socket.h"
#include "host/loop.h"
#include "host/nat64.h"
#include "host/reserve.h"

#define CONNECTOR_CLASS "p2pd.tcp.connector"
#define LISTENER_CLASS "p2pd.tcp.listener"
#define BACKLOG 128

/* A descriptor that somebody waits for: a connection on its way, or a listener. */
struct socket {
    int fd; /* 0: none; a descriptor is kept as fd + 1, so that zeroed is closed */
    ev_io io;
    struct waitlist waiters;
};

static void on_io(struct ev_loop *l, ev_io *w, int events) {
    (void)events;
    ev_io_stop(l, w);
    task_wake_all(w->data);
}

static struct socket *new_socket(lua_State *L, const char *class) {
    struct socket *self = bind_new(L, class, sizeof *self);
    ev_init(&self->io, on_io);
    return self;
}

static void adopt(struct socket *self, int fd, int events) {
    self->fd = fd + 1;
    ev_io_init(&self->io, on_io, fd, events);
    self->io.data = &self->waiters;
}

static int give_up(struct socket *self) {
    int fd = self->fd - 1;
    ev_io_stop(loop_get(), &self->io);
    self->fd = 0;
    return fd;
}

/* Pushes the path that a listener of listen_path() has; false, and nothing: it is one of TCP. */
static bool push_path(lua_State *L, int arg) {
    if (lua_getiuservalue(L, arg, 1) == LUA_TSTRING)
        return true;
    lua_pop(L, 1);
    return false;
}

/***
Closes the listener; whoever waits learns that. It can be called twice.
@function listener:close
*/
static int m_close(lua_State *L) {
    struct socket *self = luaL_testudata(L, 1, CONNECTOR_CLASS);
    bool listens = !self;
    if (listens)
        self = luaL_checkudata(L, 1, LISTENER_CLASS);
    if (!self->fd)
        return 0;
    if (push_path(L, 1))
        unlink(lua_tostring(L, -1));
    close(give_up(self));
    if (listens)
        reserve_release();
    task_wake_all(&self->waiters);
    return 0;
}

/* Fills in *options from the table at t; *local is its storage. */
static void check_options(lua_State *L, int t, struct tcp_options *options,
                          struct inet_addr *local) {
    const char *ip = opt_string(L, t, "ip", NULL);
    int port = opt_port(L, t, "port", 0);
    *options = (struct tcp_options){.device = opt_string(L, t, "interface", NULL),
                                    .reuse_port = opt_boolean(L, t, "reuse_port", false)};
    if (!ip && port)
        luaL_argerror(L, t, "option 'port' needs option 'ip'");
    if (!ip)
        return;
    if (inet_parse(local, ip, port) < 0)
        luaL_argerror(L, t, lua_pushfstring(L, "'%s' is not an IP address", ip));
    options->local = local;
}

/* -- connect ------------------------------------------------------------------------------- */

static int connect_failed(lua_State *L, int err) {
    return push_error(L, err, "connect to %s port %d", lua_tostring(L, 1),
                      (int)lua_tointeger(L, 2));
}

static int connected(lua_State *L, struct socket *self) {
    int err = tcp_connected(self->fd - 1);
    if (err < 0)
        return connect_failed(L, err);
    push_stream(L, stream_new(fd_transport(give_up(self), true)));
    return 1;
}

static int connect_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    struct socket *self = lua_touserdata(L, 5);
    if (!ev_is_active(&self->io))
        return connected(L, self);
    if (task_expired())
        return connect_failed(L, ETIMEDOUT);
    return task_wait_again(L, &self->waiters, 0, connect_k);
}

/***
Connects.
@function connect
@tparam string ip with an IPv6 address as the local one, by NAT64 (p2pd.core.nat64) an IPv4 one
too
@tparam integer port
@tparam[opt] table options ip and port (local), interface, reuse_port
@tparam[opt] number timeout seconds
@treturn p2pd.stream to be closed; or nil, message, code
*/
static int l_connect(lua_State *L) {
    struct inet_addr remote, local;
    struct tcp_options options;
    check_endpoint(L, 1, &remote);
    check_options(L, 3, &options, &local);
    double deadline = task_deadline(L, 4);
    if (options.local)
        nat64_translate(&remote, options.local->any.sa_family);
    task_prepare(L);
    lua_settop(L, 4);
    struct socket *self = new_socket(L, CONNECTOR_CLASS);
    int fd = tcp_socket(remote.any.sa_family, &options);
    if (fd < 0)
        return connect_failed(L, fd);
    adopt(self, fd, EV_WRITE);
    lua_toclose(L, 5);
    int err = tcp_connect(fd, &remote);
    if (err < 0 && err != -EINPROGRESS)
        return connect_failed(L, err);
    if (err == 0)
        return connected(L, self);
    ev_io_start(loop_get(), &self->io);
    return task_wait(L, &self->waiters, deadline, 0, connect_k);
}

/* -- listen -------------------------------------------------------------------------------- */

/***
A listener.
@function listen
@tparam table options ip, port (0: a free one), interface, reuse_port, backlog (128)
@treturn p2pd.tcp.listener to be closed; or nil, message, code
*/
static int l_listen(lua_State *L) {
    struct inet_addr local;
    struct tcp_options options;
    luaL_checktype(L, 1, LUA_TTABLE);
    check_options(L, 1, &options, &local);
    luaL_argcheck(L, options.local, 1, "option 'ip' expected");
    lua_Integer backlog = opt_integer(L, 1, "backlog", BACKLOG);
    luaL_argcheck(L, backlog >= 0 && backlog <= INT_MAX, 1, "option 'backlog' out of range");
    struct socket *self = new_socket(L, LISTENER_CLASS);
    int fd = tcp_listen(&options, (int)backlog);
    char text[INET_TEXT_MAX];
    if (fd < 0)
        return push_error(L, fd, "listen on %s", inet_format(&local, text));
    adopt(self, fd, EV_READ);
    reserve_hold();
    return 1;
}

static const char *check_path(lua_State *L) {
    size_t len;
    const char *path = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len > 0 && strlen(path) == len, 1, "a path expected");
    return path;
}

/***
Connects to a unix socket.
@function connect_path
@tparam string path
@treturn p2pd.stream to be closed; or nil, message, code: EAGAIN when the listener is busy
*/
static int l_connect_path(lua_State *L) {
    const char *path = check_path(L);
    int fd = local_socket_connect(path);
    if (fd < 0)
        return push_error(L, fd, "connect to %s", path);
    push_stream(L, stream_new(fd_transport(fd, true)));
    return 1;
}

/***
A listener on a unix socket, for this user alone; its file goes with it.
@function listen_path
@tparam string path
@treturn p2pd.tcp.listener to be closed; or nil, message, code
*/
static int l_listen_path(lua_State *L) {
    const char *path = check_path(L);
    struct socket *self = new_socket(L, LISTENER_CLASS);
    int fd = local_socket_listen(path, BACKLOG);
    if (fd < 0)
        return push_error(L, fd, "listen on %s", path);
    adopt(self, fd, EV_READ);
    reserve_hold();
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

static struct socket *check_listener(lua_State *L) {
    return luaL_checkudata(L, 1, LISTENER_CLASS);
}

static int push_listener_closed(lua_State *L) {
    return push_failure(L, "EBADF", "the listener is closed");
}

static int accept_k(lua_State *L, int status, lua_KContext ctx);

static int accept_one(lua_State *L, struct socket *self, double deadline, bool first_try) {
    if (!self->fd)
        return push_listener_closed(L);
    struct inet_addr remote;
    int fd = tcp_accept(self->fd - 1, &remote);
    if (fd >= 0) {
        char text[INET_TEXT_MAX];
        push_stream(L, stream_new(fd_transport(fd, true)));
        if (remote.any.sa_family == AF_UNIX)
            return 1;
        lua_pushstring(L, inet_ip(&remote, text));
        lua_pushinteger(L, inet_port(&remote));
        return 3;
    }
    if (fd != -EAGAIN)
        return push_error(L, fd, "accept");
    if (!first_try && task_expired()) {
        if (!self->waiters.first)
            ev_io_stop(loop_get(), &self->io);
        return task_push_timeout(L);
    }
    ev_io_start(loop_get(), &self->io);
    return first_try ? task_wait(L, &self->waiters, deadline, 0, accept_k)
                     : task_wait_again(L, &self->waiters, 0, accept_k);
}

static int accept_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return accept_one(L, lua_touserdata(L, 1), 0, false);
}

/***
Waits for a connection.
@function listener:accept
@tparam[opt] number timeout seconds
@return a stream, and of TCP the ip and the port of the other end; or nil, message, code: EMFILE and
ENFILE when no descriptor is left; the connection was reset then, and one may go on
*/
static int m_accept(lua_State *L) {
    struct socket *self = check_listener(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return accept_one(L, self, deadline, true);
}

/***
The local address.
@function listener:getsockname
@return ip and port, or the path of a unix socket; or nil, message, code
*/
static int m_getsockname(lua_State *L) {
    struct socket *self = check_listener(L);
    struct inet_addr addr;
    char text[INET_TEXT_MAX];
    if (!self->fd)
        return push_listener_closed(L);
    if (push_path(L, 1))
        return 1;
    int err = tcp_local(self->fd - 1, &addr);
    if (err < 0)
        return push_error(L, err, "getsockname");
    lua_pushstring(L, inet_ip(&addr, text));
    lua_pushinteger(L, inet_port(&addr));
    return 2;
}

static int m_tostring(lua_State *L) {
    struct socket *self = check_listener(L);
    lua_pushfstring(L, "tcp listener (%s): %p", self->fd ? "open" : "closed", (void *)self);
    return 1;
}

/***
Acknowledges at once what has been received, once: for a peer that keeps its next bytes back until
then.
@function acknowledge
@tparam p2pd.stream stream
*/
static int l_acknowledge(lua_State *L) {
    const struct transport *t = check_stream(L, 1)->transport;
    tcp_acknowledge(t->ops->fd(t));
    return 0;
}

static const luaL_Reg CONNECTOR_METHODS[] = {{NULL, NULL}};
static const luaL_Reg CONNECTOR_META[] = {{"__gc", m_close}, {"__close", m_close}, {NULL, NULL}};
static const luaL_Reg LISTENER_METHODS[] = {
    {"accept", m_accept}, {"getsockname", m_getsockname}, {"close", m_close}, {NULL, NULL}};
static const luaL_Reg LISTENER_META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {
    {"connect", l_connect},           {"listen", l_listen},
    {"connect_path", l_connect_path}, {"listen_path", l_listen_path},
    {"acknowledge", l_acknowledge},   {NULL, NULL}};

int bind_tcp(lua_State *L) {
    bind_class(L, CONNECTOR_CLASS, CONNECTOR_METHODS, CONNECTOR_META);
    bind_class(L, LISTENER_CLASS, LISTENER_METHODS, LISTENER_META);
    luaL_newlib(L, FUNCTIONS);
    set_methods(L, "listener_methods", LISTENER_CLASS);
    return 1;
}
