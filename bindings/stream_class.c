/***
Streams: reading by Lua's io formats, writing that waits while the peer is slow.
@module p2pd.core.stream
@pragma nostrip
*/
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>

#include "bindings/bind.h"
#include "bindings/facts.h"
#include "bindings/stream.h"
#include "bindings/stream_read.h"
#include "bindings/stream_write.h"
#include "host/fd.h"
#include "host/inet.h"
#include "host/tcp.h"

/* -- ends ---------------------------------------------------------------------------------- */

/***
Ends the local half after what is queued; reading goes on.
@function stream:shutdown
@return the stream; or nil, message, code
*/
static int m_shutdown(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    if (!self->stream)
        return push_stream_closed(L);
    int err = stream_shutdown(self->stream);
    if (err < 0)
        return push_error(L, err, "shutdown");
    lua_settop(L, 1);
    return 1;
}

/***
Closes it. What is queued is still sent. It can be called twice.
@function stream:close
@return true; nothing when it was closed already
*/
static int m_close(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    if (!self->stream)
        return 0;
    close_stream(self);
    lua_pushboolean(L, true);
    return 1;
}

/***
Closes it and drops what is queued.
@function stream:abort
*/
static int m_abort(lua_State *L) {
    kill_stream(check_lua_stream(L, 1));
    return 0;
}

/***
Closes it, drops what is queued, and resets a TCP connection: the other end gets an error, and no
end.
@function stream:reset
*/
static int m_reset(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    if (self->stream)
        fd_reset_at_close(self->stream->transport);
    kill_stream(self);
    return 0;
}

/***
Gives the descriptor away; the stream is closed then.
@function stream:detach
@treturn integer the descriptor; or nil, message, code: EBUSY while bytes are buffered, EOPNOTSUPP
*/
static int m_detach(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    if (!self->stream)
        return push_stream_closed(L);
    int fd = stream_detach(self->stream);
    if (fd < 0)
        return push_error(L, fd, "detach");
    self->stream = NULL;
    wake_stream_waiters(self);
    lua_pushinteger(L, fd);
    return 1;
}

/* -- what one can ask ---------------------------------------------------------------------- */

/***
How long each wait may take from now on.
@function stream:settimeout
@tparam[opt] number seconds none: for ever
*/
static int m_settimeout(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    double seconds = luaL_optnumber(L, 2, INFINITY);
    luaL_argcheck(L, seconds >= 0, 2, "a timeout in seconds, 0 or more, expected");
    self->timeout = seconds;
    return 0;
}

/***
How much "l", "L" and "a" may gather.
@function stream:setlimit
@tparam[opt] integer bytes none: without limit
*/
static int m_setlimit(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    lua_Integer limit = luaL_optinteger(L, 2, LUA_MAXINTEGER);
    luaL_argcheck(L, limit > 0, 2, "a count of bytes expected");
    self->limit = (size_t)limit;
    return 0;
}

/***
From now on a peer that has vanished is noticed within so many seconds: reads and writes fail with
ETIMEDOUT, "the peer vanished". Does nothing where there is no peer, such as for a terminal.
@function stream:setsilence
@tparam number seconds 1 or more
*/
static int m_setsilence(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    double seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, seconds >= 1 && isfinite(seconds), 2, "seconds, 1 or more, expected");
    if (self->stream)
        transport_set_silence(self->stream->transport, seconds);
    return 0;
}

static int push_endpoint(lua_State *L, int (*ask)(int, struct inet_addr *), const char *call) {
    struct stream *s = check_lua_stream(L, 1)->stream;
    if (!s)
        return push_stream_closed(L);
    struct inet_addr addr;
    char text[INET_TEXT_MAX];
    int err = ask(s->transport->ops->fd(s->transport), &addr);
    if (err < 0)
        return push_error(L, err, "%s", call);
    if (addr.any.sa_family != AF_INET && addr.any.sa_family != AF_INET6)
        return push_error(L, EAFNOSUPPORT, "%s", call);
    lua_pushstring(L, inet_ip(&addr, text));
    lua_pushinteger(L, inet_port(&addr));
    return 2;
}

