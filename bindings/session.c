/***
One ordered byte stream each way over successive paths: what was sent and not acknowledged is kept,
and sent again by the next path. The bytes are in docs/protocol.md.

Paths are streams that somebody else has dialled and verified. Each side numbers its own, from 1;
events also tell the peer's number. Each direction has a path of its own: the initiator chooses
both; the other side deviates only when the path that it sends by has died.
@module p2pd.core.session
*/
#include "host/session.h"

#include <errno.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/facts.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"

#define SESSION_CLASS "p2pd.session"

struct lua_session {
    struct session *session; /* NULL until made */
    struct waitlist waiters; /* for events */
    bool told;               /* that it is over */
};

static void on_event(struct session *s) {
    struct lua_session *self = session_owner(s);
    task_wake(&self->waiters);
}

static struct lua_session *check_session(lua_State *L) {
    struct lua_session *self = luaL_checkudata(L, 1, SESSION_CLASS);
    luaL_argcheck(L, self->session, 1, "a session that lives expected");
    return self;
}

/***
A session without a path.
@function new
@tparam table options `initiator`: boolean, true for one of the two sides; `prevails` or
`yields`: when both have begun with that, this side remains it, or the other; `silence`: seconds
until an idle path without a byte is given up (60); `keep_max`: bytes that may wait for the peer's
acknowledgement, and as many that may wait for the local reader, 65536 to 2^30 (16 MiB)
@treturn p2pd.session to be closed
*/
static int l_new(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer keep_max = opt_integer(L, 1, "keep_max", SESSION_KEEP_MAX);
    struct session_options options = {.initiator = opt_boolean(L, 1, "initiator", false),
                                      .prevails = opt_boolean(L, 1, "prevails", false),
                                      .yields = opt_boolean(L, 1, "yields", false),
                                      .silence = opt_number(L, 1, "silence", SESSION_SILENCE_S)};
    if (keep_max < SESSION_KEEP_MIN || keep_max > SESSION_KEEP_LIMIT)
        return luaL_error(L, "option 'keep_max': %d to %d bytes expected", SESSION_KEEP_MIN,
                          SESSION_KEEP_LIMIT);
    if (!(options.silence > 0))
        return luaL_error(L, "option 'silence': seconds expected");
    options.keep_max = (size_t)keep_max;
    struct lua_session *self = bind_new(L, SESSION_CLASS, sizeof *self);
    self->session = session_new(&options, on_event, self);
    return 1;
}

/* -- paths ---------------------------------------------------------------------------------- */

static int push_over(lua_State *L, const struct session *s) {
    int err = session_error(s);
    const char *reason = session_reason(s);
    return push_failure(L, err ? strerrorname_np(-err) : "EPIPE", "session: %s",
                        reason ? reason : "it has ended");
}

/***
Takes a stream over as a path: one that is verified, with nothing queued. What was read of it and
not used belongs to the session. The first path is used at once; another when it is chosen, or when
none is left. The peer has to attach the same stream within 10 s.
@function session:attach
@tparam p2pd.stream stream closed afterwards
@tparam[opt] string greeting what the peer's first line begins with, which comes before the
session's frames; another line ends the path with EACCES, and is the reason
@treturn integer the path's number; or nil, message, code, and the stream stays as it is: EBUSY
while output is queued, EMFILE with 16 paths, EPIPE or why the session has ended
*/
static int m_attach(lua_State *L) {
    struct lua_session *self = check_session(L);
    const char *greeting = luaL_optstring(L, 3, NULL);
    int results;
    struct stream *s = check_takeover(L, 2, "attach", &results);
    if (results)
        return results;
    int64_t number = session_attach(self->session, s->transport, s->in, greeting);
    if (number == -EPIPE)
        return push_over(L, self->session);
    if (number < 0)
        return push_error(L, (int)number, "attach");
    give_stream_up(L, 2);
    lua_pushinteger(L, (lua_Integer)number);
    return 1;
}

