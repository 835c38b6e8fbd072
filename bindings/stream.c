/* The userdata of a stream, for the bindings that make one or wait on one. */
#include "bindings/stream.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "host/loop.h"
#include "host/splice.h"

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

struct stream *check_stream(lua_State *L, int arg) {
    struct lua_stream *self = check_lua_stream(L, arg);
    luaL_argcheck(L, self->stream, arg, "an open stream expected, got a closed one");
    return self->stream;
}

void check_not_spliced(lua_State *L, const struct lua_stream *self) {
    luaL_argcheck(L, !self->stream || !splice_has(self->stream), 1,
                  "the stream is linked to another one");
}

int push_stream_closed(lua_State *L) {
    return push_failure(L, "EBADF", "the stream is closed");
}

int push_stream_failure(lua_State *L, const struct stream *s, int err, const char *call) {
    const char *reason = transport_reason(s->transport);
    if (!reason)
        return push_error(L, err, "%s", call);
    return push_failure(L, strerrorname_np(abs(err)), "%s: %s", call, reason);
}

struct stream *check_takeover(lua_State *L, int arg, const char *call, int *results) {
    struct lua_stream *self = check_lua_stream(L, arg);
    struct stream *s = check_stream(L, arg);
    luaL_argcheck(L, !self->readers.first && !self->writers.first, arg,
                  "a task waits for this stream");
    int err = s->read_error ? s->read_error : s->write_error;
    *results = 0;
    if (err)
        *results = push_stream_failure(L, s, err, call);
    else if (s->shut || s->out.len)
        *results = push_error(L, s->shut ? EPIPE : EBUSY, "%s", call);
    return s;
}

void give_stream_up(lua_State *L, int arg) {
    struct lua_stream *self = check_lua_stream(L, arg);
    struct stream *s = self->stream;
    self->stream = NULL;
    stream_disown(s);
}

double stream_deadline(const struct lua_stream *self) {
    return isfinite(self->timeout) ? loop_now() + self->timeout : INFINITY;
}

void wake_stream_waiters(struct lua_stream *self) {
    task_wake_all(&self->readers);
    task_wake_all(&self->writers);
}

void close_stream(struct lua_stream *self) {
    struct stream *s = self->stream;
    self->stream = NULL;
    if (s)
        stream_close(s);
    wake_stream_waiters(self);
}

void kill_stream(struct lua_stream *self) {
    struct stream *s = self->stream;
    self->stream = NULL;
    if (s)
        stream_abort(s);
    wake_stream_waiters(self);
}
