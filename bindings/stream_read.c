/*
 * Reading from a stream: by Lua's io formats, or what is there. Each format says whether what has
 * been received satisfies it, and pushes what it takes.
 */
/***
@submodule p2pd.core.stream
*/
#include "bindings/stream_read.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/stream.h"

#define FORMATS_MAX 250

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

/* Pushes what the formats from *arg on give, and what ends them; false: *arg needs more bytes. */
static bool read_formats(lua_State *L, struct lua_stream *self, int *arg, int last) {
    for (; *arg <= last; ++*arg) {
        if (!self->stream) {
            push_stream_closed(L);
            return true;
        }
        switch (read_format(L, self, *arg)) {
        case TAKEN:
            break;
        case MORE:
            return false;
        case AT_END:
            lua_pushnil(L);
            return true;
        case TOO_LONG:
            push_failure(L, "EMSGSIZE", "longer than the limit that was set");
            return true;
        }
    }
    return true;
}

static int read_some(lua_State *L, struct lua_stream *self, int arg, int last, bool first_try) {
    bool fill = !first_try || self->stream->likely || self->stream->read_error;
    while (!read_formats(L, self, &arg, last)) {
        ssize_t n = fill ? stream_fill(self->stream) : -EAGAIN;
        if (n >= 0) {
            fill = self->stream->likely;
            continue;
        }
        if (n != -EAGAIN) {
            push_stream_failure(L, self->stream, (int)n, "read");
            break;
        }
        if (!first_try && task_expired()) {
            task_push_timeout(L);
            break;
        }
        stream_want_read(self->stream);
        lua_KContext ctx = READ_CTX(arg, last);
        return first_try ? task_wait(L, &self->readers, stream_deadline(self), ctx, read_k)
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
    check_not_spliced(L, self);
}

/***
Reads as Lua's io library does. Waits.
@function stream:read
@param ... formats: "l", "L", "a" (or with an asterisk), or a count of bytes; none: "l"
@return a string for each format, nil at the end; or nil, message, code
*/
int stream_m_read(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    if (lua_gettop(L) == 1)
        lua_pushliteral(L, "l");
    int last = lua_gettop(L);
    luaL_argcheck(L, last <= FORMATS_MAX, FORMATS_MAX, "too many formats");
    for (int arg = 2; arg <= last; arg++)
        check_format(L, arg);
    check_reader(L, self);
    luaL_checkstack(L, last + 3, "too many formats");
    if (!self->stream)
        return push_stream_closed(L);
    return read_some(L, self, 2, last, true);
}

/***
The next bytes, which stay where they are. Waits.
@function stream:peek
@tparam integer n 1 to 65536
@treturn string n bytes, fewer only at the end; fails as @{stream:read} does
*/
int stream_m_peek(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    lua_Integer wanted = luaL_checkinteger(L, 2);
    luaL_argcheck(L, wanted > 0 && wanted <= STREAM_READ_MAX, 2, "1 to 65536 bytes expected");
    check_reader(L, self);
    if (!self->stream)
        return push_stream_closed(L);
    lua_settop(L, 1);
    lua_pushinteger(L, -wanted); /* a format that only we can give */
    return read_some(L, self, 2, 2, true);
}

/* -- recv: what is there ------------------------------------------------------------------- */

static int recv_k(lua_State *L, int status, lua_KContext ctx);

static int recv_some(lua_State *L, struct lua_stream *self, size_t max, bool first_try) {
    if (!self->stream)
        return push_stream_closed(L);
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
        return push_stream_failure(L, s, (int)n, "recv");
    if (!first_try && task_expired())
        return task_push_timeout(L);
    stream_want_read(s);
    return first_try
               ? task_wait(L, &self->readers, stream_deadline(self), (lua_KContext)max, recv_k)
               : task_wait_again(L, &self->readers, (lua_KContext)max, recv_k);
}

static int recv_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return recv_some(L, lua_touserdata(L, 1), (size_t)ctx, false);
}

/***
What is there. Waits until there is something.
@function stream:recv
@tparam[opt=65536] integer max bytes
@treturn string 1 to max bytes; nothing at the end; or nil, message, code
*/
int stream_m_recv(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    lua_Integer max = luaL_optinteger(L, 2, STREAM_READ_MAX);
    luaL_argcheck(L, max > 0, 2, "a count of bytes expected");
    check_reader(L, self);
    return recv_some(L, self, (size_t)max, true);
}
