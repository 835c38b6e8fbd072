/***
The TURN client (RFC 8656, RFC 6062) as a machine. The script has the sockets and the clock.
@module p2pd.core.turn
*/
#include "host/turn.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/inet.h"
#include "host/loop.h"

#define CLIENT_CLASS "p2pd.turn.client"

struct lua_turn {
    struct turn *turn; /* NULL until made */
};

static const char *const KINDS[] = {
    [TURN_ALLOCATED] = "allocated", [TURN_PERMITTED] = "permitted",   [TURN_BOUND] = "bound",
    [TURN_ATTEMPT] = "attempt",     [TURN_CONNECTED] = "connected",   [TURN_JOINED] = "joined",
    [TURN_FAILED] = "failed",       [TURN_REDIRECTED] = "redirected", [TURN_LOST] = "lost",
    [TURN_CLOSED] = "closed",
};

static struct turn *check_turn(lua_State *L) {
    struct lua_turn *self = luaL_checkudata(L, 1, CLIENT_CLASS);
    luaL_argcheck(L, self->turn, 1, "a TURN client that was made expected");
    return self->turn;
}

static int m_gc(lua_State *L) {
    struct lua_turn *self = luaL_checkudata(L, 1, CLIENT_CLASS);
    turn_free(self->turn);
    self->turn = NULL;
    return 0;
}

/* -- making -------------------------------------------------------------------------------- */

static struct stun_timer check_timer(lua_State *L) {
    struct stun_timer timer = STUN_TIMER_DEFAULT;
    lua_Integer rc = opt_integer(L, 1, "rc", timer.rc);
    luaL_argcheck(L, rc >= 1 && rc <= INT_MAX, 1, "option 'rc': 1 or more expected");
    timer.rc = (int)rc;
    timer.rto = opt_number(L, 1, "rto", timer.rto);
    timer.rm = opt_number(L, 1, "rm", timer.rm);
    timer.ti = opt_number(L, 1, "ti", timer.ti);
    timer.reliable = opt_boolean(L, 1, "reliable", false);
    return timer;
}

static struct stun_text check_text(lua_State *L, const char *field) {
    const char *text = opt_string(L, 1, field, "");
    return (struct stun_text){text, strlen(text)};
}

static int check_family(lua_State *L) {
    const char *name = opt_string(L, 1, "family", NULL);
    if (!name || strcmp(name, "both") == 0)
        return 0;
    if (strcmp(name, "ipv4") == 0)
        return AF_INET;
    luaL_argcheck(L, strcmp(name, "ipv6") == 0, 1, "option 'family': ipv4, ipv6 or both expected");
    return AF_INET6;
}

/***
A client that wants an allocation. Instants are seconds, by default on the monotonic clock.
@function client
@tparam table options user, pass, realm (""; whichever the server names), reliable (over TCP or
TLS), tcp (a TCP allocation), family ("ipv4", "ipv6", or "both": a relayed address of
each, where the server has them), lifetime (seconds); rto, rc, rm, ti as for
 core.stun.transaction
@treturn p2pd.turn.client
*/
static int l_client(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_Integer lifetime = opt_integer(L, 1, "lifetime", 0);
    luaL_argcheck(L, lifetime >= 0 && lifetime <= UINT32_MAX, 1,
                  "option 'lifetime': seconds expected");
    struct turn_options options = {
        .timer = check_timer(L),
        .tcp = opt_boolean(L, 1, "tcp", false),
        .family = check_family(L),
        .both = strcmp(opt_string(L, 1, "family", ""), "both") == 0,
        .lifetime = (uint32_t)lifetime,
        .user = check_text(L, "user"),
        .password = check_text(L, "pass"),
        .realm = check_text(L, "realm"),
    };
    luaL_argcheck(L, !options.tcp || options.timer.reliable, 1,
                  "a TCP allocation needs a reliable way to the server");
    struct lua_turn *self = bind_new(L, CLIENT_CLASS, sizeof *self);
    self->turn = turn_new(&options);
    if (!self->turn)
        return luaL_error(L, "positive times, and a user, password or realm that fits, expected");
    return 1;
}

