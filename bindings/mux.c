/***
Many streams on one: yamux.
@module p2pd.core.mux
*/
#include "host/mux.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"

#define MUX_CLASS "p2pd.mux"

struct lua_mux {
    struct mux *mux; /* NULL: closed */
    struct waitlist accepting, pinging, idling;
};

static void on_event(void *owner) {
    struct lua_mux *self = owner;
    struct mux_info info;
    bool over = mux_error(self->mux) != 0;
    mux_info(self->mux, &info);
    if (over || mux_has_accept(self->mux))
        task_wake_all(&self->accepting);
    if (over || info.streams == 0)
        task_wake_all(&self->idling);
    task_wake_all(&self->pinging);
}

static struct lua_mux *check_mux(lua_State *L) {
    return luaL_checkudata(L, 1, MUX_CLASS);
}

static int push_over(lua_State *L, const struct lua_mux *self) {
    if (!self->mux)
        return push_failure(L, "EBADF", "the mux is closed");
    return push_failure(L, strerrorname_np(-mux_error(self->mux)), "%s", mux_reason(self->mux));
}

static size_t check_size(lua_State *L, const char *field, size_t least, size_t otherwise) {
    lua_Integer value = opt_integer(L, 3, field, (lua_Integer)otherwise);
    if (value < (lua_Integer)least || value > INT_MAX)
        luaL_error(L, "option '%s': %d to %d expected", field, (int)least, INT_MAX);
    return (size_t)value;
}

/***
A mux on a stream, which it takes over.
@function new
@tparam p2pd.stream stream closed afterwards; with nothing queued
@tparam string role "client" or "server": one of the two sides is the client
@tparam[opt] table options `backlog`: streams of the peer's that wait to be accepted (256);
`streams_max`: that it may have open (65536), beyond either it is refused; `window_max`: bytes of
one stream that may be on their way (16 MiB); `memory_max`: of all that are received and not read:
windows grow only within half of it, and beyond it the stream with the most of them is reset (64
MiB)
@treturn p2pd.mux to be closed; or nil, message, code, and the stream stays as it is
*/
static int l_new(lua_State *L) {
    static const char *const ROLES[] = {"client", "server", NULL};
    struct mux_options options = {.client = luaL_checkoption(L, 2, NULL, ROLES) == 0};
    options.backlog = (int)check_size(L, "backlog", 1, MUX_BACKLOG);
    options.streams_max = (int)check_size(L, "streams_max", 1, MUX_STREAMS_MAX);
    options.window_max = check_size(L, "window_max", MUX_WINDOW_FIRST, MUX_WINDOW_MAX);
    options.memory_max = check_size(L, "memory_max", MUX_WINDOW_FIRST, MUX_MEMORY_MAX);
    int results;
    struct stream *s = check_takeover(L, 1, "mux", &results);
    if (results)
        return results;
    struct lua_mux *self = bind_new(L, MUX_CLASS, sizeof *self);
    self->mux = mux_new(s->transport, s->in, &options, on_event, self);
    give_stream_up(L, 1);
    return 1;
}

/***
Opens a stream; waits for nothing. The peer learns of it with the first bytes, or at the loop's next
turn; only when it has yet to accept 256 others do writes wait for that.
@function mux:open
@treturn p2pd.stream to be closed; or nil, message, code: EPIPE once the mux has ended or one of the
sides has said `go_away`, EMFILE when all numbers are used
*/
static int m_open(lua_State *L) {
    struct lua_mux *self = check_mux(L);
    int err;
    if (!self->mux || mux_error(self->mux))
        return push_over(L, self);
    struct transport *t = mux_open(self->mux, &err);
    if (!t)
        return push_failure(L, strerrorname_np(-err), "%s",
                            err == -EMFILE ? "all numbers of streams were used"
                                           : "no more streams are taken");
    push_stream(L, stream_new(t));
    return 1;
}

static int accept_k(lua_State *L, int status, lua_KContext ctx);

static int accept_one(lua_State *L, double deadline, bool first_try) {
    struct lua_mux *self = lua_touserdata(L, 1);
    if (!self->mux || (mux_error(self->mux) && !mux_has_accept(self->mux)))
        return push_over(L, self);
    struct transport *t = mux_accept(self->mux);
    if (t) {
        push_stream(L, stream_new(t));
        return 1;
    }
    return task_wait_or_time_out(L, &self->accepting, first_try, deadline, 0, accept_k);
}

static int accept_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return accept_one(L, 0, false);
}

