/* Streams: reading by Lua's io formats, writing that yields while the peer is slow. */
#include "bindings/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/reliable.h"
#include "bindings/scheduler.h"
#include "host/fd.h"
#include "host/inet.h"
#include "host/loop.h"
#include "host/reliable/link.h"
#include "host/tcp.h"
#include "host/tls.h"

#define STREAM_CLASS "p2pd.stream"
#define FORMATS_MAX 250

static void on_event(struct stream *s, int events) {
    struct lua_stream *self = s->owner;
    if (events & EV_READ)
        task_wake(&self->readers);
    if (events & EV_WRITE)
        task_wake(&self->writers);
}

void push_stream(lua_State *L, struct stream *s) {
    struct lua_stream *self = bind_new(L, STREAM_CLASS, sizeof *self);
    self->timeout = INFINITY;
    self->limit = SIZE_MAX;
    self->stream = s;
    s->owner = self;
    s->on_event = on_event;
}

struct lua_stream *check_lua_stream(lua_State *L, int arg) {
    return luaL_checkudata(L, arg, STREAM_CLASS);
}

static struct lua_stream *check_self(lua_State *L) {
    return check_lua_stream(L, 1);
}

struct stream *check_stream(lua_State *L, int arg) {
    struct lua_stream *self = check_lua_stream(L, arg);
    luaL_argcheck(L, self->stream, arg, "an open stream expected, got a closed one");
    return self->stream;
}

static int push_closed(lua_State *L) {
    return push_failure(L, "EBADF", "the stream is closed");
}

static int push_broken(lua_State *L, const struct stream *s, int err, const char *call) {
    const struct reliable *r = reliable_link_of(s->transport);
    const char *reason = r ? reliable_reason(r) : tls_reason(s->transport);
    if (!reason)
        return push_error(L, err, "%s", call);
    return push_failure(L, strerrorname_np(abs(err)), "%s: %s", call, reason);
}

static double new_deadline(const struct lua_stream *self) {
    return isfinite(self->timeout) ? loop_now() + self->timeout : INFINITY;
}

/* -- reading: each reader says whether `in` satisfies it, and pushes what it takes --------- */

enum verdict { TAKEN, MORE, AT_END, TOO_LONG };

/* A new string may start the collector, and a finaliser may close the stream. */
static enum verdict take(lua_State *L, struct lua_stream *self, size_t len, size_t drop) {
    lua_pushlstring(L, buffer_head(&self->stream->in), len);
    if (self->stream)
        buffer_consume(&self->stream->in, len + drop);
    self->scanned = 0;
    return TAKEN;
}

static enum verdict read_line(lua_State *L, struct lua_stream *self, bool keep) {
    struct stream *s = self->stream;
    const char *head = buffer_head(&s->in), *end = NULL;
    if (s->in.len > self->scanned)
        end = memchr(head + self->scanned, '\n', s->in.len - self->scanned);
    if (end) {
        size_t len = (size_t)(end - head);
        if (len > self->limit)
            return TOO_LONG;
        return keep ? take(L, self, len + 1, 0) : take(L, self, len, 1);
    }
    self->scanned = s->in.len;
    if (s->in.len > self->limit)
        return TOO_LONG;
    if (!s->ended)
        return MORE;
    return s->in.len ? take(L, self, s->in.len, 0) : AT_END;
}

static enum verdict read_bytes(lua_State *L, struct lua_stream *self, size_t wanted) {
    struct stream *s = self->stream;
    if (s->in.len >= wanted && (wanted || s->in.len))
        return take(L, self, wanted, 0);
    if (!s->ended)
        return MORE;
    return s->in.len ? take(L, self, s->in.len, 0) : AT_END;
}

/* Leaves them for the next reader. */
static enum verdict peek_bytes(lua_State *L, struct lua_stream *self, size_t wanted) {
    const struct stream *s = self->stream;
    if (s->in.len < wanted && !s->ended)
        return MORE;
    if (!s->in.len)
        return AT_END;
    lua_pushlstring(L, buffer_head(&s->in), s->in.len < wanted ? s->in.len : wanted);
    return TAKEN;
}

static enum verdict read_all(lua_State *L, struct lua_stream *self) {
    struct stream *s = self->stream;
    if (s->in.len > self->limit)
        return TOO_LONG;
    return s->ended ? take(L, self, s->in.len, 0) : MORE;
}

