/* Two kinds of tasks wait on a client: those that receive, of whom a message wakes one, and those
 * that watch its state, who are all woken by a change. */
/***
MQTT clients that stay connected.
@module p2pd.core.mqtt
*/
#include "host/mqtt.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"

#define CLASS "p2pd.mqtt"
#define GUARD_CLASS "p2pd.mqtt.guard"
#define HOST_MAX 255

struct client {
    struct mqtt *mqtt; /* NULL: closed */
    struct waitlist receivers, watchers;
    int port;
    char host[HOST_MAX + 1];
};

static void on_change(void *owner) {
    struct client *self = owner;
    task_wake_all(&self->watchers);
}

static void on_message(void *owner) {
    struct client *self = owner;
    task_wake(&self->receivers);
}

static struct client *check_client(lua_State *L) {
    return luaL_checkudata(L, 1, CLASS);
}

static int push_closed(lua_State *L) {
    return push_failure(L, "EBADF", "the client is closed");
}

static enum mqtt_state state_of(const struct client *self) {
    return self->mqtt ? mqtt_state(self->mqtt) : MQTT_CLOSED;
}

/* -- open and close -------------------------------------------------------------------------- */

static const char *check_text(lua_State *L, const char *field) {
    const char *text = opt_string(L, 1, field, NULL);
    size_t len = 0;
    lua_getfield(L, 1, field);
    if (text)
        lua_tolstring(L, -1, &len);
    lua_pop(L, 1);
    if (text && (strlen(text) != len || len > UINT16_MAX))
        luaL_error(L, "option '%s': too long, or a NUL in it", field);
    return text;
}

static const char *check_host(lua_State *L) {
    const char *host = check_text(L, "host");
    luaL_argcheck(L, host && *host, 1, "option 'host' expected");
    size_t legal =
        strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:");
    if (host[legal] || legal > HOST_MAX)
        luaL_error(L, "option 'host': '%s' is not a host name or IP address", host);
    return host;
}

/* The proxy: options proxy_host, proxy_port, proxy_user and proxy_pass. */
static void check_proxy(lua_State *L, struct mqtt_options *o) {
    o->proxy.host = check_text(L, "proxy_host");
    o->proxy.port = opt_port(L, 1, "proxy_port", 3128);
    o->proxy.user = check_text(L, "proxy_user");
    o->proxy.pass = check_text(L, "proxy_pass");
    luaL_argcheck(L, o->proxy.port > 0, 1, "option 'proxy_port': 1 to 65535 expected");
}

static const char *check_path(lua_State *L) {
    const char *path = check_text(L, "websocket");
    if (!path)
        return NULL;
    luaL_argcheck(L, *path == '/' && strlen(path) <= MQTT_WEBSOCKET_PATH_MAX, 1,
                  "option 'websocket': a path expected");
    for (const char *p = path; *p; p++)
        luaL_argcheck(L, *p > ' ' && *p < 0x7f, 1, "option 'websocket': a path expected");
    return path;
}

static struct mqtt_options check_options(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct mqtt_options o = {.host = check_host(L), .tls = opt_boolean(L, 1, "tls", false)};
    o.port = opt_port(L, 1, "port", o.tls ? 8883 : 1883);
    o.ca = check_text(L, "ca");
    o.cert = check_text(L, "cert");
    o.key = check_text(L, "key");
    o.websocket = check_path(L);
    check_proxy(L, &o);
    o.user = check_text(L, "user");
    o.pass = check_text(L, "pass");
    o.client_id = check_text(L, "client_id");
    lua_Integer keepalive = opt_integer(L, 1, "keepalive", 30);
    o.connect_timeout_s = opt_number(L, 1, "connect_timeout", 5);
    luaL_argcheck(L, o.port > 0, 1, "option 'port': 1 to 65535 expected");
    luaL_argcheck(L, o.user || !o.pass, 1, "option 'pass' needs option 'user'");
    luaL_argcheck(L, o.tls || !o.ca, 1, "option 'ca' needs option 'tls'");
    luaL_argcheck(L, o.tls || !o.cert, 1, "option 'cert' needs option 'tls'");
    luaL_argcheck(L, o.cert || !o.key, 1, "option 'key' needs option 'cert'");
    luaL_argcheck(L, keepalive > 0 && keepalive <= UINT16_MAX, 1,
                  "option 'keepalive': 1 to 65535 seconds expected");
    luaL_argcheck(L, o.connect_timeout_s > 0 && o.connect_timeout_s <= 3600, 1,
                  "option 'connect_timeout': more than 0 and at most 3600 seconds expected");
    o.keepalive_s = (int)keepalive;
    return o;
}