/***
The local address.
@function stream:getsockname
@return ip and port; or nil, message, code
*/
static int m_getsockname(lua_State *L) {
    return push_endpoint(L, tcp_local, "getsockname");
}

/***
The remote address.
@function stream:getpeername
@return ip and port; or nil, message, code
*/
static int m_getpeername(lua_State *L) {
    return push_endpoint(L, tcp_remote, "getpeername");
}

/***
What there is to know of it.
@function stream:stats
@treturn table received, sent, queued (bytes), rtt (seconds); tls: protocol, cipher, ktls; link:
what a reliable link's info() tells; or nil, message, code
*/
static int m_stats(lua_State *L) {
    struct stream *s = check_lua_stream(L, 1)->stream;
    if (!s)
        return push_stream_closed(L);
    lua_createtable(L, 0, 4);
    set_integer(L, "received", (lua_Integer)s->bytes_in);
    set_integer(L, "sent", (lua_Integer)s->bytes_out);
    set_integer(L, "queued", (lua_Integer)s->out.len);
    transport_describe(s->transport, set_fact, L);
    double rtt = s->transport->ops->rtt(s->transport);
    if (rtt >= 0) {
        set_number(L, "rtt", rtt);
    }
    return 1;
}

/***
How many bytes that were written are not known to have arrived at the other host.
@function stream:unsent
@treturn integer; or nil, message, code
*/
static int m_unsent(lua_State *L) {
    struct stream *s = check_lua_stream(L, 1)->stream;
    if (!s)
        return push_stream_closed(L);
    if (s->write_error)
        return push_stream_failure(L, s, s->write_error, "write");
    lua_pushinteger(L, (lua_Integer)(s->out.len + s->transport->ops->unsent(s->transport)));
    return 1;
}

static int m_tostring(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    lua_pushfstring(L, "stream (%s): %p", self->stream ? "open" : "closed", (void *)self);
    return 1;
}

/***
The methods of every stream, so that more can be added in Lua.
@table methods
*/

/***
A descriptor as a stream.
@function fd
@tparam integer fd
@tparam[opt=false] boolean owned it is closed with the stream; else it stays as it is for whoever
shares it
@treturn p2pd.stream to be closed; or nil, message, code
*/
static int l_fd(lua_State *L) {
    lua_Integer fd = luaL_checkinteger(L, 1);
    luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, 1, "a descriptor expected");
    if (fcntl((int)fd, F_GETFD) < 0)
        return push_error(L, errno, "descriptor %d", (int)fd);
    struct stream *s = stream_new(fd_transport((int)fd, lua_toboolean(L, 2)));
    s->unqueued = !lua_toboolean(L, 2); /* the program may end after a write */
    push_stream(L, s);
    return 1;
}

/***
A stream that is at its end and takes nothing (EBADF).
@function null
@treturn p2pd.stream to be closed; or nil, message, code
*/
static int l_null(lua_State *L) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return push_error(L, errno, "open /dev/null");
    push_stream(L, stream_new(fd_transport(fd, true)));
    return 1;
}

/***
How many closed streams are still on their way out.
@function lingering
@treturn integer
*/
static int l_lingering(lua_State *L) {
    lua_pushinteger(L, transport_leaving());
    return 1;
}

static const luaL_Reg METHODS[] = {{"read", stream_m_read},
                                   {"peek", stream_m_peek},
                                   {"recv", stream_m_recv},
                                   {"write", stream_m_write},
                                   {"shutdown", m_shutdown},
                                   {"close", m_close},
                                   {"abort", m_abort},
                                   {"reset", m_reset},
                                   {"detach", m_detach},
                                   {"settimeout", m_settimeout},
                                   {"setlimit", m_setlimit},
                                   {"setsilence", m_setsilence},
                                   {"getsockname", m_getsockname},
                                   {"getpeername", m_getpeername},
                                   {"stats", m_stats},
                                   {"unsent", m_unsent},
                                   {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {
    {"fd", l_fd}, {"null", l_null}, {"lingering", l_lingering}, {NULL, NULL}};

int bind_stream(lua_State *L) {
    bind_class(L, STREAM_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    set_methods(L, "methods", STREAM_CLASS);
    return 1;
}
