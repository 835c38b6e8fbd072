/***
An HTTP server: requests, as tasks want them.
A request's body is read piece by piece, and the answer given at once or piece by piece, by the task
that has taken it. Calls wait where they say so.
@module p2pd.core.http
*/
#include "host/http.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bindings/bind.h"
#include "bindings/http_request.h"
#include "bindings/scheduler.h"
#include "host/inet.h"
#include "host/tcp.h"

#define SERVER_CLASS "p2pd.http.server"
#define BACKLOG 128

struct lua_server {
    struct http_server *server; /* NULL: closed */
    struct waitlist waiters;
    char path[sizeof((struct sockaddr_un *)0)->sun_path]; /* of a unix socket; "": none */
    struct inet_addr local;
};

/* -- listening -------------------------------------------------------------------------------- */

static void on_request(void *owner) {
    task_wake(&((struct lua_server *)owner)->waiters);
}

static int listen_inet(lua_State *L, struct lua_server *self, const char *ip) {
    if (inet_parse(&self->local, ip, opt_port(L, 1, "port", 0)) < 0)
        return luaL_argerror(L, 1, lua_pushfstring(L, "'%s' is not an IP address", ip));
    int fd = tcp_listen(&(struct tcp_options){.local = &self->local}, BACKLOG);
    if (fd >= 0)
        tcp_local(fd, &self->local);
    return fd;
}

/* Nobody but us may connect, from the first moment on. */
static int listen_unix(lua_State *L, struct lua_server *self, const char *path) {
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    luaL_argcheck(L, *path && strlen(path) < sizeof addr.sun_path, 1, "option 'path' is too long");
    strcpy(addr.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    mode_t mask = umask(0177);
    int failed = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    int err = failed ? -errno : 0;
    umask(mask);
    if (!err && listen(fd, BACKLOG) < 0)
        err = -errno;
    if (!failed)
        strcpy(self->path, path);
    if (!err)
        return fd;
    close(fd);
    return err;
}

/***
Listens.
@function listen
@tparam table options ip and port (0: a free one), or path (of a unix socket, mode 0600);
connections (1024 at a time), head (32768 bytes of a request's first line and headers, about), idle
(30 seconds after which a connection without progress is closed)
@treturn server to be closed; or nil, message, code (ELIBACC: libmicrohttpd is not there)
*/
static int l_listen(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *ip = opt_string(L, 1, "ip", NULL), *path = opt_string(L, 1, "path", NULL);
    luaL_argcheck(L, !ip != !path, 1, "either option 'ip' or option 'path' expected");
    struct http_options options = {
        .connections_max = (int)opt_integer(L, 1, "connections", 1024),
        .head_max = (int)opt_integer(L, 1, "head", 32768),
        .idle_s = (int)opt_integer(L, 1, "idle", 30),
    };
    luaL_argcheck(L, options.connections_max > 0 && options.head_max >= 1024 && options.idle_s > 0,
                  1, "options 'connections', 'head' or 'idle' out of range");
    struct lua_server *self = bind_new(L, SERVER_CLASS, sizeof *self);
    options.fd = ip ? listen_inet(L, self, ip) : listen_unix(L, self, path);
    if (options.fd < 0)
        return push_error(L, options.fd, "listen on %s", ip ? ip : path);
    int err = http_server_new(&self->server, &options);
    if (err < 0)
        return push_error(L, err, "libmicrohttpd");
    http_server_on_request(self->server, on_request, self);
    return 1;
}

static struct lua_server *check_server(lua_State *L) {
    return luaL_checkudata(L, 1, SERVER_CLASS);
}

/***
Closes the server; answers that are under way are broken off. It can be called twice.
@function server:close
*/
static int m_close(lua_State *L) {
    struct lua_server *self = check_server(L);
    if (!self->server)
        return 0;
    http_server_free(self->server);
    self->server = NULL;
    if (self->path[0])
        unlink(self->path);
    task_wake_all(&self->waiters);
    return 0;
}

/***
Where it listens.
@function server:getsockname
@return ip and port, or a unix socket's path
*/
static int m_getsockname(lua_State *L) {
    struct lua_server *self = check_server(L);
    char text[INET_TEXT_MAX];
    if (self->path[0]) {
        lua_pushstring(L, self->path);
        return 1;
    }
    lua_pushstring(L, inet_ip(&self->local, text));
    lua_pushinteger(L, inet_port(&self->local));
    return 2;
}

/***
How many connections there are.
@function server:connections
*/
static int m_connections(lua_State *L) {
    struct lua_server *self = check_server(L);
    lua_pushinteger(L, self->server ? http_server_connections(self->server) : 0);
    return 1;
}

/* -- accepting -------------------------------------------------------------------------------- */

static int accept_k(lua_State *L, int status, lua_KContext ctx);

static int accept_one(lua_State *L, struct lua_server *self, double deadline, bool first_try) {
    if (!self->server)
        return push_failure(L, "EBADF", "the server is closed");
    if (http_server_has(self->server))
        return push_http_request(L, http_server_take(self->server));
    if (!first_try && task_expired())
        return task_push_timeout(L);
    return first_try ? task_wait(L, &self->waiters, deadline, 0, accept_k)
                     : task_wait_again(L, &self->waiters, 0, accept_k);
}

static int accept_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return accept_one(L, lua_touserdata(L, 1), 0, false);
}

/***
Waits for a request.
@function server:accept
@tparam[opt] number timeout seconds
@treturn request to be closed: one that has not been answered is answered by status 500 then; or
nil, message, code (EBADF once the server is closed)
*/
static int m_accept(lua_State *L) {
    struct lua_server *self = check_server(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return accept_one(L, self, deadline, true);
}

int bind_http(lua_State *L) {
    static const luaL_Reg SERVER_METHODS[] = {{"accept", m_accept},
                                              {"getsockname", m_getsockname},
                                              {"connections", m_connections},
                                              {"close", m_close},
                                              {NULL, NULL}};
    static const luaL_Reg SERVER_META[] = {{"__gc", m_close}, {"__close", m_close}, {NULL, NULL}};
    static const luaL_Reg FUNCTIONS[] = {{"listen", l_listen}, {NULL, NULL}};
    bind_class(L, SERVER_CLASS, SERVER_METHODS, SERVER_META);
    http_request_class(L);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
