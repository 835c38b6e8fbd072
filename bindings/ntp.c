/***
NTP (RFC 5905): packets, one server's client, and the vote among servers. The script has the
sockets and the clock.
@module p2pd.core.ntp
@pragma nostrip
*/
#include "host/ntp.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sys/random.h>

#include "bindings/bind.h"

#define NTP_CLASS "p2pd.ntp"

static struct ntp *check_self(lua_State *L) {
    return luaL_checkudata(L, 1, NTP_CLASS);
}

/* -- packets ------------------------------------------------------------------------------- */

/***
Decodes a packet.
@function decode
@tparam string bytes
@treturn table its fields; timestamps are 64-bit integers; or nil, message, code: EMSGSIZE
*/
static int l_decode(lua_State *L) {
    size_t len;
    const char *data = luaL_checklstring(L, 1, &len);
    struct ntp_packet p;
    if (ntp_decode(&p, data, len) < 0)
        return push_failure(L, "EMSGSIZE", "NTP: %d bytes are too short", (int)len);
    lua_createtable(L, 0, 13);
    set_integer(L, "leap", p.leap);
    set_integer(L, "version", p.version);
    set_integer(L, "mode", p.mode);
    set_integer(L, "stratum", p.stratum);
    set_integer(L, "poll", p.poll);
    set_integer(L, "precision", p.precision);
    set_number(L, "root_delay", p.root_delay);
    set_number(L, "root_dispersion", p.root_dispersion);
    set_integer(L, "reference_id", p.reference_id);
    set_integer(L, "reference", (lua_Integer)p.reference);
    set_integer(L, "origin", (lua_Integer)p.origin);
    set_integer(L, "receive", (lua_Integer)p.receive);
    set_integer(L, "transmit", (lua_Integer)p.transmit);
    return 1;
}

static lua_Integer opt_range(lua_State *L, const char *field, lua_Integer otherwise,
                             lua_Integer low, lua_Integer high) {
    lua_Integer value = opt_integer(L, 1, field, otherwise);
    if (value < low || value > high)
        luaL_error(L, "option '%s': %I to %I expected", field, (LUAI_UACINT)low, (LUAI_UACINT)high);
    return value;
}

/***
Encodes a packet.
@function encode
@tparam table fields what is left out is 0, but version and mode 4
@treturn string 48 bytes
*/
static int l_encode(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    uint8_t data[NTP_PACKET_SIZE];
    struct ntp_packet p = {
        .leap = (uint8_t)opt_range(L, "leap", 0, 0, 3),
        .version = (uint8_t)opt_range(L, "version", 4, 0, 7),
        .mode = (uint8_t)opt_range(L, "mode", NTP_SERVER, 0, 7),
        .stratum = (uint8_t)opt_range(L, "stratum", 0, 0, UINT8_MAX),
        .poll = (int8_t)opt_range(L, "poll", 0, INT8_MIN, INT8_MAX),
        .precision = (int8_t)opt_range(L, "precision", 0, INT8_MIN, INT8_MAX),
        .root_delay = opt_number(L, 1, "root_delay", 0),
        .root_dispersion = opt_number(L, 1, "root_dispersion", 0),
        .reference_id = (uint32_t)opt_range(L, "reference_id", 0, 0, UINT32_MAX),
        .reference = (uint64_t)opt_integer(L, 1, "reference", 0),
        .origin = (uint64_t)opt_integer(L, 1, "origin", 0),
        .receive = (uint64_t)opt_integer(L, 1, "receive", 0),
        .transmit = (uint64_t)opt_integer(L, 1, "transmit", 0),
    };
    ntp_encode(data, &p);
    lua_pushlstring(L, (const char *)data, sizeof data);
    return 1;
}

/***
A timestamp as time of day.
@function seconds
@tparam integer timestamp
@treturn number seconds since 1970
*/
static int l_seconds(lua_State *L) {
    lua_pushnumber(L, ntp_seconds((uint64_t)luaL_checkinteger(L, 1)));
    return 1;
}

static lua_Number check_finite(lua_State *L, int arg) {
    lua_Number value = luaL_checknumber(L, arg);
    luaL_argcheck(L, isfinite(value), arg, "a finite number expected");
    return value;
}

/***
A time of day as timestamp.
@function timestamp
@tparam number seconds since 1970
@treturn integer
*/
static int l_timestamp(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)ntp_timestamp(check_finite(L, 1)));
    return 1;
}

/* -- one server ---------------------------------------------------------------------------- */

/***
The client of one server.
@function client
@treturn p2pd.ntp
*/
static int l_client(lua_State *L) {
    bind_new(L, NTP_CLASS, sizeof(struct ntp));
    return 1;
}

static lua_Number opt_positive(lua_State *L, int t, const char *field, lua_Number otherwise) {
    lua_Number value = opt_number(L, t, field, otherwise);
    if (!(value > 0 && value < INFINITY))
        luaL_error(L, "option '%s': a positive number expected", field);
    return value;
}

/***
Begins a burst of requests.
@function ntp:begin
@tparam number now the instant of this call
@tparam[opt] table options count, spacing, spacing_max, timeout (seconds)
@treturn boolean false when the server has barred us
*/
static int m_begin(lua_State *L) {
    struct ntp *self = check_self(L);
    lua_Number now = check_finite(L, 2);
    struct ntp_burst burst = NTP_BURST_DEFAULT;
    lua_Integer count = opt_integer(L, 3, "count", burst.count);
    luaL_argcheck(L, count > 0 && count <= INT_MAX, 3, "option 'count': 1 or more expected");
    burst.count = (int)count;
    burst.spacing = opt_positive(L, 3, "spacing", burst.spacing);
    burst.spacing_max = opt_positive(L, 3, "spacing_max", burst.spacing_max);
    burst.timeout = opt_positive(L, 3, "timeout", burst.timeout);
    lua_pushboolean(L, ntp_begin(self, &burst, now));
    return 1;
}

