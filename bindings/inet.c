/***
IP addresses as text, and host names.
@module p2pd.core.inet
*/
#include "host/inet.h"

#include <errno.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/inet.h"
#include "bindings/scheduler.h"
#include "host/resolve.h"

#define LOOKUP_CLASS "p2pd.lookup"

/* False when the text has a NUL byte or is no address. */
static bool parse(lua_State *L, int arg, int port, struct inet_addr *addr) {
    size_t len;
    const char *text = luaL_checklstring(L, arg, &len);
    return strlen(text) == len && inet_parse(addr, text, port) == 0;
}

static bool parse_text(lua_State *L, int arg, struct inet_addr *addr) {
    return parse(L, arg, 0, addr);
}

static void refuse_ip(lua_State *L, int arg) {
    luaL_argerror(L, arg, lua_pushfstring(L, "'%s' is not an IP address", lua_tostring(L, arg)));
}

void check_ip(lua_State *L, int arg, struct inet_addr *addr) {
    if (!parse(L, arg, 0, addr))
        refuse_ip(L, arg);
}

void check_endpoint(lua_State *L, int arg, struct inet_addr *addr) {
    lua_Integer port = luaL_checkinteger(L, arg + 1);
    luaL_argcheck(L, port > 0 && port <= 65535, arg + 1, "a port from 1 to 65535 expected");
    if (!parse(L, arg, (int)port, addr))
        refuse_ip(L, arg);
}

static int push_no_address(lua_State *L) {
    return push_failure(L, "EINVAL", "not an IPv4 or IPv6 address");
}

static void push_ip(lua_State *L, const struct inet_addr *addr) {
    char text[INET_TEXT_MAX];
    lua_pushstring(L, inet_ip(addr, text));
}

/***
Parses an address.
@function parse
@tparam string text
@treturn table ip (as the kernel would write it), family, scope (an interface); or nil, message,
code
*/
static int l_parse(lua_State *L) {
    struct inet_addr addr;
    if (!parse_text(L, 1, &addr))
        return push_no_address(L);
    lua_createtable(L, 0, 3);
    push_ip(L, &addr);
    const char *percent = strchr(lua_tostring(L, -1), '%');
    if (percent) {
        lua_pushstring(L, percent + 1);
        lua_setfield(L, -3, "scope");
    }
    lua_setfield(L, -2, "ip");
    set_string(L, "family", inet_family_name(addr.any.sa_family));
    return 1;
}

/***
What kind of address it is. An IPv6 address that leads to an IPv4 one, see @{embedded}, is of that
one's kind when this is not global.
@function class
@tparam string ip
@treturn string "global", "private", "shared", "link-local", "loopback", "multicast", "broadcast",
"unspecified" or "reserved"; or nil, message, code
@treturn string the family
*/
static int l_class(lua_State *L) {
    struct inet_addr addr;
    if (!parse_text(L, 1, &addr))
        return push_no_address(L);
    lua_pushstring(L, inet_class_name(inet_classify(&addr)));
    lua_pushstring(L, inet_family_name(addr.any.sa_family));
    return 2;
}

/***
Whether two addresses share a subnet; false for two families.
@function same_subnet
@tparam string a
@tparam string b
@tparam integer prefix length in bits
@treturn boolean or nil, message, code
*/
static int l_same_subnet(lua_State *L) {
    struct inet_addr a, b;
    lua_Integer prefix = luaL_checkinteger(L, 3);
    luaL_argcheck(L, prefix >= 0 && prefix <= 128, 3, "a prefix length expected");
    if (!parse_text(L, 1, &a) || !parse_text(L, 2, &b))
        return push_no_address(L);
    lua_pushboolean(L, inet_same_subnet(&a, &b, (int)prefix));
    return 1;
}

/***
Whether an address is the broadcast address of a subnet: its last one, or by old habit its first.
@function is_subnet_broadcast
@tparam string ip
@tparam string member an address in that subnet
@tparam integer prefix its length in bits
@treturn boolean false for IPv6; or nil, message, code
*/
static int l_is_subnet_broadcast(lua_State *L) {
    struct inet_addr addr, member;
    lua_Integer prefix = luaL_checkinteger(L, 3);
    luaL_argcheck(L, prefix >= 0 && prefix <= 128, 3, "a prefix length expected");
    if (!parse_text(L, 1, &addr) || !parse_text(L, 2, &member))
        return push_no_address(L);
    lua_pushboolean(L, inet_is_subnet_broadcast(&addr, &member, (int)prefix));
    return 1;
}

