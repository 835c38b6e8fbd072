/*
 * A link wraps one paho handle from creation to destruction. It is used for one attempt only: paho
 * keeps commands, retry state and its version in the handle, and a fresh one has none of that.
 * paho's callbacks run on its threads under its global mutex, so they copy and loop_post(). Posts
 * are delivered in order, which settles the lifetime: after MQTTAsync_destroy() paho is silent, so
 * the post that frees the link is the last one that names it.
 */
#include "host/mqtt/link.h"

#include <MQTTAsync.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/loop.h"
#include "host/mqtt/paho.h"

#define TEXT_MAX 256
#define TLS_TEXT_MAX 120
#define URI_MAX 320

/* Passed to paho with each SUBSCRIBE; freed with the link, for paho may drop a command silently. */
struct subscription {
    struct mqtt_link *link;
    struct subscription *next;
    char topic[];
};

struct mqtt_link {
    struct mqtt_link_config config;
    void *owner; /* loop thread */
    void (*on_event)(void *owner, const struct mqtt_link_event *event);

    MQTTAsync handle;                   /* worker threads */
    struct subscription *subscriptions; /* worker threads */
    bool tuned;                         /* worker threads: TCP_NODELAY is set */
    char tls_error[TLS_TEXT_MAX];       /* under paho's mutex */

    atomic_int sent;     /* since mqtt_link_take_sent() */
    atomic_int unsent;   /* messages that paho has and has not sent */
    atomic_int incoming; /* messages posted to the loop and not delivered there */
    atomic_size_t incoming_bytes;
};

struct posted {
    struct mqtt_link *link;
    struct mqtt_link_event event;
    char text[];
};

static void deliver(void *arg) {
    struct posted *p = arg;
    struct mqtt_link *link = p->link;
    struct mqtt_message *message = p->event.message;
    if (message) {
        atomic_fetch_sub(&link->incoming, 1);
        atomic_fetch_sub(&link->incoming_bytes, message->topic_len + message->len);
    }
    if (link->owner)
        link->on_event(link->owner, &p->event);
    else
        free(message);
    free(p);
}

static void post(struct mqtt_link *link, struct mqtt_link_event event) {
    const char *text = event.text ? event.text : "";
    struct posted *p = malloc(sizeof *p + strlen(text) + 1);
    if (!p)
        abort();
    p->link = link;
    p->event = event;
    p->event.text = strcpy(p->text, text);
    loop_post(deliver, p);
}

/* What paho says of a failure to connect, in words that tell the step. */
static void explain(struct mqtt_link *link, int code, const char *message, char *text) {
    static const char *const REFUSALS[] = {"accepted",
                                           "protocol version refused",
                                           "client id refused",
                                           "server unavailable",
                                           "bad user name or password",
                                           "not authorized"}; /* MQTT 3.1.1 §3.2.2.3 */
    bool tcp_or_tls = message && strcmp(message, "TCP/TLS connect failure") == 0;
    if (code > 0 && link->config.version == MQTTVERSION_5 && MQTTReasonCode_toString(code))
        snprintf(text, TEXT_MAX, "the broker refused CONNECT: %s", MQTTReasonCode_toString(code));
    else if (code > 0 && code < (int)(sizeof REFUSALS / sizeof *REFUSALS))
        snprintf(text, TEXT_MAX, "the broker refused CONNECT: %s", REFUSALS[code]);
    else if (link->tls_error[0])
        snprintf(text, TEXT_MAX, "TLS handshake: %s", link->tls_error);
    else if (tcp_or_tls && link->config.options->tls)
        snprintf(text, TEXT_MAX,
                 "TLS handshake: the certificate is not for %s, or the connection was reset",
                 link->config.options->host);
    else if (tcp_or_tls)
        snprintf(text, TEXT_MAX, "TCP connect failed");
    else if (code == MQTTASYNC_FAILURE)
        snprintf(text, TEXT_MAX, "the broker closed the connection after CONNECT");
    else
        snprintf(text, TEXT_MAX, "%s", message ? message : MQTTAsync_strerror(code));
}

