/* The userdata of a stream (host/stream.h), for the bindings that make one or wait on one. */
#ifndef P2PD_BINDINGS_STREAM_H
#define P2PD_BINDINGS_STREAM_H

#include <lua.h>

#include "bindings/scheduler.h"
#include "host/stream.h"

#define STREAM_CLASS "p2pd.stream"

struct lua_stream {
    struct stream *stream; /* NULL: closed */
    struct waitlist readers, writers;
    double timeout; /* INFINITY: none */
    size_t scanned; /* bytes of `in` known to hold no line end */
    size_t limit;   /* bytes that "l", "L" and "a" may gather */
};

/* Pushes a stream userdata that owns s. Raises only when out of memory. */
void push_stream(lua_State *L, struct stream *s);

/* The open stream at arg; raises when there is another value or a closed stream. */
struct stream *check_stream(lua_State *L, int arg);

/* The stream at arg, open or closed; raises when there is another value. */
struct lua_stream *check_lua_stream(lua_State *L, int arg);

/* Raises while the stream's bytes go to another one: bindings/splice.c. */
void check_not_spliced(lua_State *L, const struct lua_stream *self);

/* When a wait that begins now is over, by settimeout(). */
double stream_deadline(const struct lua_stream *self);

/* Pushes nil, message, code; returns 3. `call` is the one that has failed with err. */
int push_stream_closed(lua_State *L);
int push_stream_failure(lua_State *L, const struct stream *s, int err, const char *call);

/*
 * For whoever takes the stream at arg over, its transport and what was read of it. It raises while
 * a task waits for the stream; *results is 0, or how many values it has pushed: nil, message, code,
 * EBUSY while output is queued. When all is through the userdata gives the stream up.
 */
struct stream *check_takeover(lua_State *L, int arg, const char *call, int *results);
void give_stream_up(lua_State *L, int arg);

/* Ends it: kill_stream() at once, dropping what is queued. Whoever waits for it learns that it is
 * closed. Nothing for one that is closed already. */
void close_stream(struct lua_stream *self);
void kill_stream(struct lua_stream *self);
void wake_stream_waiters(struct lua_stream *self);

#endif