static uint32_t check_path(lua_State *L) {
    lua_Integer path = luaL_checkinteger(L, 2);
    luaL_argcheck(L, path > 0 && path <= UINT32_MAX, 2, "a path's number expected");
    return (uint32_t)path;
}

static int push_result(lua_State *L, int err, const char *call) {
    if (err == -ENOENT)
        return push_failure(L, "ENOENT", "%s: there is no such path any more", call);
    if (err == -EPERM)
        return push_failure(L, "EPERM", "%s: the side that began the session chooses", call);
    lua_pushboolean(L, true);
    return 1;
}

/***
The stream goes on by this path, both ways: as soon as it is up, and the last such move is through.
Nothing is lost or sent twice, as long as the path before lives until then. For the initiator; the
other side follows.
@function session:switch
@tparam integer path
@treturn boolean true; or nil, message, code: ENOENT, EPERM
*/
static int m_switch(lua_State *L) {
    struct lua_session *self = check_session(L);
    return push_result(L, session_switch(self->session, check_path(L)), "switch");
}

/***
Ends a path. Another one takes over first, if there is one, and what is on its way still arrives,
for about a second. On the side that did not begin the session, the path that the peer sends by ends
at once, and so does the only one.
@function session:drop
@tparam integer path
@tparam[opt] string reason in words, for the peer and the event
@tparam[opt=false] boolean at_once the path is known to be dead: its address has gone
@treturn boolean true; or nil, message, code: ENOENT
*/
static int m_drop(lua_State *L) {
    struct lua_session *self = check_session(L);
    uint32_t path = check_path(L);
    const char *reason = luaL_optstring(L, 3, "it is not needed any more");
    return push_result(L, session_drop(self->session, path, reason, lua_toboolean(L, 4)), "drop");
}

/***
There is reason to doubt the present path: it is probed now, and given up unless something comes
within a second and three round trips.
@function session:doubt
*/
static int m_doubt(lua_State *L) {
    session_doubt(check_session(L)->session);
    return 0;
}

/* -- events --------------------------------------------------------------------------------- */

/* A path's number; 0: there is none. */
static void set_path(lua_State *L, const char *field, uint32_t path) {
    if (path)
        set_integer(L, field, path);
}

static const char *or_none(const char *text) {
    return text && *text ? text : NULL;
}

static int push_event(lua_State *L, const struct session *s, const struct session_event *event) {
    static const char *const TYPES[] = {"up", "moved", "down", "lost", "ended"};
    lua_createtable(L, 0, 6);
    set_string(L, "type", TYPES[event->type]);
    set_path(L, "path", event->path);
    set_path(L, "remote", event->remote);
    set_path(L, "from", event->from);
    if (event->type == SESSION_UP)
        set_string(L, "greeting", or_none(session_greeting(s, event->path)));
    set_string(L, "reason", or_none(event->reason));
    set_string(L, "code", event->code ? strerrorname_np(-event->code) : NULL);
    if (event->type == SESSION_MOVED) {
        set_number(L, "pause", event->pause);
    }
    return 1;
}

static int event_k(lua_State *L, int status, lua_KContext ctx);

static int next_event(lua_State *L, double deadline, bool first_try) {
    struct lua_session *self = lua_touserdata(L, 1);
    struct session_event event;
    if (session_event(self->session, &event)) {
        self->told = self->told || event.type == SESSION_OVER;
        if (self->told)
            task_wake_all(&self->waiters);
        return push_event(L, self->session, &event);
    }
    if (self->told)
        return push_over(L, self->session);
    return task_wait_or_time_out(L, &self->waiters, first_try, deadline, 0, event_k);
}

static int event_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return next_event(L, 0, false);
}

