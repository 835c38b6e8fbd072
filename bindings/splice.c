/***
Bytes from stream to stream, without Lua touching them.
@module p2pd.core.splice
*/
#include "host/splice.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"
#include "host/fd.h"

#define SPLICE_CLASS "p2pd.splice"

struct lua_splice {
    struct splice splice;
    struct waitlist waiters;
};

static void on_over(void *owner) {
    struct lua_splice *self = owner;
    task_wake_all(&self->waiters);
}

static int m_close(lua_State *L) {
    struct lua_splice *self = luaL_checkudata(L, 1, SPLICE_CLASS);
    splice_stop(&self->splice);
    return 0;
}

/* The end of a half that failed would look orderly to who reads its `to`: break that off instead.
 */
static void break_off(lua_State *L, const struct splice *s) {
    for (int arg = 1; arg <= 3; arg += 2) {
        struct lua_stream *to = check_lua_stream(L, arg);
        if (!to->stream || s->halves[arg == 1].ended)
            continue;
        fd_reset_at_close(to->stream->transport);
        kill_stream(to);
    }
}

/* Stack: the pipe, whence, where to, first_ends_all, the splice. */
static int report(lua_State *L, const struct splice *s) {
    int results = 0;
    if (s->err) {
        break_off(L, s);
        const char *code = strerrorname_np(-s->err);
        results = push_failure(L, code ? code : "EUNKNOWN", "%s", s->reason);
    }
    lua_pushinteger(L, (lua_Integer)s->halves[0].bytes);
    lua_pushinteger(L, (lua_Integer)s->halves[1].bytes);
    return results + 2;
}

static int run_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    struct lua_splice *self = lua_touserdata(L, 5);
    if (self->splice.over)
        return report(L, &self->splice);
    return task_wait_again(L, &self->waiters, 0, run_k);
}

static void check_free(lua_State *L, int arg) {
    const struct lua_stream *self = check_lua_stream(L, arg);
    luaL_argcheck(L, !self->readers.first && !self->writers.first, arg,
                  "another task uses this stream");
    luaL_argcheck(L, !splice_has(check_stream(L, arg)), arg, "the stream is linked to another one");
}

/***
Copies bytes between a stream and another, or two others, both ways, until both ways have ended;
waits. The end of what one reads ends the other's sending half. When it fails, the streams to which
not all has gone are broken off.
@function run
@tparam p2pd.stream stream
@tparam p2pd.stream from what is read of it goes to the stream
@tparam p2pd.stream to what the stream gives goes there; perhaps `from`
@tparam[opt=false] boolean first the end of what the stream gives is the end
@return bytes that `to` and the stream have taken; or nil, message, code and the same
*/
static int l_run(lua_State *L) {
    lua_settop(L, 4);
    for (int arg = 1; arg <= 3; arg++)
        check_free(L, arg);
    luaL_argcheck(L, !lua_rawequal(L, 1, 2) && !lua_rawequal(L, 1, 3), 2,
                  "a stream can't be linked to itself");
    task_prepare(L);
    struct lua_splice *self = bind_new(L, SPLICE_CLASS, sizeof *self);
    struct stream *stream = check_stream(L, 1);
    self->splice = (struct splice){
        .halves = {{.from = stream, .to = check_stream(L, 3)},
                   {.from = check_stream(L, 2), .to = stream}},
        .first_ends_all = lua_toboolean(L, 4),
        .on_over = on_over,
        .owner = self,
    };
    lua_toclose(L, 5);
    splice_start(&self->splice);
    if (self->splice.over)
        return report(L, &self->splice);
    return task_wait(L, &self->waiters, INFINITY, 0, run_k);
}

/* -- one way -------------------------------------------------------------------------------- */

/* `failed`: NULL for one that was closed. */
static int push_copy_failure(lua_State *L, const struct stream *failed, int err, size_t bytes) {
    const char *call = failed == check_lua_stream(L, 1)->stream ? "read" : "write";
    if (failed)
        push_stream_failure(L, failed, err, call);
    else
        push_stream_closed(L);
    lua_pushinteger(L, (lua_Integer)bytes);
    lua_pushstring(L, call);
    return 5;
}

static int copy_k(lua_State *L, int status, lua_KContext ctx);

static int wait_for(lua_State *L, struct lua_stream *stream, struct waitlist *list, size_t bytes) {
    return task_wait(L, list, stream_deadline(stream), (lua_KContext)bytes, copy_k);
}

static int push_copy_timeout(lua_State *L, size_t bytes) {
    task_push_timeout(L);
    lua_pushinteger(L, (lua_Integer)bytes);
    return 4;
}

/* Whether there is something to do before reading on: what others write, and what `to` has queued.
 */
static bool has_to_wait(const struct lua_stream *to, bool first_try) {
    bool in_turn = first_try ? !to->writers.first : task_is_next(&to->writers);
    return !to->stream->write_error && (to->stream->out.len || !in_turn);
}

static bool has_more(const struct stream *from) {
    return from->likely || from->in.len || from->ended || from->read_error;
}

/* Stack: from, to. Each piece is a write of its own, so other writers get their turns. */
static int copy_some(lua_State *L, size_t bytes, bool first_try) {
    struct lua_stream *from = lua_touserdata(L, 1), *to = lua_touserdata(L, 2);
    bool expired = !first_try && task_expired(), try = !first_try;
    for (;;) {
        if (!from->stream || !to->stream)
            return push_copy_failure(L, NULL, 0, bytes);
        if (splice_has(from->stream) || splice_has(to->stream))
            return push_failure(L, "EBUSY", "the stream is linked to another one");
        if (has_to_wait(to, first_try)) {
            if (expired)
                return push_copy_timeout(L, bytes);
            stream_want_write(to->stream);
            return wait_for(L, to, &to->writers, bytes);
        }
        try = try || has_more(from->stream);
        const struct stream *failed;
        ssize_t n = try ? stream_copy(from->stream, to->stream, &failed) : -EAGAIN;
        if (n == -EAGAIN) {
            if (expired)
                return push_copy_timeout(L, bytes);
            stream_want_read(from->stream);
            return wait_for(L, from, &from->readers, bytes);
        }
        task_wake(&to->writers);
        if (n < 0)
            return push_copy_failure(L, failed, (int)n, bytes);
        bytes += (size_t)n;
        if (n == 0) {
            lua_pushinteger(L, (lua_Integer)bytes);
            return 1;
        }
        try = expired = false;
    }
}

static int copy_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return copy_some(L, (size_t)ctx, false);
}

/***
Copies what a stream gives to another one until its end, and ends neither; waits. Other tasks may
write to the other one meanwhile, and use both the other way.
@function copy
@tparam p2pd.stream from
@tparam p2pd.stream to
@treturn integer bytes; or nil, message, code, bytes, and when a call has failed which one: "read"
or "write"
*/
static int l_copy(lua_State *L) {
    luaL_argcheck(L, check_stream(L, 1) != check_stream(L, 2), 2,
                  "a stream can't be copied to itself");
    luaL_argcheck(L, !check_lua_stream(L, 1)->readers.first, 1,
                  "another task is reading this stream");
    lua_settop(L, 2);
    task_prepare(L);
    return copy_some(L, 0, true);
}

static const luaL_Reg METHODS[] = {{NULL, NULL}};
static const luaL_Reg META[] = {{"__gc", m_close}, {"__close", m_close}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"run", l_run}, {"copy", l_copy}, {NULL, NULL}};

int bind_splice(lua_State *L) {
    bind_class(L, SPLICE_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