static void connect_failed(struct mqtt_link *link, int code, const char *message) {
    char text[TEXT_MAX];
    explain(link, code, message, text);
    bool early = code == MQTTASYNC_FAILURE && message && strstr(message, "TCP/TLS") == NULL &&
                 strstr(message, "timeout") == NULL;
    post(link, (struct mqtt_link_event){
                   .kind = MQTT_LINK_FAILED, .code = code, .closed_early = early, .text = text});
}

static void on_connect_failure(void *context, MQTTAsync_failureData *failure) {
    connect_failed(context, failure ? failure->code : MQTTASYNC_FAILURE,
                   failure ? failure->message : NULL);
}

static void on_connect_failure5(void *context, MQTTAsync_failureData5 *failure) {
    int code = failure->code;
    if (code >= 0 && failure->reasonCode > 0)
        code = failure->reasonCode;
    connect_failed(context, code, failure->message);
}

static void on_connect(void *context, MQTTAsync_successData *response) {
    (void)response;
    post(context, (struct mqtt_link_event){.kind = MQTT_LINK_UP});
}

static void on_connect5(void *context, MQTTAsync_successData5 *response) {
    (void)response;
    post(context, (struct mqtt_link_event){.kind = MQTT_LINK_UP});
}

static void on_lost(void *context, char *cause) {
    post(context, (struct mqtt_link_event){.kind = MQTT_LINK_LOST,
                                           .text = cause ? cause : "connection lost"});
}

/* A DISCONNECT from the broker (MQTT 5): paho does not call on_lost() after it. */
static void on_disconnected(void *context, MQTTProperties *properties, enum MQTTReasonCodes code) {
    (void)properties;
    const char *reason = MQTTReasonCode_toString(code);
    post(context, (struct mqtt_link_event){.kind = MQTT_LINK_LOST,
                                           .code = code,
                                           .text = reason ? reason : "disconnected by the broker"});
}

static bool too_much(struct mqtt_link *link, size_t size, size_t len) {
    return len > MQTT_PAYLOAD_MAX || atomic_load(&link->incoming) >= MQTT_QUEUE_MAX ||
           atomic_load(&link->incoming_bytes) + size > MQTT_QUEUE_BYTES_MAX;
}