static enum verdict read_format(lua_State *L, struct lua_stream *self, int arg) {
    lua_Integer wanted = lua_tointeger(L, arg);
    if (lua_type(L, arg) == LUA_TNUMBER)
        return wanted < 0 ? peek_bytes(L, self, (size_t)-wanted)
                          : read_bytes(L, self, (size_t)wanted);
    const char *format = lua_tostring(L, arg);
    switch (format[*format == '*']) {
    case 'l':
        return read_line(L, self, false);
    case 'L':
        return read_line(L, self, true);
    default:
        return read_all(L, self);
    }
}

static void check_format(lua_State *L, int arg) {
    if (lua_type(L, arg) == LUA_TNUMBER) {
        luaL_argcheck(L, luaL_checkinteger(L, arg) >= 0, arg, "a count of bytes expected");
        return;
    }
    const char *format = luaL_checkstring(L, arg);
    luaL_argcheck(L, strchr("lLa", format[*format == '*']) && format[*format == '*'], arg,
                  "invalid format");
}

/* Stack: self, formats 2..last, results. ctx: the format at work, and the last one above it. */
#define READ_CTX(arg, last) ((lua_KContext)((arg) | (last) << 16))

static int read_k(lua_State *L, int status, lua_KContext ctx);

static int read_some(lua_State *L, struct lua_stream *self, int arg, int last, bool first_try) {
    bool fill = !first_try || self->stream->likely || self->stream->read_error;
    while (arg <= last) {
        if (!self->stream) {
            push_closed(L);
            break;
        }
        enum verdict verdict = read_format(L, self, arg);
        if (verdict == TAKEN) {
            arg++;
            continue;
        }
        if (verdict == AT_END) {
            lua_pushnil(L);
            break;
        }
        if (verdict == TOO_LONG) {
            push_failure(L, "EMSGSIZE", "longer than the limit that was set");
            break;
        }
        ssize_t n = fill ? stream_fill(self->stream) : -EAGAIN;
        if (n >= 0) {
            fill = self->stream->likely;
            continue;
        }
        if (n != -EAGAIN) {
            push_broken(L, self->stream, (int)n, "read");
            break;
        }
        if (!first_try && task_expired()) {
            task_push_timeout(L);
            break;
        }
        stream_want_read(self->stream);
        lua_KContext ctx = READ_CTX(arg, last);
        return first_try ? task_wait(L, &self->readers, new_deadline(self), ctx, read_k)
                         : task_wait_again(L, &self->readers, ctx, read_k);
    }
    return lua_gettop(L) - last;
}

static int read_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return read_some(L, lua_touserdata(L, 1), (int)(ctx & 0xffff), (int)(ctx >> 16), false);
}

static void check_reader(lua_State *L, struct lua_stream *self) {
    task_prepare(L);
    luaL_argcheck(L, !self->readers.first, 1, "another task is reading this stream");
}

static int m_read(lua_State *L) {
    struct lua_stream *self = check_self(L);
    if (lua_gettop(L) == 1)
        lua_pushliteral(L, "l");
    int last = lua_gettop(L);
    luaL_argcheck(L, last <= FORMATS_MAX, FORMATS_MAX, "too many formats");
    for (int arg = 2; arg <= last; arg++)
        check_format(L, arg);
    check_reader(L, self);
    luaL_checkstack(L, last + 3, "too many formats");
    if (!self->stream)
        return push_closed(L);
    return read_some(L, self, 2, last, true);
}

/* peek(n) -> the next n bytes, fewer only at the end, which stay where they are; as read() fails */
static int m_peek(lua_State *L) {
    struct lua_stream *self = check_self(L);
    lua_Integer wanted = luaL_checkinteger(L, 2);
    luaL_argcheck(L, wanted > 0 && wanted <= STREAM_READ_MAX, 2, "1 to 65536 bytes expected");
    check_reader(L, self);
    if (!self->stream)
        return push_closed(L);
    lua_settop(L, 1);
    lua_pushinteger(L, -wanted); /* a format that only we can give */
    return read_some(L, self, 2, 2, true);
}

/* -- recv: what is there ------------------------------------------------------------------- */

static int recv_k(lua_State *L, int status, lua_KContext ctx);

