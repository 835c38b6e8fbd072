/***
One stream of two, each of which is used in one direction.
@module p2pd.core.simplex_pair
*/
#include "host/turn/simplex_pair.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"

#define ENDING_CLASS "p2pd.simplex_pair.ending"

struct lua_ending;

/* What the transport and the userdata share; the one that lives longer frees it. */
struct shared {
    struct transport *transport; /* NULL: it has ended */
    struct lua_ending *ending;   /* NULL: collected */
    struct transport *out;
    double pulse;
};

struct lua_ending {
    struct shared *shared; /* NULL until made */
    struct waitlist waiters;
};

static void on_end(void *arg) {
    struct shared *shared = arg;
    shared->transport = NULL;
    if (shared->ending)
        task_wake_all(&shared->ending->waiters);
    else
        free(shared);
}

static int m_gc(lua_State *L) {
    struct lua_ending *self = luaL_checkudata(L, 1, ENDING_CLASS);
    struct shared *shared = self->shared;
    self->shared = NULL;
    if (!shared)
        return 0;
    shared->ending = NULL;
    if (!shared->transport)
        free(shared);
    return 0;
}

static struct transport *wrap(struct transport *lower, struct buffer early, void *arg) {
    struct shared *shared = arg;
    struct simplex_pair_options options = {.in = lower,
                                           .out = shared->out,
                                           .early = early,
                                           .pulse = shared->pulse,
                                           .on_end = on_end,
                                           .arg = shared};
    return shared->transport = simplex_pair_transport(&options);
}

static void adopt(lua_State *L, struct lua_stream *out, struct shared *shared) {
    luaL_argcheck(L, !out->readers.first && !out->writers.first, 2, "a task waits for this stream");
    shared->out = stream_take(out->stream);
    luaL_argcheck(L, shared->out, 2, "a stream with empty buffers expected");
    out->stream = NULL;
}

/***
Makes one stream of two, as the other side has to do the other way round: what is read comes by the
first, what is written goes by the second. For connections through a TURN server, see
docs/protocol.md.
@function join
@tparam p2pd.stream incoming this is the one stream afterwards
@tparam p2pd.stream outgoing given away: closed afterwards; nothing may be in its buffers
@tparam[opt=10] number pulse seconds between signs of life; both sides have the same
@treturn p2pd.simplex_pair.ending what its end can be waited for with; or nil, message, code
*/
static int l_join(lua_State *L) {
    struct lua_stream *in = check_lua_stream(L, 1), *out = check_lua_stream(L, 2);
    check_stream(L, 1);
    check_stream(L, 2);
    luaL_argcheck(L, in != out, 2, "two streams expected");
    double pulse = luaL_optnumber(L, 3, SIMPLEX_PAIR_PULSE_S);
    luaL_argcheck(L, pulse > 0 && isfinite(pulse), 3, "seconds expected");
    struct lua_ending *self = bind_new(L, ENDING_CLASS, sizeof *self);
    struct shared *shared = calloc(1, sizeof *shared);
    if (!shared)
        return luaL_error(L, "out of memory");
    shared->ending = self;
    shared->pulse = pulse;
    self->shared = shared;
    if (in->stream->out.len)
        return push_error(L, EBUSY, "join two streams");
    adopt(L, out, shared);
    int err = stream_wrap(in->stream, wrap, shared);
    if (err) {
        transport_abort(shared->out);
        return push_error(L, err, "join two streams");
    }
    in->scanned = 0;
    return 1;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx);

static int wait(lua_State *L, double deadline, bool first_try) {
    struct lua_ending *self = lua_touserdata(L, 1);
    if (!self->shared || !self->shared->transport) {
        lua_pushboolean(L, true);
        return 1;
    }
    return task_wait_or_time_out(L, &self->waiters, first_try, deadline, 0, wait_k);
}

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return wait(L, 0, false);
}

/***
Waits until nothing is left of the stream: it is closed, and the peer has ended its half, or has
been waited for in vain.
@function ending:wait
@tparam[opt] number timeout seconds
@treturn boolean true; or nil, "timed out", "ETIMEDOUT"
*/
static int m_wait(lua_State *L) {
    luaL_checkudata(L, 1, ENDING_CLASS);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return wait(L, deadline, true);
}

/***
The path is known to be dead: reads and writes of the stream fail with ECONNABORTED from here on.
@function ending:fail
*/
static int m_fail(lua_State *L) {
    struct lua_ending *self = luaL_checkudata(L, 1, ENDING_CLASS);
    if (self->shared && self->shared->transport)
        simplex_pair_fail(self->shared->transport, -ECONNABORTED);
    return 0;
}

static const luaL_Reg METHODS[] = {{"wait", m_wait}, {"fail", m_fail}, {NULL, NULL}};
static const luaL_Reg META[] = {{"__gc", m_gc}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"join", l_join}, {NULL, NULL}};

int bind_simplex_pair(lua_State *L) {
    bind_class(L, ENDING_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