/*** A client for one broker, which it starts to reach at once and stays connected to until closed.
 * @function open
 * @tparam table options host, port (1883, with TLS 8883), tls, ca (PEM file), cert and
 * key (PEM files of a certificate of ours; without key it is in the same file), websocket (its
 * path), proxy_host, proxy_port (3128), proxy_user, proxy_pass (an HTTP proxy that is asked to
 * CONNECT), user, pass, client_id, keepalive (s, 30), connect_timeout (s, 5)
 * @treturn client or nil, message, code of the ca file
 */
static int l_open(lua_State *L) {
    struct mqtt_options options = check_options(L);
    struct client *self = bind_new(L, CLASS, sizeof *self);
    strcpy(self->host, options.host);
    self->port = options.port;
    struct mqtt_events events = {on_change, on_message, self};
    int err = mqtt_open(&self->mqtt, &options, events);
    if (err < 0)
        return push_error(L, err, "ca file '%s'", options.ca ? options.ca : "");
    return 1;
}

/*** Disconnects; what is queued may still go out. Never waits; can be called twice.
 * @function client:close
 */
static int m_close(lua_State *L) {
    struct client *self = check_client(L);
    if (!self->mqtt)
        return 0;
    mqtt_close(self->mqtt);
    self->mqtt = NULL;
    task_wake_all(&self->receivers);
    task_wake_all(&self->watchers);
    return 0;
}

/* -- messages -------------------------------------------------------------------------------- */

static const char *check_topic(lua_State *L, const char *illegal) {
    size_t len;
    const char *topic = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, len > 0 && len <= UINT16_MAX, 2, "a topic of 1 to 65535 bytes expected");
    luaL_argcheck(L, strlen(topic) == len, 2, "a topic has no NUL");
    luaL_argcheck(L, !topic[strcspn(topic, illegal)], 2, "a topic to publish to has no wildcard");
    return topic;
}

/*** Receives the topic's messages, now and after every reconnect.
 * @function client:subscribe
 * @tparam string topic may hold wildcards (MQTT 5 §4.7.1)
 * @treturn true or nil, message, code
 */
static int m_subscribe(lua_State *L) {
    struct client *self = check_client(L);
    const char *topic = check_topic(L, "");
    if (!self->mqtt)
        return push_closed(L);
    mqtt_subscribe(self->mqtt, topic);
    lua_pushboolean(L, true);
    return 1;
}

static int push_unsent(lua_State *L, const struct client *self, int err) {
    size_t packet_max = mqtt_packet_max(self->mqtt);
    if (err == -EMSGSIZE && packet_max)
        return push_failure(L, "EMSGSIZE", "mqtt %s port %d takes no packet over %d bytes",
                            self->host, self->port, (int)packet_max);
    if (err == -EMSGSIZE)
        return push_failure(L, "EMSGSIZE", "the payload is over %d bytes", MQTT_PAYLOAD_MAX);
    if (err == -ENOTCONN)
        return push_failure(L, "ENOTCONN", "mqtt %s port %d is %s", self->host, self->port,
                            mqtt_state_name(state_of(self)));
    return push_error(L, err, "mqtt %s port %d", self->host, self->port);
}

/*** Sends at QoS 0.
 * @function client:publish
 * @tparam string topic
 * @tparam string payload up to 64 KiB
 * @tparam[opt] integer expiry_seconds after which a broker drops it (MQTT 5)
 * @treturn true or nil, message, code: ENOTCONN, EMSGSIZE, ENOBUFS
 */
static int m_publish(lua_State *L) {
    struct client *self = check_client(L);
    size_t len;
    const char *topic = check_topic(L, "+#");
    const char *payload = luaL_checklstring(L, 3, &len);
    lua_Number expiry = luaL_optnumber(L, 4, 0);
    luaL_argcheck(L, expiry >= 0 && expiry <= INT32_MAX, 4, "seconds, 0 or more, expected");
    if (!self->mqtt)
        return push_closed(L);
    int err = mqtt_publish(self->mqtt, topic, payload, len, (int)ceil(expiry));
    if (err < 0)
        return push_unsent(L, self, err);
    lua_pushboolean(L, true);
    return 1;
}