/* -- packets ------------------------------------------------------------------------------- */

static uint32_t opt_connection(lua_State *L, int arg) {
    lua_Integer connection = luaL_optinteger(L, arg, 0);
    luaL_argcheck(L, connection >= 0 && connection <= UINT32_MAX, arg, "a connection expected");
    return (uint32_t)connection;
}

/***
What is to be done.
@function client:poll
@tparam[opt] number now
@return "send", bytes, and the data connection that they belong on (0: to the server as always); or
 "wait" and the instant at which to poll again
*/
static int m_poll(lua_State *L) {
    struct turn *t = check_turn(L);
    struct turn_packet packet;
    if (!turn_poll(t, luaL_optnumber(L, 2, loop_now()), &packet)) {
        lua_pushliteral(L, "wait");
        lua_pushnumber(L, turn_due(t));
        return 2;
    }
    lua_pushliteral(L, "send");
    lua_pushlstring(L, (const char *)packet.data, packet.len);
    lua_pushinteger(L, packet.connection);
    return 3;
}

static void push_addr(lua_State *L, const struct inet_addr *addr) {
    char text[INET_TEXT_MAX];
    lua_pushstring(L, inet_ip(addr, text));
    lua_pushinteger(L, inet_port(addr));
}

/***
A datagram that has come from the server, or one whole frame of a stream.
@function client:feed
@tparam string bytes
@tparam[opt=0] integer connection the data connection that it came on
@tparam[opt] number now
@return a peer's datagram, its IP address and port; or false; or nil, message, code (EBADMSG)
*/
static int m_feed(lua_State *L) {
    struct turn *t = check_turn(L);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    uint32_t connection = opt_connection(L, 3);
    struct turn_data data;
    switch (turn_feed(t, luaL_optnumber(L, 4, loop_now()), connection, bytes, len, &data)) {
    case 1:
        lua_pushlstring(L, (const char *)data.data, data.len);
        push_addr(L, &data.peer);
        return 3;
    case 0:
        lua_pushboolean(L, false);
        return 1;
    default:
        return push_failure(L, "EBADMSG", "what the relay server sends is not TURN");
    }
}

/***
A datagram for a peer, as it goes to the server.
@function client:wrap
@tparam string data
@tparam string ip
@tparam integer port
@return bytes; or nil, message, code
*/
static int m_wrap(lua_State *L) {
    static uint8_t packet[TURN_DATA_MAX + TURN_OVERHEAD_MAX];
    struct turn *t = check_turn(L);
    struct inet_addr peer;
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    check_endpoint(L, 3, &peer);
    ssize_t n = turn_wrap(t, &peer, data, len, packet, sizeof packet);
    if (n < 0)
        return push_error(L, (int)n, "relay %d bytes", (int)len);
    lua_pushlstring(L, (const char *)packet, (size_t)n);
    return 1;
}

/***
How many bytes the frame has that begins so, on a stream.
@function frame_length
@tparam string head 4 bytes or more
@return its length; or nil, message, code
*/
static int l_frame_length(lua_State *L) {
    size_t len;
    const char *head = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len >= TURN_HEADER_SIZE, 1, "4 bytes expected");
    ssize_t frame = turn_frame_length((const uint8_t *)head);
    if (frame < 0)
        return push_failure(L, "EBADMSG", "what the relay server sends is not TURN");
    lua_pushinteger(L, frame);
    return 1;
}

/* -- events -------------------------------------------------------------------------------- */

static void set_addr(lua_State *L, const struct inet_addr *addr, const char *ip, const char *port) {
    if (!addr->len)
        return;
    push_addr(L, addr);
    lua_setfield(L, -3, port);
    lua_setfield(L, -2, ip);
}