static int recv_some(lua_State *L, struct lua_stream *self, size_t max, bool first_try) {
    if (!self->stream)
        return push_closed(L);
    struct stream *s = self->stream;
    if (s->in.len) {
        take(L, self, s->in.len < max ? s->in.len : max, 0);
        return 1;
    }
    const char *data;
    bool wait = first_try && !s->likely && !s->ended && !s->read_error;
    ssize_t n = wait ? -EAGAIN : stream_peek(s, &data, max);
    if (n > 0) {
        lua_pushlstring(L, data, (size_t)n);
        return 1;
    }
    if (n == 0)
        return 0;
    if (n != -EAGAIN)
        return push_broken(L, s, (int)n, "recv");
    if (!first_try && task_expired())
        return task_push_timeout(L);
    stream_want_read(s);
    return first_try ? task_wait(L, &self->readers, new_deadline(self), (lua_KContext)max, recv_k)
                     : task_wait_again(L, &self->readers, (lua_KContext)max, recv_k);
}

static int recv_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return recv_some(L, lua_touserdata(L, 1), (size_t)ctx, false);
}

static int m_recv(lua_State *L) {
    struct lua_stream *self = check_self(L);
    lua_Integer max = luaL_optinteger(L, 2, STREAM_READ_MAX);
    luaL_argcheck(L, max > 0, 2, "a count of bytes expected");
    check_reader(L, self);
    return recv_some(L, self, (size_t)max, true);
}

/* -- writing: whole strings, in the order of the calls ------------------------------------- */

static int write_k(lua_State *L, int status, lua_KContext ctx);

/* Stack: self, the data. ctx: how much of it was taken. */
static int write_some(lua_State *L, struct lua_stream *self, size_t taken, bool first_try) {
    if (!self->stream)
        return push_closed(L);
    size_t len;
    const char *data = lua_tolstring(L, 2, &len);
    bool in_turn = first_try ? !self->writers.first : task_is_next(&self->writers);
    ssize_t n = in_turn ? stream_write(self->stream, data + taken, len - taken) : 0;
    if (n < 0) {
        task_wake_all(&self->writers);
        return push_broken(L, self->stream, (int)n, "write");
    }
    taken += (size_t)n;
    if (taken == len) {
        task_wake(&self->writers);
        lua_settop(L, 1);
        return 1;
    }
    if (!first_try && task_expired()) {
        task_push_timeout(L);
        lua_pushinteger(L, (lua_Integer)taken);
        return 4;
    }
    return first_try
               ? task_wait(L, &self->writers, new_deadline(self), (lua_KContext)taken, write_k)
               : task_wait_again(L, &self->writers, (lua_KContext)taken, write_k);
}

static int write_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return write_some(L, lua_touserdata(L, 1), (size_t)ctx, false);
}

static int m_write(lua_State *L) {
    struct lua_stream *self = check_self(L);
    int n = lua_gettop(L) - 1;
    for (int arg = 2; arg <= n + 1; arg++)
        luaL_checkstring(L, arg);
    lua_concat(L, n);
    task_prepare(L);
    return write_some(L, self, 0, true);
}

/* -- ends ---------------------------------------------------------------------------------- */

static int m_shutdown(lua_State *L) {
    struct lua_stream *self = check_self(L);
    if (!self->stream)
        return push_closed(L);
    int err = stream_shutdown(self->stream);
    if (err < 0)
        return push_error(L, err, "shutdown");
    lua_settop(L, 1);
    return 1;
}

static void wake_everybody(struct lua_stream *self) {
    task_wake_all(&self->readers);
    task_wake_all(&self->writers);
}

static int m_close(lua_State *L) {
    struct lua_stream *self = check_self(L);
    struct stream *s = self->stream;
    if (!s)
        return 0;
    self->stream = NULL;
    stream_close(s);
    wake_everybody(self);
    lua_pushboolean(L, true);
    return 1;
}

void kill_stream(struct lua_stream *self) {
    struct stream *s = self->stream;
    self->stream = NULL;
    if (s)
        stream_abort(s);
    wake_everybody(self);
}

static int m_abort(lua_State *L) {
    kill_stream(check_self(L));
    return 0;
}