static int on_message(void *context, char *topic, int topic_len, MQTTAsync_message *message) {
    struct mqtt_link *link = context;
    size_t len = (size_t)message->payloadlen, tlen = topic_len ? (size_t)topic_len : strlen(topic);
    if (too_much(link, tlen + len, len)) {
        post(link, (struct mqtt_link_event){.kind = MQTT_LINK_DROPPED});
    } else {
        atomic_fetch_add(&link->incoming, 1);
        atomic_fetch_add(&link->incoming_bytes, tlen + len);
        struct mqtt_message *copy = mqtt_message_new(topic, tlen, message->payload, len);
        post(link, (struct mqtt_link_event){.kind = MQTT_LINK_MESSAGE, .message = copy});
    }
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

static void one_sent(struct mqtt_link *link) {
    if (atomic_fetch_sub(&link->unsent, 1) == 1)
        post(link, (struct mqtt_link_event){.kind = MQTT_LINK_DRAINED});
}

static void on_sent(void *context, MQTTAsync_successData *response) {
    (void)response;
    atomic_fetch_add(&((struct mqtt_link *)context)->sent, 1);
    one_sent(context);
}

static void on_sent5(void *context, MQTTAsync_successData5 *response) {
    (void)response;
    atomic_fetch_add(&((struct mqtt_link *)context)->sent, 1);
    one_sent(context);
}

static void on_not_sent(void *context, MQTTAsync_failureData *failure) {
    (void)failure;
    one_sent(context);
}

static void on_not_sent5(void *context, MQTTAsync_failureData5 *failure) {
    (void)failure;
    one_sent(context);
}

static void subscribed(struct subscription *s, int code) {
    post(s->link,
         (struct mqtt_link_event){.kind = MQTT_LINK_SUBACK, .code = code, .text = s->topic});
}

static void on_subscribed(void *context, MQTTAsync_successData *response) {
    (void)response;
    subscribed(context, 0);
}

static void on_subscribed5(void *context, MQTTAsync_successData5 *response) {
    (void)response;
    subscribed(context, 0);
}

static void on_refused(void *context, MQTTAsync_failureData *failure) {
    (void)failure;
    subscribed(context, MQTTREASONCODE_UNSPECIFIED_ERROR);
}

static void on_refused5(void *context, MQTTAsync_failureData5 *failure) {
    subscribed(context, failure && failure->reasonCode ? (int)failure->reasonCode
                                                       : MQTTREASONCODE_UNSPECIFIED_ERROR);
}

/* The first line of OpenSSL's error queue: "THREAD:error:CODE:LIBRARY:FUNCTION:REASON:FILE:..." */
static int on_tls_error(const char *line, size_t len, void *context) {
    struct mqtt_link *link = context;
    const char *end = line + len, *at = line;
    for (int field = 0; at && field < 5; field++) {
        at = memchr(at, ':', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    if (link->tls_error[0] || !at)
        return 0;
    const char *stop = memchr(at, ':', (size_t)(end - at));
    snprintf(link->tls_error, sizeof link->tls_error, "%.*s", (int)((stop ? stop : end) - at), at);
    return 1;
}

struct mqtt_link *mqtt_link_new(const struct mqtt_link_config *config, void *owner,
                                void (*on_event)(void *, const struct mqtt_link_event *)) {
    struct mqtt_link *link = calloc(1, sizeof *link);
    if (!link)
        abort();
    link->config = *config;
    link->owner = owner;
    link->on_event = on_event;
    return link;
}

void mqtt_link_orphan(struct mqtt_link *link) {
    link->owner = NULL;
}

int mqtt_link_take_sent(struct mqtt_link *link) {
    return atomic_exchange(&link->sent, 0);
}

int mqtt_link_unsent(struct mqtt_link *link) {
    return atomic_load(&link->unsent);
}

/* A name only where TLS has to verify it; else the address, which paho need not resolve. */
static void make_uri(const struct mqtt_link_config *config, char *uri) {
    const struct mqtt_options *o = config->options;
    char address[INET_TEXT_MAX];
    if (!o->tls)
        snprintf(uri, URI_MAX, "tcp://%s", inet_format(&config->addrs[config->addr], address));
    else if (strchr(o->host, ':'))
        snprintf(uri, URI_MAX, "ssl://[%s]:%d", o->host, o->port);
    else
        snprintf(uri, URI_MAX, "ssl://%s:%d", o->host, o->port);
}

static int create(struct mqtt_link *link) {
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer5;
    options.MQTTVersion = link->config.version;
    char uri[URI_MAX];
    make_uri(&link->config, uri);
    int rc = MQTTAsync_createWithOptions(&link->handle, uri, link->config.options->client_id,
                                         MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
    if (rc == MQTTASYNC_SUCCESS)
        rc = MQTTAsync_setCallbacks(link->handle, link, on_lost, on_message, NULL);
    if (rc == MQTTASYNC_SUCCESS && link->config.version == MQTTVERSION_5)
        rc = MQTTAsync_setDisconnected(link->handle, link, on_disconnected);
    return rc;
}

static MQTTAsync_connectOptions connect_options(struct mqtt_link *link, MQTTAsync_SSLOptions *tls) {
    const struct mqtt_options *o = link->config.options;
    MQTTAsync_connectOptions v4 = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions v5 = MQTTAsync_connectOptions_initializer5;
    MQTTAsync_connectOptions c = link->config.version == MQTTVERSION_5 ? v5 : v4;
    c.MQTTVersion = link->config.version;
    c.keepAliveInterval = o->keepalive_s;
    c.connectTimeout = (int)o->connect_timeout_s + 1;
    c.username = o->user;
    c.password = o->pass;
    c.context = link;
    if (link->config.version == MQTTVERSION_5) {
        c.onSuccess5 = on_connect5;
        c.onFailure5 = on_connect_failure5;
    } else {
        c.onSuccess = on_connect;
        c.onFailure = on_connect_failure;
    }
    if (o->tls)
        c.ssl = tls;
    return c;
}

int mqtt_link_open(struct mqtt_link *link) {
    mqtt_paho_start();
    int rc = create(link);
    if (rc != MQTTASYNC_SUCCESS)
        return rc;
    MQTTAsync_SSLOptions tls = MQTTAsync_SSLOptions_initializer;
    tls.trustStore = link->config.options->ca;
    tls.enableServerCertAuth = 1;
    tls.verify = 1;
    tls.ssl_error_cb = on_tls_error;
    tls.ssl_error_context = link;
    MQTTAsync_connectOptions options = connect_options(link, &tls);
    return MQTTAsync_connect(link->handle, &options);
}

static bool is_broker(const struct mqtt_link *link, const struct inet_addr *peer) {
    if (peer->any.sa_family != AF_INET && peer->any.sa_family != AF_INET6)
        return false;
    for (int i = 0; i < link->config.addr_count; i++)
        if (inet_equal(&link->config.addrs[i], peer))
            return true;
    return false;
}

/*
 * paho leaves Nagle's algorithm on, which holds the second of two small packets back until the
 * broker's delayed acknowledgement (40 ms), and it does not tell its descriptor. So: every socket
 * of the process that is connected to this broker. Should one be closed meanwhile, the option lands
 * on another socket, where it does no harm.
 */
static void set_nodelay(struct mqtt_link *link) {
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        int fd = atoi(entry->d_name);
        struct inet_addr peer = {.len = sizeof peer.v6};
        if (entry->d_name[0] != '.' && getpeername(fd, &peer.any, &peer.len) == 0 &&
            is_broker(link, &peer))
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    closedir(dir);
}

static void send_subscribe(struct mqtt_link *link, const struct mqtt_message *m) {
    struct subscription *s = malloc(sizeof *s + m->topic_len + 1);
    if (!s)
        abort();
    s->link = link;
    s->next = link->subscriptions;
    strcpy(s->topic, m->topic);
    link->subscriptions = s;
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.context = s;
    if (link->config.version == MQTTVERSION_5) {
        options.subscribeOptions.noLocal = 1;
        options.onSuccess5 = on_subscribed5;
        options.onFailure5 = on_refused5;
    } else {
        options.onSuccess = on_subscribed;
        options.onFailure = on_refused;
    }
    if (MQTTAsync_subscribe(link->handle, s->topic, 0, &options) != MQTTASYNC_SUCCESS)
        subscribed(s, MQTTREASONCODE_UNSPECIFIED_ERROR);
}

static void send_publish(struct mqtt_link *link, const struct mqtt_message *m) {
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.context = link;
    if (link->config.version == MQTTVERSION_5) {
        options.onSuccess5 = on_sent5;
        options.onFailure5 = on_not_sent5;
        MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL,
                               .value.integer4 = (unsigned)m->expiry_s};
        if (m->expiry_s > 0)
            MQTTProperties_add(&options.properties, &expiry);
    } else {
        options.onSuccess = on_sent;
        options.onFailure = on_not_sent;
    }
    atomic_fetch_add(&link->unsent, 1);
    if (MQTTAsync_send(link->handle, m->topic, (int)m->len, m->payload, 0, 0, &options) !=
        MQTTASYNC_SUCCESS)
        one_sent(link);
    MQTTProperties_free(&options.properties);
}

void mqtt_link_send(struct mqtt_link *link, struct mqtt_message *list) {
    if (!link->tuned)
        set_nodelay(link);
    link->tuned = true;
    for (struct mqtt_message *m = list, *next; m; m = next) {
        next = m->next;
        if (m->subscribe)
            send_subscribe(link, m);
        else
            send_publish(link, m);
        free(m);
    }
}

static void release(void *arg) {
    struct mqtt_link *link = arg;
    for (struct subscription *s = link->subscriptions, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    free(link);
}

/* Destroying sends DISCONNECT where there is a connection. */
void mqtt_link_close(struct mqtt_link *link) {
    if (link->handle)
        MQTTAsync_destroy(&link->handle);
    loop_post(release, link);
}
