/* core.reliable: a stream, or messages, over datagrams that may be lost. */
#include <errno.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/datagrams.h"
#include "bindings/reliable.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"
#include "host/reliable/id.h"
#include "host/reliable/link.h"

#define LINK_CLASS "p2pd.reliable.link"

struct lua_link {
    struct reliable_link *link; /* NULL: closed, or a stream's */
    struct waitlist readers, writers;
};

static const char *const STATES[] = {"opening", "open", "ended", "failed", "gone"};

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

struct reliable_options check_reliable_options(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct reliable_options options = {.dialer = check_role(L),
                                       .messages = opt_boolean(L, 1, "message", false),
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

int push_reliable_error(lua_State *L, const struct reliable *r, int err, const char *call) {
    const char *reason = err == reliable_error(r) ? reliable_reason(r) : NULL;
    if (!reason)
        return push_error(L, err, "%s", call);
    return push_failure(L, strerrorname_np(-err), "%s: %s", call, reason);
}

static void set_integer(lua_State *L, const char *field, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, field);
}

void push_reliable_info(lua_State *L, const struct reliable *r) {
    struct reliable_info info;
    reliable_info(r, &info);
    lua_createtable(L, 0, 16);
    lua_pushstring(L, STATES[info.state]);
    lua_setfield(L, -2, "state");
    lua_pushstring(L, reliable_reason(r));
    lua_setfield(L, -2, "reason");
    if (info.rtt > 0) {
        lua_pushnumber(L, info.rtt);
        lua_setfield(L, -2, "rtt");
    }
    set_integer(L, "mtu", info.size);
    set_integer(L, "message_max", reliable_message_max(r));
    set_integer(L, "window", info.window);
    set_integer(L, "flight", info.flight);
    set_integer(L, "unacked", info.unacked);
    set_integer(L, "datagrams_out", info.datagrams_out);
    set_integer(L, "datagrams_in", info.datagrams_in);
    set_integer(L, "resent", info.resent);
    set_integer(L, "lost", info.lost);
    set_integer(L, "late", info.late);
    set_integer(L, "doubled", info.doubled);
    set_integer(L, "refused", info.refused);
}

/* -- a link -------------------------------------------------------------------------------- */

static void on_change(struct reliable_link *l) {
    struct lua_link *self = reliable_link_owner(l);
    const struct reliable *r = reliable_link_machine(l);
    if (reliable_is_readable(r))
        task_wake(&self->readers);
    if (reliable_state(r) != RELIABLE_OPENING)
        task_wake_all(&self->writers);
}

static struct lua_link *check_link(lua_State *L) {
    return luaL_checkudata(L, 1, LINK_CLASS);
}

static int push_closed(lua_State *L) {
    return push_failure(L, "EBADF", "the link is closed");
}

static struct reliable *machine(const struct lua_link *self) {
    return reliable_link_machine(self->link);
}

/***
A reliable link over a carrier of datagrams, which it takes over. It begins to open at once.
@function new
@tparam table options `carrier` (p2pd.datagrams); `id`: a text that both sides know and nobody
else, other ones each time; `role`: "dialer" or "answerer"; `message`: datagrams that each come
once, in any order, no stream; `mtu`: bytes of the largest datagram, the carrier's headers not
counted (1196; 508 to 2048); `silence`: seconds until a peer is given up (30)
@treturn p2pd.reliable.link to be closed
*/
static int l_new(lua_State *L) {
    struct reliable_options options = check_reliable_options(L);
    lua_settop(L, 1);
    struct lua_link *self = bind_new(L, LINK_CLASS, sizeof *self);
    lua_getfield(L, 1, "carrier");
    self->link = reliable_link_new(&options, take_datagrams(L, 3), on_change, self);
    lua_pop(L, 1);
    return 1;
}

/* -- waiting: each looks, and says -EAGAIN if it has to look again ------------------------- */

typedef int (*look_fn)(lua_State *L, struct lua_link *self);

static int wait_k(lua_State *L, int status, lua_KContext ctx);

enum wish { OPEN, SEND, RECEIVE, DRAIN };

static int look_open(lua_State *L, struct lua_link *self) {
    struct reliable *r = machine(self);
    if (reliable_error(r))
        return push_reliable_error(L, r, reliable_error(r), "open");
    if (reliable_state(r) == RELIABLE_OPENING)
        return -EAGAIN;
    lua_pushboolean(L, true);
    return 1;
}

static int look_send(lua_State *L, struct lua_link *self) {
    struct reliable *r = machine(self);
    size_t len;
    const char *data = lua_tolstring(L, 2, &len);
    int err = reliable_post(r, data, len);
    if (err == -EAGAIN)
        return err;
    if (err)
        return push_reliable_error(L, r, err, "send");
    reliable_link_touch(self->link);
    lua_pushboolean(L, true);
    return 1;
}

static int look_receive(lua_State *L, struct lua_link *self) {
    struct reliable *r = machine(self);
    const char *data;
    ssize_t n = reliable_message(r, &data);
    if (n == -EAGAIN || n == -EPIPE)
        return n == -EPIPE ? 0 : -EAGAIN;
    if (n < 0)
        return push_reliable_error(L, r, (int)n, "receive");
    lua_pushlstring(L, data, (size_t)n);
    if (self->link) { /* a finaliser may have closed it */
        reliable_drop(r);
        reliable_link_touch(self->link);
    }
    return 1;
}

static int look_drain(lua_State *L, struct lua_link *self) {
    struct reliable *r = machine(self);
    if (reliable_error(r))
        return push_reliable_error(L, r, reliable_error(r), "drain");
    if (!reliable_is_flushed(r))
        return -EAGAIN;
    lua_pushboolean(L, true);
    return 1;
}

static const look_fn LOOKS[] = {look_open, look_send, look_receive, look_drain};

static int wait_for(lua_State *L, enum wish wish, double deadline, bool first_try) {
    struct lua_link *self = lua_touserdata(L, 1);
    int result = self->link ? LOOKS[wish](L, self) : push_closed(L);
    if (result != -EAGAIN)
        return result;
    if (!first_try && task_expired())
        return task_push_timeout(L);
    struct waitlist *list = wish == RECEIVE ? &self->readers : &self->writers;
    return first_try ? task_wait(L, list, deadline, wish, wait_k)
                     : task_wait_again(L, list, wish, wait_k);
}

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return wait_for(L, (enum wish)ctx, 0, false);
}

