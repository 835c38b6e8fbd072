/*
 * A handle is used for one connection only: paho keeps commands, retry state and its version in it,
 * and a fresh one has none of that. paho's callbacks run on its threads under its global mutex, so
 * they copy and loop_post(). Posts are delivered in order, which settles the lifetime: after
 * MQTTAsync_destroy() paho is silent, so the post that frees the handle is the last one that names
 * it. Calls from the loop do not block: paho resolves no name and makes no connection (calls.c),
 * and holds its mutexes only as long as a callback or a non-blocking write takes. What would is the
 * end of its two threads, which it waits for when its last handle goes
 * (https://github.com/eclipse-paho/paho.mqtt.c/issues/1107): so one of no connection stays.
 */
#include "host/mqtt/paho/handle.h"

#include <MQTTAsync.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/loop.h"
#include "host/mqtt/connack.h"
#include "host/mqtt/paho/calls.h"

#define TEXT_MAX 256

/* Passed to paho with each SUBSCRIBE; freed with the handle, for paho may drop a command silently.
 */
struct subscription {
    struct paho_handle *handle;
    struct subscription *next;
    char topic[];
};

struct paho_handle {
    MQTTAsync paho;
    int version;
    int port; /* of the descriptor that paho is to take */
    void *owner;
    void (*on_event)(void *owner, const struct mqtt_event *event); /* NULL: closed */
    struct subscription *subscriptions;

    atomic_int sent;     /* since paho_handle_take_sent() */
    atomic_int unsent;   /* messages that paho has and has not sent */
    atomic_int incoming; /* messages posted to the loop and not delivered there */
    atomic_size_t incoming_bytes;
};

struct posted {
    struct paho_handle *handle;
    struct mqtt_event event;
    char text[]; /* the event's text and reference */
};

/* -- paho's threads -------------------------------------------------------------------------- */

static void deliver(void *arg) {
    struct posted *p = arg;
    struct paho_handle *handle = p->handle;
    struct mqtt_message *message = p->event.message;
    if (message) {
        atomic_fetch_sub(&handle->incoming, 1);
        atomic_fetch_sub(&handle->incoming_bytes, message->topic_len + message->len);
    }
    if (handle->on_event)
        handle->on_event(handle->owner, &p->event);
    else
        free(message);
    free(p);
}

static void post(struct paho_handle *handle, struct mqtt_event event) {
    const char *text = event.text ? event.text : "";
    const char *reference = event.reference ? event.reference : "";
    size_t size = strlen(text) + 1;
    struct posted *p = malloc(sizeof *p + size + strlen(reference) + 1);
    if (!p)
        abort();
    p->handle = handle;
    p->event = event;
    p->event.text = strcpy(p->text, text);
    if (event.reference)
        p->event.reference = strcpy(p->text + size, reference);
    loop_post(deliver, p);
}

static void explain(const struct paho_handle *handle, int code, const char *message, char *text) {
    static const char *const REFUSALS[] = {"accepted",
                                           "protocol version refused",
                                           "client id refused",
                                           "server unavailable",
                                           "bad user name or password",
                                           "not authorized"}; /* MQTT 3.1.1 §3.2.2.3 */
    if (code > 0 && handle->version == MQTTVERSION_5 && MQTTReasonCode_toString(code))
        snprintf(text, TEXT_MAX, "the broker refused CONNECT: %s", MQTTReasonCode_toString(code));
    else if (code > 0 && code < (int)(sizeof REFUSALS / sizeof *REFUSALS))
        snprintf(text, TEXT_MAX, "the broker refused CONNECT: %s", REFUSALS[code]);
    else if (code == MQTTASYNC_FAILURE)
        snprintf(text, TEXT_MAX, "the broker closed the connection after CONNECT");
    else
        snprintf(text, TEXT_MAX, "%s", message ? message : MQTTAsync_strerror(code));
}

static void connect_failed(struct paho_handle *handle, int code, const char *message) {
    char text[TEXT_MAX];
    explain(handle, code, message, text);
    bool early = code == MQTTASYNC_FAILURE && message && strstr(message, "timeout") == NULL;
    post(handle, (struct mqtt_event){
                     .kind = MQTT_FAILED, .code = code, .closed_early = early, .text = text});
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
    post(context, (struct mqtt_event){.kind = MQTT_UP});
}