/***
Waits for a stream that the peer opens.
@function mux:accept
@tparam[opt] number timeout seconds
@treturn p2pd.stream to be closed; or nil, message, code: ETIMEDOUT, EBADF once it is closed, or
why it has ended
*/
static int m_accept(lua_State *L) {
    check_mux(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return accept_one(L, deadline, true);
}

static int ping_k(lua_State *L, int status, lua_KContext ctx);

static int await_pong(lua_State *L, uint32_t number, double deadline, bool first_try) {
    struct lua_mux *self = lua_touserdata(L, 1);
    double rtt = self->mux ? mux_pong(self->mux, number) : -1;
    if (rtt >= 0) {
        lua_pushnumber(L, rtt);
        return 1;
    }
    if (!self->mux || mux_error(self->mux))
        return push_over(L, self);
    return task_wait_or_time_out(L, &self->pinging, first_try, deadline, (lua_KContext)number,
                                 ping_k);
}

static int ping_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return await_pong(L, (uint32_t)ctx, 0, false);
}

/***
Asks the peer for an answer. Waits.
@function mux:ping
@tparam[opt] number timeout seconds
@treturn number seconds that it took; or nil, message, code
*/
static int m_ping(lua_State *L) {
    struct lua_mux *self = check_mux(L);
    double deadline = task_deadline(L, 2);
    if (!self->mux || mux_error(self->mux))
        return push_over(L, self);
    task_prepare(L);
    return await_pong(L, mux_ping(self->mux), deadline, true);
}

static int idle_k(lua_State *L, int status, lua_KContext ctx);

static int await_idle(lua_State *L, double deadline, bool first_try) {
    struct lua_mux *self = lua_touserdata(L, 1);
    struct mux_info info = {0};
    if (self->mux && !mux_error(self->mux))
        mux_info(self->mux, &info);
    if (info.streams == 0) {
        lua_pushboolean(L, true);
        return 1;
    }
    return task_wait_or_time_out(L, &self->idling, first_try, deadline, 0, idle_k);
}

static int idle_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return await_idle(L, 0, false);
}

/***
Waits until there is no stream, or it has ended.
@function mux:wait_idle
@tparam[opt] number timeout seconds
@treturn boolean true; or nil, message, code: ETIMEDOUT
*/
static int m_wait_idle(lua_State *L) {
    check_mux(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return await_idle(L, deadline, true);
}

/***
No more streams, of neither side: the peer is told. Those that are there go on.
@function mux:go_away
*/
static int m_go_away(lua_State *L) {
    struct lua_mux *self = check_mux(L);
    if (self->mux)
        mux_go_away(self->mux);
    return 0;
}

/***
What is known of it.
@function mux:info
@treturn table streams (open now; those that wait to be accepted among them), peers_streams (of
them, the peer's), opened, accepted and refused (so far), unread (bytes), window (bytes: the largest
that a stream was given), gone_away (whether the peer takes no more streams), rtt (seconds; nil:
unknown); or nil, message, code once it is closed
*/
static int m_info(lua_State *L) {
    struct lua_mux *self = check_mux(L);
    struct mux_info info;
    if (!self->mux)
        return push_over(L, self);
    mux_info(self->mux, &info);
    lua_createtable(L, 0, 9);
    set_integer(L, "streams", info.streams);
    set_integer(L, "peers_streams", info.peers_streams);
    set_integer(L, "opened", (lua_Integer)info.opened);
    set_integer(L, "accepted", (lua_Integer)info.accepted);
    set_integer(L, "refused", (lua_Integer)info.refused);
    set_integer(L, "unread", (lua_Integer)info.unread);
    set_integer(L, "window", (lua_Integer)info.window);
    set_boolean(L, "gone_away", info.gone_away);
    if (mux_rtt(self->mux) >= 0) {
        set_number(L, "rtt", mux_rtt(self->mux));
    }
    return 1;
}

static void give_up(struct lua_mux *self, void (*end)(struct mux *)) {
    struct mux *mux = self->mux;
    if (!mux)
        return;
    self->mux = NULL;
    end(mux);
    task_wake_all(&self->accepting);
    task_wake_all(&self->pinging);
    task_wake_all(&self->idling);
}

/***
Gives it up: no more streams, and the connection ends in good order once the last one is gone. It
can be called twice.
@function mux:close
*/
static int m_close(lua_State *L) {
    give_up(check_mux(L), mux_close);
    return 0;
}

/***
Ends it at once, with all its streams.
@function mux:abort
*/
static int m_abort(lua_State *L) {
    give_up(check_mux(L), mux_abort);
    return 0;
}

static int m_tostring(lua_State *L) {
    const struct lua_mux *self = check_mux(L);
    const char *state = !self->mux ? "closed" : mux_error(self->mux) ? "ended" : "open";
    lua_pushfstring(L, "mux (%s): %p", state, (const void *)self);
    return 1;
}

int bind_mux(lua_State *L) {
    static const luaL_Reg METHODS[] = {
        {"open", m_open},           {"accept", m_accept},   {"ping", m_ping},
        {"wait_idle", m_wait_idle}, {"go_away", m_go_away}, {"info", m_info},
        {"close", m_close},         {"abort", m_abort},     {NULL, NULL}};
    static const luaL_Reg META[] = {
        {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
    static const luaL_Reg FUNCTIONS[] = {{"new", l_new}, {NULL, NULL}};
    bind_class(L, MUX_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