static void set_failure(lua_State *L, const struct turn_event *event) {
    set_string(L, "request", event->request);
    set_string(L, "reason", event->reason);
    set_string(L, "code", strerrorname_np(-event->error));
    if (event->code)
        set_integer(L, "number", event->code);
}

/***
What has happened.
@function client:event
@treturn ?table kind; ip and port; connection; and for "allocated" mapped_ip, mapped_port, other_ip
 and other_port (of the other family), lifetime (seconds), rtt (seconds); for "failed" and "lost"
request, reason, code (an errno's name), number (of the server's error)
*/
static int m_event(lua_State *L) {
    struct turn_event event;
    if (!turn_event(check_turn(L), &event))
        return 0;
    lua_createtable(L, 0, 8);
    set_string(L, "kind", KINDS[event.kind]);
    set_addr(L, &event.addr, "ip", "port");
    set_addr(L, &event.mapped, "mapped_ip", "mapped_port");
    set_addr(L, &event.other, "other_ip", "other_port");
    if (event.connection)
        set_integer(L, "connection", event.connection);
    if (event.lifetime)
        set_integer(L, "lifetime", event.lifetime);
    if (event.rtt >= 0) {
        set_number(L, "rtt", event.rtt);
    }
    if (event.error)
        set_failure(L, &event);
    return 1;
}

/* -- wishes -------------------------------------------------------------------------------- */

static int push_wish(lua_State *L, int err, const char *what) {
    if (err == -ENOTCONN)
        return push_failure(L, "ENOTCONN", "%s: there is no such allocation", what);
    if (err)
        return push_error(L, err, "%s", what);
    lua_pushboolean(L, true);
    return 1;
}

/***
Lets a peer's address in; "permitted" follows. The permission is kept.
@function client:permit
@tparam string ip
@return true; or nil, message, code
*/
static int m_permit(lua_State *L) {
    struct turn *t = check_turn(L);
    struct inet_addr peer;
    check_ip(L, 2, &peer);
    return push_wish(L, turn_permit(t, &peer), "permit a peer");
}

/***
Binds a channel to a peer; "bound" follows. It is kept, and so is a permission.
@function client:bind
@tparam string ip
@tparam integer port
@return true; or nil, message, code
*/
static int m_bind(lua_State *L) {
    struct turn *t = check_turn(L);
    struct inet_addr peer;
    check_endpoint(L, 2, &peer);
    return push_wish(L, turn_bind(t, &peer), "bind a channel");
}

/***
Has the server connect to a peer; "connected" follows.
@function client:connect
@tparam string ip
@tparam integer port
@return true; or nil, message, code
*/
static int m_connect(lua_State *L) {
    struct turn *t = check_turn(L);
    struct inet_addr peer;
    check_endpoint(L, 2, &peer);
    return push_wish(L, turn_connect(t, &peer), "connect to a peer");
}

/***
Makes a new connection to the server the data connection of an "attempt" or a "connected"; "joined"
follows.
@function client:join
@tparam integer connection
@return true; or nil, message, code
*/
static int m_join(lua_State *L) {
    struct turn *t = check_turn(L);
    luaL_checkinteger(L, 2);
    return push_wish(L, turn_join(t, opt_connection(L, 2)), "join a connection");
}

/***
Gives the allocation back; "closed" follows, in 1.5 s at most.
@function client:close
*/
static int m_close(lua_State *L) {
    turn_close(check_turn(L));
    return 0;
}

static const luaL_Reg METHODS[] = {
    {"poll", m_poll},     {"feed", m_feed}, {"wrap", m_wrap},       {"event", m_event},
    {"permit", m_permit}, {"bind", m_bind}, {"connect", m_connect}, {"join", m_join},
    {"close", m_close},   {NULL, NULL}};
static const luaL_Reg META[] = {{"__gc", m_gc}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {
    {"client", l_client}, {"frame_length", l_frame_length}, {NULL, NULL}};

int bind_turn(lua_State *L) {
    bind_class(L, CLIENT_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