/* False when there is none. Pushing may raise, so the message is dropped when it is done. */
static bool push_message(lua_State *L, struct client *self) {
    const struct mqtt_message *message = mqtt_first(self->mqtt);
    if (!message)
        return false;
    lua_pushlstring(L, message->topic, message->topic_len);
    lua_pushlstring(L, message->payload, message->len);
    mqtt_drop_first(self->mqtt);
    return true;
}

static int receive_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    struct client *self = lua_touserdata(L, 1);
    if (!self->mqtt)
        return push_closed(L);
    if (push_message(L, self))
        return 2;
    if (task_expired())
        return task_push_timeout(L);
    return task_wait_again(L, &self->receivers, 0, receive_k);
}

/*** The next message.
 * @function client:receive
 * @tparam[opt] number timeout seconds
 * @treturn string topic or nil, message, code
 * @treturn string payload
 */
static int m_receive(lua_State *L) {
    struct client *self = check_client(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    if (!self->mqtt)
        return push_closed(L);
    if (push_message(L, self))
        return 2;
    return task_wait(L, &self->receivers, deadline, 0, receive_k);
}

/* -- state ----------------------------------------------------------------------------------- */

static int push_offline(lua_State *L, const struct client *self) {
    return push_failure(L, mqtt_code(self->mqtt), "mqtt %s port %d: %s", self->host, self->port,
                        mqtt_reason(self->mqtt));
}

/* Pushes what wait_online() gives, or returns 0 when it has to wait. */
static int push_online(lua_State *L, const struct client *self, unsigned failures) {
    if (!self->mqtt)
        return push_closed(L);
    if (!mqtt_is_subscribed(self->mqtt) && mqtt_failures(self->mqtt) != failures)
        return push_offline(L, self);
    if (!mqtt_is_subscribed(self->mqtt))
        return 0;
    lua_pushboolean(L, true);
    return 1;
}

static int wait_online_k(lua_State *L, int status, lua_KContext failures) {
    (void)status;
    struct client *self = lua_touserdata(L, 1);
    int n = push_online(L, self, (unsigned)failures);
    if (n)
        return n;
    if (task_expired())
        return task_push_timeout(L);
    return task_wait_again(L, &self->watchers, failures, wait_online_k);
}

/*** Waits until the client is connected and the broker has confirmed every topic, or until the
 * first attempt to connect since the call has failed.
 * @function client:wait_online
 * @tparam[opt] number timeout seconds
 * @treturn true or nil, message, code
 */
static int m_wait_online(lua_State *L) {
    struct client *self = check_client(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    unsigned failures = self->mqtt ? mqtt_failures(self->mqtt) : 0;
    int n = push_online(L, self, failures);
    return n ? n : task_wait(L, &self->watchers, deadline, (lua_KContext)failures, wait_online_k);
}

/*** "connecting", "online", "offline", "refused" (the broker refuses a topic; it is asked again
 * after a minute) or "closed".
 * @function client:state
 * @treturn string state
 * @treturn string|nil why the last attempt failed or the last connection ended
 */
static int m_state(lua_State *L) {
    struct client *self = check_client(L);
    enum mqtt_state state = state_of(self);
    lua_pushstring(L, mqtt_state_name(state));
    if (state == MQTT_CLOSED || state == MQTT_ONLINE || !*mqtt_reason(self->mqtt))
        return 1;
    lua_pushstring(L, mqtt_reason(self->mqtt));
    return 2;
}

static int wait_change_k(lua_State *L, int status, lua_KContext previous) {
    (void)status;
    struct client *self = lua_touserdata(L, 1);
    enum mqtt_state state = state_of(self);
    if ((lua_KContext)state != previous) {
        lua_pushstring(L, mqtt_state_name(state));
        return 1;
    }
    if (task_expired())
        return task_push_timeout(L);
    return task_wait_again(L, &self->watchers, previous, wait_change_k);
}

/*** Waits until the state is another one.
 * @function client:wait_change
 * @tparam string previous the state known to the caller
 * @tparam[opt] number timeout seconds
 * @treturn string the new state, or nil, message, code
 */
static int m_wait_change(lua_State *L) {
    static const char *const STATES[] = {"connecting", "online", "offline",
                                         "refused",    "closed", NULL};
    struct client *self = check_client(L);
    int previous = luaL_checkoption(L, 2, NULL, STATES);
    double deadline = task_deadline(L, 3);
    task_prepare(L);
    if ((int)state_of(self) != previous) {
        lua_pushstring(L, mqtt_state_name(state_of(self)));
        return 1;
    }
    return task_wait(L, &self->watchers, deadline, previous, wait_change_k);
}

static int push_endpoint(lua_State *L, int (*find)(const struct mqtt *, struct inet_addr *)) {
    struct client *self = check_client(L);
    struct inet_addr addr;
    char text[INET_TEXT_MAX];
    if (!self->mqtt)
        return push_closed(L);
    int err = find(self->mqtt, &addr);
    if (err)
        return push_error(L, err, "mqtt %s port %d", self->host, self->port);
    lua_pushstring(L, inet_ip(&addr, text));
    lua_pushinteger(L, inet_port(&addr));
    return 2;
}

/*** The local address of the connection.
 * @function client:getsockname
 * @return ip and port; or nil, message, code (ENOTCONN)
 */
static int m_getsockname(lua_State *L) {
    return push_endpoint(L, mqtt_local);
}

/*** The broker's address.
 * @function client:getpeername
 * @return ip and port; or nil, message, code (ENOTCONN)
 */
static int m_getpeername(lua_State *L) {
    return push_endpoint(L, mqtt_remote);
}

/*** Gives up the connection, or the attempt, and connects anew at once: for when the network is
 * another one.
 * @function client:reconnect
 * @tparam string why
 * @treturn true or nil, message, code
 */
static int m_reconnect(lua_State *L) {
    struct client *self = check_client(L);
    const char *why = luaL_checkstring(L, 2);
    if (!self->mqtt)
        return push_closed(L);
    mqtt_reconnect(self->mqtt, why);
    lua_pushboolean(L, true);
    return 1;
}

/*** Counters: received, sent, dropped (messages), reconnects, and protocol (5, or 4 for 3.1.1; 0
 * before the first connection).
 * @function client:stats
 * @treturn table or nil, message, code
 */
static int m_stats(lua_State *L) {
    struct client *self = check_client(L);
    if (!self->mqtt)
        return push_closed(L);
    struct mqtt_stats stats = mqtt_stats(self->mqtt);
    lua_createtable(L, 0, 5);
    set_integer(L, "received", stats.received);
    set_integer(L, "sent", stats.sent);
    set_integer(L, "dropped", stats.dropped);
    set_integer(L, "reconnects", stats.reconnects);
    set_integer(L, "protocol", stats.protocol);
    return 1;
}

static int m_tostring(lua_State *L) {
    struct client *self = check_client(L);
    lua_pushfstring(L, "mqtt client %s port %d (%s)", self->host, self->port,
                    mqtt_state_name(state_of(self)));
    return 1;
}

/* Made before every client, so collected after them when the state is closed. */
static int m_shutdown(lua_State *L) {
    (void)L;
    mqtt_shutdown();
    return 0;
}

static void make_guard(lua_State *L) {
    lua_newuserdatauv(L, 0, 0);
    luaL_newmetatable(L, GUARD_CLASS);
    lua_pushcfunction(L, m_shutdown);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    luaL_ref(L, LUA_REGISTRYINDEX);
}

static const luaL_Reg METHODS[] = {{"subscribe", m_subscribe},
                                   {"publish", m_publish},
                                   {"receive", m_receive},
                                   {"wait_online", m_wait_online},
                                   {"wait_change", m_wait_change},
                                   {"state", m_state},
                                   {"stats", m_stats},
                                   {"getsockname", m_getsockname},
                                   {"getpeername", m_getpeername},
                                   {"reconnect", m_reconnect},
                                   {"close", m_close},
                                   {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"open", l_open}, {NULL, NULL}};

int bind_mqtt(lua_State *L) {
    make_guard(L);
    bind_class(L, CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