static void on_connect5(void *context, MQTTAsync_successData5 *response) {
    (void)response;
    post(context, (struct mqtt_event){.kind = MQTT_UP});
}

static void on_lost(void *context, char *cause) {
    post(context, (struct mqtt_event){.kind = MQTT_LOST, .text = cause});
}

static bool read_reference(MQTTProperties *properties, char *out) {
    const MQTTProperty *p =
        properties ? MQTTProperties_getPropertyAt(properties, MQTTPROPERTY_CODE_SERVER_REFERENCE, 0)
                   : NULL;
    if (!p || p->value.data.len <= 0 || p->value.data.len > MQTT_REFERENCE_MAX)
        return false;
    snprintf(out, MQTT_REFERENCE_MAX + 1, "%.*s", p->value.data.len, p->value.data.data);
    return true;
}

/* A DISCONNECT from the broker (MQTT 5): paho does not call on_lost() after it. */
static void on_disconnected(void *context, MQTTProperties *properties, enum MQTTReasonCodes code) {
    const char *reason = MQTTReasonCode_toString(code);
    char reference[MQTT_REFERENCE_MAX + 1];
    bool named = read_reference(properties, reference);
    post(context, (struct mqtt_event){.kind = MQTT_LOST,
                                      .code = code,
                                      .text = reason ? reason : "disconnected by the broker",
                                      .reference = named ? reference : NULL});
}

static bool too_much(struct paho_handle *handle, size_t size, size_t len) {
    return len > MQTT_PAYLOAD_MAX || atomic_load(&handle->incoming) >= MQTT_QUEUE_MAX ||
           atomic_load(&handle->incoming_bytes) + size > MQTT_QUEUE_BYTES_MAX;
}