static int start(lua_State *L, enum wish wish, int timeout_arg) {
    check_link(L);
    double deadline = task_deadline(L, timeout_arg);
    task_prepare(L);
    return wait_for(L, wish, deadline, true);
}

/***
Waits until both sides know of each other.
@function link:open
@tparam[opt] number timeout seconds
@return true; or nil, message, code: ETIMEDOUT, or what the carrier has met
*/
static int m_open(lua_State *L) {
    return start(L, OPEN, 2);
}

/***
Sends a message. Waits while too many are not acknowledged, and until the link is open.
@function link:send
@tparam string data at most `link:info().message_max` bytes
@tparam[opt] number timeout seconds
@return true; or nil, message, code (EMSGSIZE, ...)
*/
static int m_send(lua_State *L) {
    check_link(L);
    luaL_checkstring(L, 2);
    return start(L, SEND, 3);
}

/***
Waits for a message.
@function link:receive
@tparam[opt] number timeout seconds
@return data; nothing when the peer has ended and all is received; or nil, message, code
*/
static int m_receive(lua_State *L) {
    return start(L, RECEIVE, 2);
}

/***
Waits until all that was sent has come, and after shutdown() the end.
@function link:drain
@tparam[opt] number timeout seconds
@return true; or nil, message, code
*/
static int m_drain(lua_State *L) {
    return start(L, DRAIN, 2);
}

/***
Ends our half: the peer receives all that was sent, and then the end.
@function link:shutdown
@return true; or nil, message, code
*/
static int m_shutdown(lua_State *L) {
    struct lua_link *self = check_link(L);
    if (!self->link)
        return push_closed(L);
    int err = reliable_shutdown(machine(self));
    if (err)
        return push_reliable_error(L, machine(self), err, "shutdown");
    reliable_link_touch(self->link);
    lua_pushboolean(L, true);
    return 1;
}

static void wake_everybody(struct lua_link *self) {
    task_wake_all(&self->readers);
    task_wake_all(&self->writers);
}

/***
The link as a stream, which owns it and its carrier from then on; the link is closed.
@function link:stream
@treturn p2pd.stream; or nil, message, code: EBADF
*/
static int m_stream(lua_State *L) {
    struct lua_link *self = check_link(L);
    if (!self->link)
        return push_closed(L);
    struct reliable_info info;
    reliable_info(machine(self), &info);
    luaL_argcheck(L, !info.messages, 1, "a link of messages has no stream");
    struct reliable_link *l = self->link;
    self->link = NULL;
    wake_everybody(self);
    push_stream(L, stream_new(reliable_link_transport(l)));
    return 1;
}

static int m_info(lua_State *L) {
    struct lua_link *self = check_link(L);
    if (!self->link)
        return push_closed(L);
    push_reliable_info(L, machine(self));
    return 1;
}

/* What was sent still comes, for 10 s; a link that is to be a stream is broken off. */
static int m_close(lua_State *L) {
    struct lua_link *self = check_link(L);
    struct reliable_link *l = self->link;
    self->link = NULL;
    if (l) {
        struct reliable_info info;
        reliable_info(reliable_link_machine(l), &info);
        if (info.messages)
            reliable_shutdown(reliable_link_machine(l));
        reliable_link_leave(l);
    }
    wake_everybody(self);
    return 0;
}

static int m_tostring(lua_State *L) {
    struct lua_link *self = check_link(L);
    const char *state = self->link ? STATES[reliable_state(machine(self))] : "closed";
    lua_pushfstring(L, "reliable link (%s): %p", state, (void *)self);
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"open", m_open},   {"send", m_send},         {"receive", m_receive},
    {"drain", m_drain}, {"shutdown", m_shutdown}, {"stream", m_stream},
    {"info", m_info},   {"close", m_close},       {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"new", l_new}, {NULL, NULL}};

int bind_reliable(lua_State *L) {
    bind_class(L, LINK_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    bind_reliable_machine(L);
    return 1;
}
