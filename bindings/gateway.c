/***
What libraries do about routers: NAT-PMP, and the XML of UPnP. They are loaded on a worker thread
when they are used, and unloaded afterwards.
@module p2pd.core.gateway
*/
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"
#include "host/errand.h"
#include "host/gateway/igd.h"
#include "host/gateway/natpmp.h"
#include "host/inet.h"

#define CALL_CLASS "p2pd.gateway.call"
#define CALL_AT 3 /* its place on the stack, above two arguments */

/* On the waiting coroutine's stack as a to-be-closed slot: however the wait ends, it is freed. */
struct call {
    struct errand *errand;
    void *data; /* the errand's */
    int (*push)(lua_State *L, const void *data);
    struct waitlist waiters;
};

static void on_done(void *owner) {
    struct call *self = owner;
    task_wake_all(&self->waiters);
}

static int m_close(lua_State *L) {
    struct call *self = luaL_checkudata(L, 1, CALL_CLASS);
    errand_free(self->errand);
    self->errand = NULL;
    return 0;
}

static int call_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    struct call *self = lua_touserdata(L, CALL_AT);
    if (errand_is_done(self->errand))
        return self->push(L, self->data);
    if (task_expired())
        return task_push_timeout(L);
    return task_wait_again(L, &self->waiters, ctx, call_k);
}

/* The stack has two values. Nothing may raise between the making of `data` and this. */
static struct call *new_call(lua_State *L) {
    lua_settop(L, CALL_AT - 1);
    struct call *self = bind_new(L, CALL_CLASS, sizeof *self);
    lua_toclose(L, CALL_AT);
    luaL_checkstack(L, 10, NULL);
    task_prepare(L);
    return self;
}

static int run(lua_State *L, struct call *self, void (*work)(void *data), void *data,
               double deadline) {
    struct errand_options options = {work, free, data, on_done, self};
    self->data = data;
    self->errand = data ? errand_start(&options) : NULL;
    if (!self->errand)
        return push_error(L, data ? errno : ENOMEM, "ask the gateway");
    return task_wait(L, &self->waiters, deadline, 0, call_k);
}

/* -- NAT-PMP ------------------------------------------------------------------------------- */

static int push_natpmp(lua_State *L, const void *data) {
    const struct natpmp *n = data;
    if (n->error)
        return push_failure(L, strerrorname_np(-n->error), "%s", n->message);
    lua_createtable(L, 0, 4);
    set_integer(L, "epoch", n->epoch);
    if (n->map) {
        set_integer(L, "port", n->port);
        set_integer(L, "lifetime", n->lifetime);
        return 1;
    }
    struct inet_addr addr = {.len = sizeof addr.v4,
                             .v4 = {.sin_family = AF_INET, .sin_addr = n->external}};
    char text[INET_TEXT_MAX];
    set_string(L, "ip", inet_ip(&addr, text));
    return 1;
}

static void work_natpmp(void *data) {
    natpmp_ask(data);
}

static struct natpmp check_natpmp(lua_State *L) {
    struct natpmp n = {.timeout = opt_number(L, 1, "timeout", 1)};
    struct inet_addr gateway;
    const char *ip = opt_string(L, 1, "gateway", "");
    if (inet_parse(&gateway, ip, 0) < 0 || gateway.any.sa_family != AF_INET)
        luaL_error(L, "option 'gateway': '%s' is not an IPv4 address", ip);
    lua_Integer lifetime = opt_integer(L, 1, "lifetime", 0);
    luaL_argcheck(L, lifetime >= 0 && lifetime <= UINT32_MAX, 1,
                  "option 'lifetime': seconds expected");
    luaL_argcheck(L, n.timeout > 0 && n.timeout <= 60, 1, "option 'timeout': 0 to 60 expected");
    n.gateway = gateway.v4.sin_addr;
    n.internal = (uint16_t)opt_port(L, 1, "internal_port", 0);
    n.port = (uint16_t)opt_port(L, 1, "external_port", 0);
    n.lifetime = (uint32_t)lifetime;
    n.map = n.internal != 0;
    return n;
}