/***
The IPv4 address in an IPv6 one: IPv4-mapped, IPv4-compatible, NAT64 (RFC 6052, RFC 8215), 6to4
(RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214).
@function embedded
@tparam string ip
@treturn ?string the IPv4 address, nil when there is none; or nil, message, code
*/
static int l_embedded(lua_State *L) {
    struct inet_addr addr, v4;
    if (!parse_text(L, 1, &addr))
        return push_no_address(L);
    if (inet_embedded(&addr, &v4))
        push_ip(L, &v4);
    else
        lua_pushnil(L);
    return 1;
}

/* -- names --------------------------------------------------------------------------------- */

/* On the waiting coroutine's stack as a to-be-closed slot: however the wait ends, the lookup is
 * freed. */
struct lookup {
    struct resolve *resolve;
    struct waitlist waiters;
};

static void on_done(void *owner) {
    struct lookup *self = owner;
    task_wake_all(&self->waiters);
}

static int m_close(lua_State *L) {
    struct lookup *self = luaL_checkudata(L, 1, LOOKUP_CLASS);
    resolve_free(self->resolve);
    self->resolve = NULL;
    return 0;
}

static int push_addresses(lua_State *L, const struct resolve *r) {
    int n = resolve_count(r);
    if (n < 0)
        return push_failure(L, strerrorname_np(-n), "resolve %s: %s", lua_tostring(L, 1),
                            resolve_message(r));
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        push_ip(L, resolve_address(r, i));
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int resolve_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    struct lookup *self = lua_touserdata(L, (int)ctx);
    if (resolve_is_done(self->resolve))
        return push_addresses(L, self->resolve);
    if (task_expired())
        return push_failure(L, "ETIMEDOUT", "resolve %s: timed out", lua_tostring(L, 1));
    return task_wait_again(L, &self->waiters, ctx, resolve_k);
}

static int check_family(lua_State *L, int arg) {
    static const char *const NAMES[] = {"any", "ipv4", "ipv6", NULL};
    static const int FAMILIES[] = {AF_UNSPEC, AF_INET, AF_INET6};
    return FAMILIES[luaL_checkoption(L, arg, "any", NAMES)];
}

/***
The addresses of a host. Waits, unless it is an address already that can be reached. Where only
NAT64 leads to IPv4 (p2pd.core.nat64), "any" gives the IPv6 addresses that stand for IPv4 ones.
@function resolve
@tparam string host
@tparam[opt="any"] string family "any", "ipv4" or "ipv6"
@tparam[opt] number timeout seconds
@treturn {string,...} addresses; or nil, message, code
*/
static int l_resolve(lua_State *L) {
    size_t len;
    const char *host = luaL_checklstring(L, 1, &len);
    int family = check_family(L, 2);
    double deadline = task_deadline(L, 3);
    struct inet_addr numeric;
    bool waits = inet_parse(&numeric, host, 0) < 0;
    lua_settop(L, 3);
    if (strlen(host) != len)
        return push_failure(L, "EINVAL", "the host name has a NUL byte");
    if (len > RESOLVE_NAME_MAX)
        return push_failure(L, "ENAMETOOLONG", "a host name of more than %d characters",
                            RESOLVE_NAME_MAX);
    struct lookup *self = bind_new(L, LOOKUP_CLASS, sizeof *self);
    lua_toclose(L, 4);
    luaL_checkstack(L, 8, NULL);
    if (waits)
        task_prepare(L);
    self->resolve = resolve_start(host, family, on_done, self);
    if (!self->resolve)
        return push_error(L, errno, "resolve '%s'", host);
    if (resolve_is_done(self->resolve))
        return push_addresses(L, self->resolve);
    if (!waits)
        task_prepare(L);
    return task_wait(L, &self->waiters, deadline, 4, resolve_k);
}

static const luaL_Reg METHODS[] = {{"close", m_close}, {NULL, NULL}};
static const luaL_Reg META[] = {{"__gc", m_close}, {"__close", m_close}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"parse", l_parse},
                                     {"class", l_class},
                                     {"same_subnet", l_same_subnet},
                                     {"is_subnet_broadcast", l_is_subnet_broadcast},
                                     {"embedded", l_embedded},
                                     {"resolve", l_resolve},
                                     {NULL, NULL}};

int bind_inet(lua_State *L) {
    bind_class(L, LOOKUP_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