/***
What has happened. The last 64 events wait to be asked for. Waits.
@function session:event
@tparam[opt] number timeout seconds
@treturn table `type`: "up" (a path has answered), "moved" (what we send goes by another path),
"down" (a path is gone), "lost" (no path is left: the stream waits for another), "ended" (the last
one); `greeting`: of "up", the peer's first line; `path`, `remote`: our number of the path, and the
peer's; `from`: of the path before; `pause`: of "moved", seconds for which nothing was heard of the
peer; `reason`: in words; `code`: nil when it is as it should be; or nil, message, code: ETIMEDOUT,
and after "ended" EPIPE or its code
*/
static int m_event(lua_State *L) {
    check_session(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return next_event(L, deadline, true);
}

/* -- the stream and the end ----------------------------------------------------------------- */

/***
The byte stream. Its end, in both directions, is the session's; it waits while there is no path.
@function session:stream
@treturn p2pd.stream to be closed; or nil, message, code: EBUSY the second time, or after close()
*/
static int m_stream(lua_State *L) {
    struct lua_session *self = check_session(L);
    struct transport *t = session_transport(self->session);
    if (!t)
        return push_failure(L, "EBUSY", "the session's stream was given away, or is closed");
    push_stream(L, stream_new(t));
    return 1;
}

/***
What there is to know of it, as in the field `session` of its stream's stats().
@function session:info
@treturn table `state` ("open", "closing", "ended", "failed"), `reason`, `path` (that we send by;
0: none), `paths` (that are up), `paths_so_far`, `moves` (to another path), `resumed` (of them,
those after a break), `sent`, `received`, `again` (sent again), `unacked`, `unread` (bytes of the
stream), `kept` and `keep` (bytes of memory for what is not acknowledged: now, and how many there
may be), `rtt` (seconds)
*/
static int m_info(lua_State *L) {
    struct lua_session *self = check_session(L);
    lua_newtable(L);
    session_describe(self->session, set_fact, L);
    lua_getfield(L, -1, "session");
    return 1;
}

/***
Ends it: what the session has taken is delivered, then both ends know that it was. In the
background; the event "ended" tells. Whoever has the stream cannot use it any more, and what waits
in the stream's own queue is lost: to end with all that was written, close the stream, which ends
the session too. It can be called twice.
@function session:close
*/
static int m_close(lua_State *L) {
    session_close(check_session(L)->session);
    return 0;
}

/***
Breaks it off, and tells the peer.
@function session:abort
@tparam[opt] string reason in words, for the peer and the event
@tparam[opt="ECONNABORTED"] string code ETIMEDOUT, ECONNRESET, EACCES, EBUSY or ECONNABORTED, what
the stream fails with
*/
static int m_abort(lua_State *L) {
    static const char *const NAMES[] = {"ECONNABORTED", "ECONNRESET", "ETIMEDOUT",
                                        "EACCES",       "EBUSY",      NULL};
    static const int CODES[] = {ECONNABORTED, ECONNRESET, ETIMEDOUT, EACCES, EBUSY};
    struct lua_session *self = check_session(L);
    const char *reason = luaL_optstring(L, 2, "it was broken off");
    int code = CODES[luaL_checkoption(L, 3, NAMES[0], NAMES)];
    session_abort(self->session, -code, reason);
    return 0;
}

static int m_gc(lua_State *L) {
    struct lua_session *self = luaL_checkudata(L, 1, SESSION_CLASS);
    struct session *s = self->session;
    self->session = NULL;
    if (s)
        session_abandon(s);
    return 0;
}

static int m_tostring(lua_State *L) {
    static const char *const STATES[] = {"open", "closing", "ended", "failed"};
    struct lua_session *self = check_session(L);
    struct session_info info;
    session_info(self->session, &info);
    lua_pushfstring(L, "session (%s): %p", STATES[info.state], (void *)self);
    return 1;
}

static const luaL_Reg METHODS[] = {{"attach", m_attach}, {"switch", m_switch}, {"drop", m_drop},
                                   {"doubt", m_doubt},   {"event", m_event},   {"stream", m_stream},
                                   {"info", m_info},     {"close", m_close},   {"abort", m_abort},
                                   {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_gc}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"new", l_new}, {NULL, NULL}};

int bind_session(lua_State *L) {
    bind_class(L, SESSION_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