/***
Asks a gateway by NAT-PMP (RFC 6886). Waits.
@function natpmp
@tparam table options gateway (an IPv4 address), timeout (seconds, 1); for a TCP mapping
 internal_port, external_port (a wish) and lifetime (seconds, 0: removes it), else its external
 address is asked for
@treturn[1] table epoch; ip, or of a mapping port and lifetime
@treturn[2] nil
@treturn[2] string message
@treturn[2] string code: ELIBACC without the library, ETIMEDOUT without an answer, EACCES when it
refuses
*/
static int l_natpmp(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct natpmp wanted = check_natpmp(L);
    struct call *self = new_call(L);
    struct natpmp *n = malloc(sizeof *n);
    if (n)
        *n = wanted;
    self->push = push_natpmp;
    return run(L, self, work_natpmp, n, INFINITY);
}

/* -- UPnP ---------------------------------------------------------------------------------- */

struct document {
    int error;
    size_t len;
    union {
        struct igd_description description;
        struct igd_reply reply;
    };
    char text[];
};

static struct document *new_document(const char *text, size_t len) {
    struct document *d = malloc(sizeof *d + len);
    if (!d)
        return NULL;
    d->len = len;
    memcpy(d->text, text, len);
    return d;
}

static int push_document_error(lua_State *L, int err) {
    if (err == -ELIBACC)
        return push_failure(L, "ELIBACC", "libminiupnpc is not installed");
    return push_error(L, err, "read what the gateway wrote");
}

static void work_description(void *data) {
    struct document *d = data;
    d->error = igd_parse_description(&d->description, d->text, d->len);
}

static void work_reply(void *data) {
    struct document *d = data;
    d->error = igd_parse_reply(&d->reply, d->text, d->len);
}

static void set_service(lua_State *L, const char *field, const struct igd_service *service) {
    if (!service->type[0] || !service->control[0])
        return;
    lua_createtable(L, 0, 2);
    set_string(L, "type", service->type);
    set_string(L, "control", service->control);
    lua_setfield(L, -2, field);
}

static int push_description(lua_State *L, const void *data) {
    const struct document *d = data;
    if (d->error)
        return push_document_error(L, d->error);
    lua_createtable(L, 0, 4);
    set_string(L, "url_base", d->description.url_base);
    set_service(L, "first", &d->description.first);
    set_service(L, "second", &d->description.second);
    set_service(L, "firewall", &d->description.firewall);
    return 1;
}

static int push_reply(lua_State *L, const void *data) {
    const struct document *d = data;
    if (d->error)
        return push_document_error(L, d->error);
    lua_createtable(L, 0, (int)d->reply.count);
    for (size_t i = 0; i < d->reply.count; i++)
        set_string(L, d->reply.values[i].name, d->reply.values[i].value);
    return 1;
}

static int parse(lua_State *L, void (*work)(void *data),
                 int (*push)(lua_State *L, const void *data)) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    double deadline = task_deadline(L, 2);
    if (len > IGD_DOCUMENT_MAX)
        return push_failure(L, "EMSGSIZE", "%d bytes are more than %d", (int)len, IGD_DOCUMENT_MAX);
    struct call *self = new_call(L);
    self->push = push;
    return run(L, self, work, new_document(text, len), deadline);
}

/***
Reads a device's description. Waits.
@function igd_description
@tparam string xml up to 64 KiB
@tparam[opt] number timeout seconds
@treturn table url_base; first and second (WAN connections), firewall (IPv6's), where there are
such: type and control; or nil, message, code (ELIBACC without the library)
*/
static int l_igd_description(lua_State *L) {
    return parse(L, work_description, push_description);
}

/***
Reads an answer to a call. Waits.
@function igd_reply
@tparam string xml up to 64 KiB
@tparam[opt] number timeout seconds
@treturn table text by element; or nil, message, code (ELIBACC without the library)
*/
static int l_igd_reply(lua_State *L) {
    return parse(L, work_reply, push_reply);
}

static const luaL_Reg METHODS[] = {{"close", m_close}, {NULL, NULL}};
static const luaL_Reg META[] = {{"__gc", m_close}, {"__close", m_close}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"natpmp", l_natpmp},
                                     {"igd_description", l_igd_description},
                                     {"igd_reply", l_igd_reply},
                                     {NULL, NULL}};

int bind_gateway(lua_State *L) {
    bind_class(L, CALL_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