static int on_message(void *context, char *topic, int topic_len, MQTTAsync_message *message) {
    struct paho_handle *handle = context;
    size_t len = (size_t)message->payloadlen, tlen = topic_len ? (size_t)topic_len : strlen(topic);
    if (too_much(handle, tlen + len, len)) {
        post(handle, (struct mqtt_event){.kind = MQTT_DROPPED});
    } else {
        atomic_fetch_add(&handle->incoming, 1);
        atomic_fetch_add(&handle->incoming_bytes, tlen + len);
        struct mqtt_message *copy = mqtt_message_new(topic, tlen, message->payload, len);
        post(handle, (struct mqtt_event){.kind = MQTT_MESSAGE, .message = copy});
    }
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

static void one_sent(struct paho_handle *handle) {
    if (atomic_fetch_sub(&handle->unsent, 1) == 1)
        post(handle, (struct mqtt_event){.kind = MQTT_ROOM});
}

static void on_sent(void *context, MQTTAsync_successData *response) {
    (void)response;
    atomic_fetch_add(&((struct paho_handle *)context)->sent, 1);
    one_sent(context);
}

static void on_sent5(void *context, MQTTAsync_successData5 *response) {
    (void)response;
    atomic_fetch_add(&((struct paho_handle *)context)->sent, 1);
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
    post(s->handle, (struct mqtt_event){.kind = MQTT_SUBACK, .code = code, .text = s->topic});
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

/* -- opening --------------------------------------------------------------------------------- */

static int create(MQTTAsync *paho, int port, const char *client_id, int version) {
    char uri[32];
    snprintf(uri, sizeof uri, "tcp://127.0.0.1:%d", port);
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer5;
    options.MQTTVersion = version;
    return MQTTAsync_createWithOptions(paho, uri, client_id, MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                       &options);
}

/* Keeps paho's threads, and what they share, until the process ends. */
static void keep_paho(void) {
    static MQTTAsync anchor;
    if (!anchor)
        create(&anchor, 1, "p2pd", MQTTVERSION_3_1_1);
}

static int set_callbacks(struct paho_handle *handle) {
    int rc = MQTTAsync_setCallbacks(handle->paho, handle, on_lost, on_message, NULL);
    if (rc == MQTTASYNC_SUCCESS && handle->version == MQTTVERSION_5)
        rc = MQTTAsync_setDisconnected(handle->paho, handle, on_disconnected);
    return rc;
}

static MQTTAsync_connectOptions connect_options(struct paho_handle *handle,
                                                const struct mqtt_options *o) {
    MQTTAsync_connectOptions v4 = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions v5 = MQTTAsync_connectOptions_initializer5;
    MQTTAsync_connectOptions c = handle->version == MQTTVERSION_5 ? v5 : v4;
    c.MQTTVersion = handle->version;
    c.keepAliveInterval = o->keepalive_s;
    c.connectTimeout = (int)o->connect_timeout_s + 1; /* ours comes first */
    c.username = o->user;
    c.password = o->pass;
    c.context = handle;
    if (handle->version == MQTTVERSION_5) {
        c.onSuccess5 = on_connect5;
        c.onFailure5 = on_connect_failure5;
    } else {
        c.onSuccess = on_connect;
        c.onFailure = on_connect_failure;
    }
    return c;
}

/* The first connect makes paho's threads, which are to be deaf to signals as ours are. */
static int start(struct paho_handle *handle, const struct mqtt_options *o) {
    MQTTAsync_connectOptions options = connect_options(handle, o);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = MQTTAsync_connect(handle->paho, &options);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

struct paho_handle *paho_handle_open(int fd, const struct mqtt_options *options, int version,
                                     void (*on_event)(void *, const struct mqtt_event *),
                                     void *owner) {
    struct paho_handle *handle = calloc(1, sizeof *handle);
    if (!handle)
        abort();
    handle->version = version;
    handle->port = paho_calls_offer(fd);
    keep_paho();
    int rc = create(&handle->paho, handle->port, options->client_id, version);
    if (rc == MQTTASYNC_SUCCESS)
        rc = set_callbacks(handle);
    if (rc == MQTTASYNC_SUCCESS)
        rc = start(handle, options);
    if (rc != MQTTASYNC_SUCCESS) {
        paho_handle_close(handle);
        return NULL;
    }
    handle->on_event = on_event;
    handle->owner = owner;
    return handle;
}

/* -- sending --------------------------------------------------------------------------------- */

static struct subscription *new_subscription(struct paho_handle *handle, const char *topic) {
    struct subscription *s = malloc(sizeof *s + strlen(topic) + 1);
    if (!s)
        abort();
    s->handle = handle;
    s->next = handle->subscriptions;
    strcpy(s->topic, topic);
    handle->subscriptions = s;
    return s;
}

static void send_subscribe(struct paho_handle *handle, const struct mqtt_message *m) {
    struct subscription *s = new_subscription(handle, m->topic);
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.context = s;
    if (handle->version == MQTTVERSION_5) {
        options.subscribeOptions.noLocal = 1;
        options.onSuccess5 = on_subscribed5;
        options.onFailure5 = on_refused5;
    } else {
        options.onSuccess = on_subscribed;
        options.onFailure = on_refused;
    }
    if (MQTTAsync_subscribe(handle->paho, s->topic, 0, &options) != MQTTASYNC_SUCCESS)
        subscribed(s, MQTTREASONCODE_UNSPECIFIED_ERROR);
}

static void send_publish(struct paho_handle *handle, const struct mqtt_message *m) {
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.context = handle;
    if (handle->version == MQTTVERSION_5) {
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
    atomic_fetch_add(&handle->unsent, 1);
    if (MQTTAsync_send(handle->paho, m->topic, (int)m->len, m->payload, 0, 0, &options) !=
        MQTTASYNC_SUCCESS)
        one_sent(handle);
    MQTTProperties_free(&options.properties);
}

void paho_handle_send(struct paho_handle *handle, const struct mqtt_message *message) {
    if (message->subscribe)
        send_subscribe(handle, message);
    else
        send_publish(handle, message);
}

int paho_handle_unsent(const struct paho_handle *handle) {
    return atomic_load(&handle->unsent);
}

int paho_handle_take_sent(struct paho_handle *handle) {
    return atomic_exchange(&handle->sent, 0);
}

/* -- the end --------------------------------------------------------------------------------- */

static void release(void *arg) {
    struct paho_handle *handle = arg;
    for (struct subscription *s = handle->subscriptions, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    free(handle);
}

void paho_handle_close(struct paho_handle *handle) {
    handle->on_event = NULL;
    if (handle->paho)
        MQTTAsync_destroy(&handle->paho);
    paho_calls_withdraw(handle->port);
    loop_post(release, handle);
}
