/***
The machine's network interfaces.
@module p2pd.core.netif
*/
#include "host/netif.h"

#include <errno.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"
#include "host/netif/way.h"
#include "host/netmonitor.h"

#define LIST_CLASS "p2pd.netif"
#define WATCH_CLASS "p2pd.netif.watch"

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

/* Only what is so: most addresses have none of these. */
static void set_flag(lua_State *L, const char *field, bool value) {
    if (value)
        set_boolean(L, field, true);
}

static void push_addr(lua_State *L, const struct netif_addr *a) {
    char text[INET_TEXT_MAX];
    lua_createtable(L, 0, 3);
    set_flag(L, "tentative", a->tentative);
    set_flag(L, "failed", a->failed);
    set_flag(L, "deprecated", a->deprecated);
    set_flag(L, "temporary", a->temporary);
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
    lua_createtable(L, 0, 16);
    set_string(L, "name", nif->name);
    set_integer(L, "index", nif->index);
    set_boolean(L, "up", nif->up);
    set_boolean(L, "loopback", nif->loopback);
    set_boolean(L, "point_to_point", nif->point_to_point);
    set_boolean(L, "inner", nif->inner);
    set_string(L, "kind", nif->kind);
    set_integer(L, "mtu", nif->mtu);
    set_addrs(L, "ipv4", nif, AF_INET);
    set_addrs(L, "ipv6", nif, AF_INET6);
    set_default(L, "default4", "metric4", "gateway4", &nif->default4);
    set_default(L, "default6", "metric6", "gateway6", &nif->default6);
}

/***
All interfaces, by index.
@function list
@treturn {table,...} name, index, up, loopback, point_to_point, kind ("bridge", "tun", ..., "" for
hardware), inner (by its kind it leads nowhere but to this machine), mtu; ipv4 and ipv6: lists of
tables with ip, prefix and class, and true where it applies: tentative (it can't be bound yet),
failed (somebody else has it), deprecated, temporary; default4, metric4, gateway4, default6,
metric6, gateway6; or nil, message, code
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

static void check_ip(lua_State *L, int arg, struct inet_addr *addr) {
    size_t len;
    const char *ip = luaL_checklstring(L, arg, &len);
    if (strlen(ip) != len || inet_parse(addr, ip, 0) < 0)
        luaL_argerror(L, arg, "an IP address expected");
}

/***
The way that the kernel would take to somewhere: rules, marks and metrics count. No packet is sent.
@function way
@tparam string ip
@tparam[opt] string source an address of ours, by which a connection goes on; without one, that
which a new one would have
@treturn string our address; or nil, message, code (ENETUNREACH: there is no way)
@treturn ?string the interface's name; nil where the kernel does not tell
*/
static int l_way(lua_State *L) {
    struct inet_addr to, source;
    char text[INET_TEXT_MAX], name[IF_NAMESIZE];
    int err = 0;
    check_ip(L, 1, &to);
    if (lua_isnoneornil(L, 2))
        err = netif_source(&to, &source);
    else
        check_ip(L, 2, &source);
    if (!err && source.any.sa_family != to.any.sa_family)
        err = -EAFNOSUPPORT;
    int index = err ? err : netif_interface(&to, &source);
    if (index == -ENETUNREACH || index == -EHOSTUNREACH)
        err = index;
    if (err)
        return push_error(L, err, "a way to %s", inet_ip(&to, text));
    lua_pushstring(L, inet_ip(&source, text));
    if (index < 0 || !if_indextoname((unsigned)index, name))
        return 1;
    lua_pushstring(L, name);
    return 2;
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

/* -- watch ------------------------------------------------------------------------------------- */

struct watch {
    struct netmonitor monitor;
    struct waitlist waiters;
};

static void on_event(void *owner) {
    struct watch *self = owner;
    task_wake_all(&self->waiters);
}

/***
Begins to watch addresses, links, routes and rules, and for sleep.
@function watch
@treturn p2pd.netif.watch to be closed; or nil, message, code
*/
static int l_watch(lua_State *L) {
    struct watch *self = bind_new(L, WATCH_CLASS, sizeof *self);
    self->monitor.on_event = on_event;
    self->monitor.owner = self;
    int err = netmonitor_open(&self->monitor);
    return err ? push_error(L, err, "watch the network") : 1;
}

/* Pushes what has happened, the weightiest first; 0: nothing has. */
static int push_event(lua_State *L, struct watch *self) {
    if (!self->monitor.open)
        return push_failure(L, "EBADF", "the watch is closed");
    unsigned events = netmonitor_take(&self->monitor);
    if (!events)
        return 0;
    lua_pushstring(L, events & NETMONITOR_AWAKE     ? "awake"
                      : events & NETMONITOR_CHANGED ? "changed"
                                                    : "poll");
    return 1;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    struct watch *self = lua_touserdata(L, 1);
    int n = push_event(L, self);
    if (n)
        return n;
    return task_expired() ? task_push_timeout(L) : task_wait_again(L, &self->waiters, 0, wait_k);
}

/***
Waits for the next event; what has happened since the last call counts.
@function watch:wait
@tparam[opt] number timeout seconds
@treturn string "changed": list the interfaces again; "awake": the machine or this process was
stopped for some seconds; "poll": the kernel tells nothing here, so list them again now and then; or
nil, message, code
*/
static int m_wait(lua_State *L) {
    struct watch *self = luaL_checkudata(L, 1, WATCH_CLASS);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    int n = push_event(L, self);
    return n ? n : task_wait(L, &self->waiters, deadline, 0, wait_k);
}

/***
Ends it; can be called twice.
@function watch:close
*/
static int m_watch_close(lua_State *L) {
    struct watch *self = luaL_checkudata(L, 1, WATCH_CLASS);
    netmonitor_close(&self->monitor);
    task_wake_all(&self->waiters);
    return 0;
}

static const luaL_Reg WATCH_METHODS[] = {{"wait", m_wait}, {"close", m_watch_close}, {NULL, NULL}};
static const luaL_Reg WATCH_META[] = {
    {"__gc", m_watch_close}, {"__close", m_watch_close}, {NULL, NULL}};
static const luaL_Reg METHODS[] = {{"close", m_close}, {NULL, NULL}};
static const luaL_Reg META[] = {{"__gc", m_close}, {"__close", m_close}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {
    {"list", l_list}, {"on_link", l_on_link}, {"way", l_way}, {"watch", l_watch}, {NULL, NULL}};

int bind_netif(lua_State *L) {
    bind_class(L, LIST_CLASS, METHODS, META);
    bind_class(L, WATCH_CLASS, WATCH_METHODS, WATCH_META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
