/***
A stream over datagrams that may be lost.
@module p2pd.core.reliable
*/
#include <errno.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/datagrams.h"
#include "bindings/facts.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"
#include "host/reliable/id.h"
#include "host/reliable/link.h"

#define LINK_CLASS "p2pd.reliable.link"

struct lua_link {
    struct reliable_link *link; /* NULL: closed, or a stream's */
    struct waitlist waiters;
};

static bool check_role(lua_State *L) {
    const char *role = opt_string(L, 1, "role", "");
    bool dialer = strcmp(role, "dialer") == 0;
    if (!dialer && strcmp(role, "answerer") != 0)
        luaL_error(L, "option 'role': \"dialer\" or \"answerer\" expected");
    return dialer;
}

static size_t check_mtu(lua_State *L) {
    lua_Integer mtu = opt_integer(L, 1, "mtu", RELIABLE_SIZE);
    if (mtu < RELIABLE_SIZE_MIN || mtu > RELIABLE_SIZE_MAX)
        luaL_error(L, "option 'mtu': %d to %d bytes expected", RELIABLE_SIZE_MIN,
                   RELIABLE_SIZE_MAX);
    return (size_t)mtu;
}

static struct reliable_options check_options(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct reliable_options options = {.dialer = check_role(L),
                                       .size = check_mtu(L),
                                       .silence = opt_number(L, 1, "silence", RELIABLE_SILENCE_S)};
    const char *id = opt_string(L, 1, "id", "");
    if (!*id)
        luaL_error(L, "option 'id': the id that both sides know expected");
    if (!(options.silence > 0))
        luaL_error(L, "option 'silence': seconds expected");
    reliable_make_id(id, strlen(id), options.id);
    return options;
}

/* -- a link -------------------------------------------------------------------------------- */

static void on_change(struct reliable_link *l) {
    struct lua_link *self = reliable_link_owner(l);
    if (reliable_state(reliable_link_machine(l)) != RELIABLE_OPENING)
        task_wake_all(&self->waiters);
}

static struct lua_link *check_link(lua_State *L) {
    return luaL_checkudata(L, 1, LINK_CLASS);
}

static int push_closed(lua_State *L) {
    return push_failure(L, "EBADF", "the link is closed");
}

/***
A reliable link over a carrier of datagrams, which it takes over. It begins to open at once.
@function new
@tparam table options `carrier` (p2pd.datagrams); `id`: a text that both sides know and nobody
else, other ones each time; `role`: "dialer" or "answerer"; `mtu`: bytes of the largest datagram,
the carrier's headers not counted (1196; 508 to 2048); `silence`: seconds until a peer is given up
(30)
@treturn p2pd.reliable.link to be closed
*/
static int l_new(lua_State *L) {
    struct reliable_options options = check_options(L);
    lua_settop(L, 1);
    struct lua_link *self = bind_new(L, LINK_CLASS, sizeof *self);
    lua_getfield(L, 1, "carrier");
    self->link = reliable_link_new(&options, take_datagrams(L, 3), on_change, self);
    lua_pop(L, 1);
    return 1;
}

static int open_k(lua_State *L, int status, lua_KContext ctx);

static int open_link(lua_State *L, double deadline, bool first_try) {
    struct lua_link *self = lua_touserdata(L, 1);
    if (!self->link)
        return push_closed(L);
    const struct reliable *r = reliable_link_machine(self->link);
    int err = reliable_error(r);
    if (err)
        return push_failure(L, strerrorname_np(-err), "open: %s", reliable_reason(r));
    if (reliable_state(r) != RELIABLE_OPENING) {
        lua_pushboolean(L, true);
        return 1;
    }
    return task_wait_or_time_out(L, &self->waiters, first_try, deadline, 0, open_k);
}

static int open_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return open_link(L, 0, false);
}

/***
Waits until both sides know of each other.
@function link:open
@tparam[opt] number timeout seconds
@return true; or nil, message, code: ETIMEDOUT, or what the carrier has met
*/
static int m_open(lua_State *L) {
    check_link(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return open_link(L, deadline, true);
}

/***
The link as a stream, which owns it and its carrier from then on; the link is closed.
@function link:stream
@treturn p2pd.stream the stream; or nil, message, code: EBADF
*/
static int m_stream(lua_State *L) {
    struct lua_link *self = check_link(L);
    struct reliable_link *l = self->link;
    if (!l)
        return push_closed(L);
    self->link = NULL;
    task_wake_all(&self->waiters);
    push_stream(L, stream_new(reliable_link_transport(l)));
    return 1;
}

/***
What there is to know of it, as in the field `link` of a stream's stats().
@function link:info
@treturn table state ("opening", "open", "ended", "failed", "gone"), reason, rtt (seconds), mtu,
 window, in_flight and unacked (bytes); how many: datagrams_out, datagrams_in, retransmitted, lost,
 spurious, duplicates, refused; or nil, message, code: EBADF
*/
static int m_info(lua_State *L) {
    struct lua_link *self = check_link(L);
    if (!self->link)
        return push_closed(L);
    lua_newtable(L);
    reliable_link_describe(self->link, set_fact, L);
    lua_getfield(L, -1, "link");
    return 1;
}

/***
Breaks off a link that has not become a stream; the peer is told.
@function link:close
*/
static int m_close(lua_State *L) {
    struct lua_link *self = check_link(L);
    struct reliable_link *l = self->link;
    self->link = NULL;
    if (l)
        reliable_link_abort(l);
    task_wake_all(&self->waiters);
    return 0;
}

static int m_tostring(lua_State *L) {
    struct lua_link *self = check_link(L);
    const char *state = self->link ? reliable_link_state(self->link) : "closed";
    lua_pushfstring(L, "reliable link (%s): %p", state, (void *)self);
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"open", m_open}, {"stream", m_stream}, {"info", m_info}, {"close", m_close}, {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"new", l_new}, {NULL, NULL}};

int bind_reliable(lua_State *L) {
    bind_class(L, LINK_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
