/***
NAT64: how a network of IPv6 alone leads to IPv4 addresses (RFC 6052, RFC 7050). The network's
prefix is one for the whole program. It is looked for when a name, or an address, turns out to be an
IPv4 address that cannot be reached; then sockets that are bound to an IPv6 address take IPv4 ones
too.
@module p2pd.core.nat64
*/
#include "host/nat64.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"

#define PREFIX_TEXT_MAX (INET6_ADDRSTRLEN + sizeof "/96")

static void check_ip(lua_State *L, int arg, struct inet_addr *addr) {
    size_t len;
    const char *ip = luaL_checklstring(L, arg, &len);
    if (strlen(ip) != len || inet_parse(addr, ip, 0) < 0)
        luaL_argerror(L, arg, lua_pushfstring(L, "'%s' is not an IP address", ip));
}

static void check_prefix(lua_State *L, int arg, struct nat64_prefix *prefix) {
    char ip[INET6_ADDRSTRLEN];
    const char *text = luaL_checkstring(L, arg), *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : sizeof ip;
    *prefix = (struct nat64_prefix){.bits = slash ? atoi(slash + 1) : 0};
    int bits = prefix->bits;
    bool fits = (bits >= 32 && bits <= 64 && bits % 8 == 0) || bits == 96;
    if (len < sizeof ip)
        memcpy(ip, text, len), ip[len] = '\0';
    luaL_argcheck(L, fits && len < sizeof ip && inet_pton(AF_INET6, ip, &prefix->ip) == 1, arg,
                  "an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits expected");
}

static void push_prefix(lua_State *L, const struct nat64_prefix *prefix) {
    char ip[INET6_ADDRSTRLEN], text[PREFIX_TEXT_MAX];
    inet_ntop(AF_INET6, &prefix->ip, ip, sizeof ip);
    snprintf(text, sizeof text, "%s/%d", ip, prefix->bits);
    lua_pushstring(L, text);
}

static int push_ip(lua_State *L, const struct inet_addr *addr) {
    char text[INET_TEXT_MAX];
    lua_pushstring(L, inet_ip(addr, text));
    return 1;
}

/***
The prefix of the network that we are in.
@function prefix
@treturn ?string such as "64:ff9b::/96"; nil when there is none, or none is known
*/
static int l_prefix(lua_State *L) {
    struct nat64_prefix prefix;
    if (!nat64_prefix(&prefix))
        return 0;
    push_prefix(L, &prefix);
    return 1;
}

/***
Says which prefix the network has.
@function use
@tparam ?string prefix nil: it has none, for as long as that is believed
*/
static int l_use(lua_State *L) {
    struct nat64_prefix prefix;
    if (lua_isnoneornil(L, 1)) {
        nat64_use(NULL);
        return 0;
    }
    check_prefix(L, 1, &prefix);
    nat64_use(&prefix);
    return 0;
}

/***
Forgets the prefix: it is another network, whose prefix will be looked for when it is needed.
@function forget
*/
static int l_forget(lua_State *L) {
    (void)L;
    nat64_forget();
    return 0;
}

/***
The prefix by which an address was made that a resolver gives for ipv4only.arpa (RFC 7050).
@function find
@tparam string ip
@treturn ?string the prefix; nil when the address was not made by NAT64
*/
static int l_find(lua_State *L) {
    struct inet_addr made;
    struct nat64_prefix prefix;
    check_ip(L, 1, &made);
    if (!nat64_find(&made, &prefix))
        return 0;
    push_prefix(L, &prefix);
    return 1;
}

/***
The IPv6 address that stands for an IPv4 one (RFC 6052).
@function embed
@tparam string prefix
@tparam string ip IPv4
@treturn string
*/
static int l_embed(lua_State *L) {
    struct nat64_prefix prefix;
    struct inet_addr v4, v6;
    check_prefix(L, 1, &prefix);
    check_ip(L, 2, &v4);
    luaL_argcheck(L, v4.any.sa_family == AF_INET, 2, "an IPv4 address expected");
    nat64_embed(&prefix, &v4, &v6);
    return push_ip(L, &v6);
}

/***
The opposite.
@function extract
@tparam string prefix
@tparam string ip
@treturn ?string an IPv4 address; nil when the address has another prefix
*/
static int l_extract(lua_State *L) {
    struct nat64_prefix prefix;
    struct inet_addr v4, v6;
    check_prefix(L, 1, &prefix);
    check_ip(L, 2, &v6);
    return nat64_extract(&prefix, &v6, &v4) ? push_ip(L, &v4) : 0;
}

static const luaL_Reg FUNCTIONS[] = {
    {"prefix", l_prefix}, {"use", l_use},         {"forget", l_forget}, {"find", l_find},
    {"embed", l_embed},   {"extract", l_extract}, {NULL, NULL}};

int bind_nat64(lua_State *L) {
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
