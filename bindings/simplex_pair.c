/* core.lanes: streams whose halves end by marks, and the moment at which nothing is left of one.
 */
#include "host/turn/simplex_pair.h"

#include <errno.h>
#include <stdlib.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"

#define ENDING_CLASS "p2pd.lanes.ending"

struct lua_ending;

/* What the transport and the userdata share; the one that lives longer frees it. */
struct link {
    struct transport *transport; /* NULL: it has ended */
    struct lua_ending *ending;   /* NULL: collected */
    struct transport *out;
};

struct lua_ending {
    struct link *link; /* NULL until made */
    struct waitlist waiters;
};

static void on_end(void *arg) {
    struct link *link = arg;
    link->transport = NULL;
    if (link->ending)
        task_wake_all(&link->ending->waiters);
    else
        free(link);
}

static int m_gc(lua_State *L) {
    struct lua_ending *self = luaL_checkudata(L, 1, ENDING_CLASS);
    struct link *link = self->link;
    self->link = NULL;
    if (!link)
        return 0;
    link->ending = NULL;
    if (!link->transport)
        free(link);
    return 0;
}

static struct transport *wrap(struct transport *lower, struct buffer early, void *arg) {
    struct link *link = arg;
    struct simplex_pair_options options = {lower, link->out, early, on_end, link};
    return link->transport = simplex_pair_transport(&options);
}

static void adopt(lua_State *L, struct lua_stream *out, struct link *link) {
    luaL_argcheck(L, !out->readers.first && !out->writers.first, 2, "a task waits for this stream");
    link->out = stream_take(out->stream);
    luaL_argcheck(L, link->out, 2, "a stream with empty buffers expected");
    out->stream = NULL;
}

/***
Makes one stream of two, as the other side has to do the other way round: what is read comes by the
first, what is written goes by the second. For connections through a TURN server, see
docs/protocol.md.
@function join
@tparam p2pd.stream incoming this is the one stream afterwards
@tparam p2pd.stream outgoing given away: closed afterwards; nothing may be in its buffers
@treturn p2pd.lanes.ending what its end can be waited for with; or nil, message, code
*/
static int l_join(lua_State *L) {
    struct lua_stream *in = check_lua_stream(L, 1), *out = check_lua_stream(L, 2);
    check_stream(L, 1);
    check_stream(L, 2);
    luaL_argcheck(L, in != out, 2, "two streams expected");
    struct lua_ending *self = bind_new(L, ENDING_CLASS, sizeof *self);
    struct link *link = calloc(1, sizeof *link);
    if (!link)
        return luaL_error(L, "out of memory");
    link->ending = self;
    self->link = link;
    if (in->stream->out.len)
        return push_error(L, EBUSY, "join two streams");
    adopt(L, out, link);
    int err = stream_wrap(in->stream, wrap, link);
    if (err) {
        link->out->ops->free(link->out);
        return push_error(L, err, "join two streams");
    }
    in->scanned = 0;
    return 1;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx);

static int wait(lua_State *L, double deadline, bool first_try) {
    struct lua_ending *self = lua_touserdata(L, 1);
    if (!self->link || !self->link->transport) {
        lua_pushboolean(L, true);
        return 1;
    }
    if (!first_try && task_expired())
        return task_push_timeout(L);
    return first_try ? task_wait(L, &self->waiters, deadline, 0, wait_k)
                     : task_wait_again(L, &self->waiters, 0, wait_k);
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
    if (self->link && self->link->transport)
        simplex_pair_fail(self->link->transport, -ECONNABORTED);
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
