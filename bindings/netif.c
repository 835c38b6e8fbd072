/***
The machine's network interfaces.
@module p2pd.core.netif
*/
#include "host/netif.h"

#include <string.h>

#include "bindings/bind.h"

#define LIST_CLASS "p2pd.netif"

/* Owns the C list while Lua allocates, which may raise. */
struct list {
    struct netif *items;
    int n;
};

static int m_close(lua_State *L) {
    struct list *self = luaL_checkudata(L, 1, LIST_CLASS);
    netif_free(self->items, self->n);
    *self = (struct list){0};
    return 0;
}

/* Leaves the userdata on the stack, to be closed with the calling function: *count is n or -errno.
 */
static struct list *read_list(lua_State *L, int *count) {
    struct list *self = bind_new(L, LIST_CLASS, sizeof *self);
    lua_toclose(L, -1);
    *count = netif_list(&self->items);
    self->n = *count < 0 ? 0 : *count;
    return self;
}

static void set_string(lua_State *L, const char *field, const char *value) {
    lua_pushstring(L, value);
    lua_setfield(L, -2, field);
}

static void set_integer(lua_State *L, const char *field, lua_Integer value) {
    lua_pushinteger(L, value);
    lua_setfield(L, -2, field);
}

static void set_boolean(lua_State *L, const char *field, bool value) {
    lua_pushboolean(L, value);
    lua_setfield(L, -2, field);
}

static void push_addr(lua_State *L, const struct netif_addr *a) {
    char text[INET_TEXT_MAX];
    lua_createtable(L, 0, 3);
    set_string(L, "ip", inet_ip(&a->addr, text));
    set_integer(L, "prefix", a->prefix);
    set_string(L, "class", inet_class_name(inet_classify(&a->addr)));
}

static void set_addrs(lua_State *L, const char *field, const struct netif *nif, int family) {
    lua_newtable(L);
    lua_Integer n = 0;
    for (int i = 0; i < nif->naddrs; i++) {
        if (nif->addrs[i].addr.any.sa_family != family)
            continue;
        push_addr(L, &nif->addrs[i]);
        lua_rawseti(L, -2, ++n);
    }
    lua_setfield(L, -2, field);
}

static void set_default(lua_State *L, const char *field, const char *metric, const char *gateway,
                        const struct netif_default *d) {
    char text[INET_TEXT_MAX];
    set_boolean(L, field, d->present);
    if (d->present)
        set_integer(L, metric, d->metric);
    if (d->gateway.len)
        set_string(L, gateway, inet_ip(&d->gateway, text));
}

static void push_netif(lua_State *L, const struct netif *nif) {
    lua_createtable(L, 0, 14);
    set_string(L, "name", nif->name);
    set_integer(L, "index", nif->index);
    set_boolean(L, "up", nif->up);
    set_boolean(L, "loopback", nif->loopback);
    set_boolean(L, "point_to_point", nif->point_to_point);
    set_integer(L, "mtu", nif->mtu);
    set_addrs(L, "ipv4", nif, AF_INET);
    set_addrs(L, "ipv6", nif, AF_INET6);
    set_default(L, "default4", "metric4", "gateway4", &nif->default4);
    set_default(L, "default6", "metric6", "gateway6", &nif->default6);
}

/***
All interfaces, by index.
@function list
@treturn {table,...} name, index, up, loopback, point_to_point, mtu; ipv4 and ipv6: lists of tables
with ip, prefix and class; default4, metric4, gateway4, default6, metric6, gateway6; or nil,
message, code
*/
static int l_list(lua_State *L) {
    int n;
    const struct list *self = read_list(L, &n);
    if (n < 0)
        return push_error(L, n, "list the interfaces");
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        push_netif(L, &self->items[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/***
The interface on whose subnets an address is.
@function on_link
@tparam string ip
@return its name, or false; or nil, message, code
*/
static int l_on_link(lua_State *L) {
    size_t len;
    const char *ip = luaL_checklstring(L, 1, &len);
    struct inet_addr addr;
    if (strlen(ip) != len || inet_parse(&addr, ip, 0) < 0)
        return push_failure(L, "EINVAL", "not an IPv4 or IPv6 address");
    int n;
    const struct list *self = read_list(L, &n);
    if (n < 0)
        return push_error(L, n, "list the interfaces");
    const struct netif *nif = netif_on_link(self->items, n, &addr);
    if (nif)
        lua_pushstring(L, nif->name);
    else
        lua_pushboolean(L, 0);
    return 1;
}

static const luaL_Reg METHODS[] = {{"close", m_close}, {NULL, NULL}};
static const luaL_Reg META[] = {{"__gc", m_close}, {"__close", m_close}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"list", l_list}, {"on_link", l_on_link}, {NULL, NULL}};

int bind_netif(lua_State *L) {
    bind_class(L, LIST_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