/***
What is to be done.
@function ntp:poll
@tparam number now
@return "send" and a packet; "wait" and an instant; or "done"
*/
static int m_poll(lua_State *L) {
    struct ntp *self = check_self(L);
    lua_Number now = check_finite(L, 2);
    uint8_t packet[NTP_PACKET_SIZE];
    uint64_t nonce;
    if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce)
        return luaL_error(L, "getrandom failed");
    switch (ntp_poll(self, now, nonce, packet)) {
    case NTP_SEND:
        lua_pushliteral(L, "send");
        lua_pushlstring(L, (const char *)packet, sizeof packet);
        return 2;
    case NTP_WAIT:
        lua_pushliteral(L, "wait");
        lua_pushnumber(L, ntp_due(self));
        return 2;
    default:
        lua_pushliteral(L, "done");
        return 1;
    }
}

/***
The instant to poll at.
@function ntp:due
@treturn number
*/
static int m_due(lua_State *L) {
    lua_pushnumber(L, ntp_due(check_self(L)));
    return 1;
}

/***
Takes a packet that was received.
@function ntp:feed
@tparam string bytes
@tparam number now
@return "sample"; "kiss", its code, and until when the server is not to be asked; or nil, reason,
code: EBADMSG, ENOMSG
*/
static int m_feed(lua_State *L) {
    struct ntp *self = check_self(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    switch (ntp_feed(self, data, len, check_finite(L, 3))) {
    case NTP_SAMPLE:
        lua_pushliteral(L, "sample");
        return 1;
    case NTP_KISS:
        lua_pushliteral(L, "kiss");
        lua_pushstring(L, self->kiss);
        lua_pushnumber(L, ntp_bar_end(self));
        return 3;
    case NTP_REFUSED:
        return push_failure(L, "EBADMSG", "%s", self->reason);
    default:
        return push_failure(L, "ENOMSG", "%s", self->reason);
    }
}

/***
What was wrong with the last answer, or that there was none.
@function ntp:reason
@treturn ?string nil after a good one
*/
static int m_reason(lua_State *L) {
    lua_pushstring(L, check_self(L)->reason);
    return 1;
}

static void push_interval(lua_State *L, const struct ntp_interval *interval) {
    lua_createtable(L, 0, 4);
    set_number(L, "offset", interval->offset);
    set_number(L, "bound", interval->bound);
}

/***
What is known of the offset of the local clock.
@function ntp:estimate
@tparam number now
@treturn ?table offset, bound, delay (seconds), samples; nil before the first one
*/
static int m_estimate(lua_State *L) {
    struct ntp *self = check_self(L);
    struct ntp_interval estimate;
    double delay;
    int samples = ntp_estimate(self, check_finite(L, 2), &estimate, &delay);
    if (samples == 0)
        return 0;
    push_interval(L, &estimate);
    set_number(L, "delay", delay);
    set_integer(L, "samples", samples);
    return 1;
}

static int m_tostring(lua_State *L) {
    struct ntp *self = check_self(L);
    lua_pushfstring(L, "ntp client (%s, %d samples): %p", self->left ? "asking" : "idle",
                    (int)self->taken, (void *)self);
    return 1;
}

/* -- the vote ------------------------------------------------------------------------------ */

static lua_Number check_field(lua_State *L, const char *field) {
    if (lua_getfield(L, -1, field) != LUA_TNUMBER || !isfinite(lua_tonumber(L, -1)))
        luaL_error(L, "every '%s' has to be a finite number", field);
    lua_Number value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

/***
The offset that a majority of servers agrees on.
@function select
@tparam {table,...} estimates with offset and bound
@treturn table offset, bound, servers, agrees (a list of booleans); or nil, message, code: ENOMSG
*/
static int l_select(lua_State *L) {
    struct ntp_interval servers[NTP_SERVERS_MAX], combined;
    bool agrees[NTP_SERVERS_MAX];
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer count = luaL_len(L, 1);
    luaL_argcheck(L, count <= NTP_SERVERS_MAX, 1, "too many servers");
    for (lua_Integer i = 0; i < count; i++) {
        lua_geti(L, 1, i + 1);
        luaL_argcheck(L, lua_istable(L, -1), 1, "a list of tables expected");
        servers[i] = (struct ntp_interval){.offset = check_field(L, "offset"),
                                           .bound = check_field(L, "bound")};
        lua_pop(L, 1);
    }
    int inside = ntp_select(servers, (size_t)count, agrees, &combined);
    if (inside == 0)
        return push_failure(L, "ENOMSG", "no majority of the servers agrees");
    push_interval(L, &combined);
    set_integer(L, "servers", inside);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_pushboolean(L, agrees[i]);
        lua_seti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "agrees");
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"begin", m_begin},   {"poll", m_poll},         {"due", m_due}, {"feed", m_feed},
    {"reason", m_reason}, {"estimate", m_estimate}, {NULL, NULL}};
static const luaL_Reg META[] = {{"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"decode", l_decode},
                                     {"encode", l_encode},
                                     {"seconds", l_seconds},
                                     {"timestamp", l_timestamp},
                                     {"client", l_client},
                                     {"select", l_select},
                                     {NULL, NULL}};

int bind_ntp(lua_State *L) {
    bind_class(L, NTP_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    set_integer(L, "SERVERS_MAX", NTP_SERVERS_MAX);
    return 1;
}