static int m_detach(lua_State *L) {
    struct lua_stream *self = check_self(L);
    if (!self->stream)
        return push_closed(L);
    int fd = stream_detach(self->stream);
    if (fd < 0)
        return push_error(L, fd, "detach");
    self->stream = NULL;
    wake_everybody(self);
    lua_pushinteger(L, fd);
    return 1;
}

/* -- what one can ask ---------------------------------------------------------------------- */

static int m_settimeout(lua_State *L) {
    struct lua_stream *self = check_self(L);
    double seconds = luaL_optnumber(L, 2, INFINITY);
    luaL_argcheck(L, seconds >= 0, 2, "a timeout in seconds, 0 or more, expected");
    self->timeout = seconds;
    return 0;
}

static int m_setlimit(lua_State *L) {
    struct lua_stream *self = check_self(L);
    lua_Integer limit = luaL_optinteger(L, 2, LUA_MAXINTEGER);
    luaL_argcheck(L, limit > 0, 2, "a count of bytes expected");
    self->limit = (size_t)limit;
    return 0;
}

static int push_endpoint(lua_State *L, int (*ask)(int, struct inet_addr *), const char *call) {
    struct stream *s = check_self(L)->stream;
    if (!s)
        return push_closed(L);
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

static int m_getsockname(lua_State *L) {
    return push_endpoint(L, tcp_local, "getsockname");
}

static int m_getpeername(lua_State *L) {
    return push_endpoint(L, tcp_remote, "getpeername");
}

static void set_text(lua_State *L, const char *field, const char *text) {
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

static void set_tls(lua_State *L, const struct transport *t) {
    struct tls_info info;
    if (!tls_describe(t, &info))
        return;
    lua_createtable(L, 0, 3);
    set_text(L, "protocol", info.protocol);
    set_text(L, "cipher", info.cipher);
    lua_pushboolean(L, info.ktls);
    lua_setfield(L, -2, "ktls");
    lua_setfield(L, -2, "tls");
}

static double transport_rtt(const struct transport *t) {
    return t->rtt ? t->rtt(t) : tcp_rtt(t->ops->fd(t));
}

static int m_stats(lua_State *L) {
    struct stream *s = check_self(L)->stream;
    if (!s)
        return push_closed(L);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)s->bytes_in);
    lua_setfield(L, -2, "received");
    lua_pushinteger(L, (lua_Integer)s->bytes_out);
    lua_setfield(L, -2, "sent");
    lua_pushinteger(L, (lua_Integer)s->out.len);
    lua_setfield(L, -2, "queued");
    set_tls(L, s->transport);
    if (reliable_link_of(s->transport)) {
        push_reliable_info(L, reliable_link_of(s->transport));
        lua_setfield(L, -2, "link");
    }
    double rtt = transport_rtt(s->transport);
    if (rtt >= 0) {
        lua_pushnumber(L, rtt);
        lua_setfield(L, -2, "rtt");
    }
    return 1;
}

static int m_tostring(lua_State *L) {
    struct lua_stream *self = check_self(L);
    lua_pushfstring(L, "stream (%s): %p", self->stream ? "open" : "closed", (void *)self);
    return 1;
}

static int l_fd(lua_State *L) {
    lua_Integer fd = luaL_checkinteger(L, 1);
    luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, 1, "a descriptor expected");
    if (fcntl((int)fd, F_GETFD) < 0)
        return push_error(L, errno, "descriptor %d", (int)fd);
    push_stream(L, stream_new(fd_transport((int)fd, lua_toboolean(L, 2))));
    return 1;
}

static int l_lingering(lua_State *L) {
    lua_pushinteger(L, stream_lingering());
    return 1;
}

static const luaL_Reg METHODS[] = {{"read", m_read},
                                   {"peek", m_peek},
                                   {"recv", m_recv},
                                   {"write", m_write},
                                   {"shutdown", m_shutdown},
                                   {"close", m_close},
                                   {"abort", m_abort},
                                   {"detach", m_detach},
                                   {"settimeout", m_settimeout},
                                   {"setlimit", m_setlimit},
                                   {"getsockname", m_getsockname},
                                   {"getpeername", m_getpeername},
                                   {"stats", m_stats},
                                   {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"fd", l_fd}, {"lingering", l_lingering}, {NULL, NULL}};

int bind_stream(lua_State *L) {
    bind_class(L, STREAM_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
