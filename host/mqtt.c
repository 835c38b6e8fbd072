/*
 * A client stays connected for as long as it lives: an attempt brings it online, and when that
 * fails or the connection ends it waits a little longer each time and begins again. A closed one
 * frees itself when what it had to send is out.
 */
#include "host/mqtt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "host/log.h"
#include "host/loop.h"
#include "host/mqtt/attempt.h"
#include "host/tcp.h"

#define BACKOFF_MIN_S 0.25
#define BACKOFF_MAX_S 15.0
#define STABLE_S 10.0 /* a connection that lasted this long resets the back-off */
#define LINGER_S 1.0  /* what is queued at a close may still go out */
#define SHUTDOWN_S 1.0
#define REFUSED_S 60.0  /* until a broker is asked again for a topic that it has refused */
#define TAKEN_OVER 0x8e /* MQTT 5 §3.14.2.1: somebody else has connected with our client id */
#define REASON_MAX 720

struct topic {
    struct topic *next;
    char name[];
};

struct mqtt {
    struct mqtt_options options;
    struct mqtt_events events;
    enum mqtt_state state;
    char reason[REASON_MAX];
    const char *code;
    unsigned failures;
    struct mqtt_stats stats;
    double backoff, up_since;
    bool told; /* of the present outage */

    struct mqtt_queue in, out;
    struct topic *topics;
    int unacknowledged;
    char *reference; /* the server that the broker has said to ask next time */

    /* One of these is on its way; when the client is closed the timer limits how long it lingers.
     */
    ev_timer timer; /* back-off */
    struct mqtt_attempt *attempt;
    struct mqtt_link *link; /* online */
};

static int clients; /* those that linger too */

/* -- small parts ----------------------------------------------------------------------------- */

static void write_log(const struct mqtt *m, enum log_level level, const char *what) {
    log_write(level, "mqtt %s port %d: %s", m->options.host, m->options.port, what);
}

static void changed(struct mqtt *m) {
    if (m->events.on_change)
        m->events.on_change(m->events.owner);
}

static void set_timer(struct mqtt *m, double seconds) {
    ev_now_update(loop_get());
    ev_timer_stop(loop_get(), &m->timer);
    ev_timer_set(&m->timer, seconds, 0);
    ev_timer_start(loop_get(), &m->timer);
}

/* The next pause: doubled each time, times 0.5 to 1.5, so that clients do not return in step. */
static double next_pause(struct mqtt *m) {
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = (uint32_t)(uintptr_t)m;
    double pause = m->backoff * (0.5 + random / 4294967296.0);
    m->backoff = m->backoff * 2 < BACKOFF_MAX_S ? m->backoff * 2 : BACKOFF_MAX_S;
    return pause < BACKOFF_MAX_S ? pause : BACKOFF_MAX_S;
}

static void leave(struct mqtt *m, enum mqtt_state state, const char *code, const char *reason) {
    snprintf(m->reason, sizeof m->reason, "%s", reason);
    m->code = code;
    m->state = state;
    set_timer(m, state == MQTT_REFUSED ? REFUSED_S : next_pause(m));
    changed(m);
}

/* Once an outage. */
static void tell(struct mqtt *m, enum log_level level, const char *what) {
    if (!m->told)
        write_log(m, level, what);
    m->told = true;
}

/* The link, and with it what waits to be sent, is given up. */
static void drop_link(struct mqtt *m) {
    if (!m->link)
        return;
    m->stats.sent += (uint64_t)mqtt_link_take_sent(m->link);
    m->stats.dropped += (uint64_t)mqtt_queue_clear(&m->out);
    mqtt_link_close(m->link);
    m->link = NULL;
}

/* -- online ---------------------------------------------------------------------------------- */

/* Hands over what fits into paho's window; the rest follows when that is sent. */
static void send_queued(struct mqtt *m) {
    while (m->link && m->out.first && mqtt_link_has_room(m->link)) {
        struct mqtt_message *message = mqtt_queue_pop(&m->out);
        mqtt_link_send(m->link, message);
        free(message);
    }
}

static void request(struct mqtt *m, const char *topic) {
    struct mqtt_message *message = mqtt_message_new(topic, strlen(topic), NULL, 0);
    message->subscribe = true;
    mqtt_queue_push(&m->out, message);
    m->unacknowledged++;
}

static void on_lost(struct mqtt *m, const struct mqtt_event *e) {
    write_log(m, LOG_INFO, e->text);
    if (loop_now() - m->up_since >= STABLE_S)
        m->backoff = BACKOFF_MIN_S;
    if (e->code == TAKEN_OVER) /* or the two would throw each other out all the time */
        m->backoff = BACKOFF_MAX_S;
    free(m->reference);
    m->reference = e->reference ? strdup(e->reference) : NULL;
    drop_link(m);
    leave(m, MQTT_OFFLINE, "ECONNRESET", e->text);
}

static void on_refused(struct mqtt *m, const char *topic) {
    char text[REASON_MAX];
    snprintf(text, sizeof text, "the broker refuses topic '%.256s'", topic);
    tell(m, LOG_WARN, text);
    m->failures++;
    drop_link(m);
    leave(m, MQTT_REFUSED, "EACCES", text);
}

static void on_suback(struct mqtt *m, const struct mqtt_event *e) {
    m->unacknowledged--;
    if (e->code) {
        on_refused(m, e->text);
        return;
    }
    if (m->unacknowledged == 0)
        m->told = false;
    changed(m);
}

static void on_message(struct mqtt *m, struct mqtt_message *message) {
    if (!mqtt_queue_fits(&m->in, message->topic_len + message->len)) {
        m->stats.dropped++;
        free(message);
        return;
    }
    m->stats.received++;
    mqtt_queue_push(&m->in, message);
    if (m->events.on_message)
        m->events.on_message(m->events.owner);
}

static void on_link(void *owner, const struct mqtt_event *e) {
    struct mqtt *m = owner;
    if (e->kind == MQTT_MESSAGE)
        on_message(m, e->message);
    else if (e->kind == MQTT_DROPPED)
        m->stats.dropped++;
    else if (e->kind == MQTT_SUBACK)
        on_suback(m, e);
    else if (e->kind == MQTT_ROOM)
        send_queued(m);
    else if (e->kind == MQTT_LOST)
        on_lost(m, e);
}

static void go_online(struct mqtt *m, const struct mqtt_outcome *outcome) {
    m->link = outcome->link;
    mqtt_link_hand_over(m->link, on_link, m);
    m->stats.reconnects += m->stats.protocol != 0;
    m->stats.protocol = outcome->version;
    m->told = m->told && m->topics;
    m->state = MQTT_ONLINE;
    m->up_since = loop_now();
    write_log(m, LOG_INFO, outcome->version == 5 ? "connected, MQTT 5" : "connected, MQTT 3.1.1");
    m->unacknowledged = 0;
    for (struct topic *t = m->topics; t; t = t->next)
        request(m, t->name);
    send_queued(m);
    changed(m);
}

/* -- offline --------------------------------------------------------------------------------- */

static void on_attempt(void *owner, const struct mqtt_outcome *outcome) {
    struct mqtt *m = owner;
    m->attempt = NULL;
    if (outcome->link) {
        go_online(m, outcome);
        return;
    }
    tell(m, LOG_INFO, outcome->reason);
    m->failures++;
    leave(m, MQTT_OFFLINE, outcome->code, outcome->reason);
}

static void begin(struct mqtt *m) {
    m->state = MQTT_CONNECTING;
    struct mqtt_known known = {.version = m->stats.protocol, .reference = m->reference};
    m->attempt = mqtt_attempt_start(&m->options, known, on_attempt, m);
    free(m->reference);
    m->reference = NULL;
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct mqtt *m = w->data;
    begin(m);
    changed(m);
}

void mqtt_reconnect(struct mqtt *m, const char *why) {
    ev_timer_stop(loop_get(), &m->timer);
    mqtt_attempt_stop(m->attempt);
    if (m->link) {
        write_log(m, LOG_INFO, why);
        snprintf(m->reason, sizeof m->reason, "%s", why);
        m->code = "ECONNABORTED";
        drop_link(m);
    }
    m->backoff = BACKOFF_MIN_S;
    begin(m);
    changed(m);
}

/* -- the end --------------------------------------------------------------------------------- */

static void free_client(struct mqtt *m) {
    ev_timer_stop(loop_get(), &m->timer);
    mqtt_attempt_stop(m->attempt);
    drop_link(m);
    mqtt_queue_clear(&m->in);
    mqtt_queue_clear(&m->out);
    for (struct topic *t = m->topics, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    const struct mqtt_options *o = &m->options;
    const void *const STRINGS[] = {o->host,      o->ca,         o->cert,       o->key,
                                   o->websocket, o->proxy.host, o->proxy.user, o->proxy.pass,
                                   o->user,      o->pass,       o->client_id,  m->reference};
    for (size_t i = 0; i < sizeof STRINGS / sizeof *STRINGS; i++)
        free((void *)STRINGS[i]);
    free(m);
    clients--;
}

static void on_linger_over(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    free_client(w->data);
}

/* All is with paho, and paho has sent it. */
static bool is_drained(const struct mqtt *m) {
    return !m->link || (!m->out.first && mqtt_link_unsent(m->link) == 0);
}

/* Events of a client that is closed. */
static void on_last_words(void *owner, const struct mqtt_event *e) {
    struct mqtt *m = owner;
    free(e->message);
    send_queued(m);
    if (e->kind == MQTT_LOST || is_drained(m))
        free_client(m);
}

void mqtt_close(struct mqtt *m) {
    loop_release();
    m->state = MQTT_CLOSED;
    if (is_drained(m)) {
        free_client(m);
        return;
    }
    mqtt_link_hand_over(m->link, on_last_words, m);
    ev_set_cb(&m->timer, on_linger_over);
    set_timer(m, LINGER_S);
}

void mqtt_shutdown(void) {
    double deadline = loop_now() + SHUTDOWN_S;
    int others = transport_leaving();
    while ((clients > 0 || transport_leaving() > others) && loop_now() < deadline)
        loop_turn(deadline);
}

/* -- for others ------------------------------------------------------------------------------ */

static const char *copy(const char *s) {
    return s ? strdup(s) : NULL;
}

/* 23 characters are what every 3.1.1 broker takes (MQTT 3.1.1 §3.1.3.1). */
static const char *random_id(void) {
    unsigned char bytes[9] = {0};
    char text[5 + 2 * sizeof bytes + 1] = "p2pd-";
    if (getrandom(bytes, sizeof bytes, 0) < 0)
        snprintf(text + 5, sizeof text - 5, "%d", (int)getpid());
    else
        for (size_t i = 0; i < sizeof bytes; i++)
            snprintf(text + 5 + 2 * i, 3, "%02x", bytes[i]);
    return strdup(text);
}

int mqtt_open(struct mqtt **out, const struct mqtt_options *options, struct mqtt_events events) {
    if (options->ca && access(options->ca, R_OK) < 0)
        return -errno;
    struct mqtt *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    *out = m;
    m->options = *options;
    m->options.host = copy(options->host);
    m->options.ca = copy(options->ca);
    m->options.cert = copy(options->cert);
    m->options.key = copy(options->key);
    m->options.websocket = copy(options->websocket);
    m->options.proxy.host = copy(options->proxy.host);
    m->options.proxy.user = copy(options->proxy.user);
    m->options.proxy.pass = copy(options->proxy.pass);
    m->options.user = copy(options->user);
    m->options.pass = copy(options->pass);
    m->options.client_id = options->client_id ? copy(options->client_id) : random_id();
    m->events = events;
    m->backoff = BACKOFF_MIN_S;
    m->code = "";
    ev_init(&m->timer, on_timer);
    m->timer.data = m;
    clients++;
    loop_hold();
    begin(m);
    return 0;
}

enum mqtt_state mqtt_state(const struct mqtt *m) {
    return m->state;
}

const char *mqtt_state_name(enum mqtt_state state) {
    static const char *const NAMES[] = {"connecting", "online", "offline", "refused", "closed"};
    return NAMES[state];
}

const char *mqtt_reason(const struct mqtt *m) {
    return m->reason;
}

const char *mqtt_code(const struct mqtt *m) {
    return m->code;
}

unsigned mqtt_failures(const struct mqtt *m) {
    return m->failures;
}

bool mqtt_is_subscribed(const struct mqtt *m) {
    return m->state == MQTT_ONLINE && m->unacknowledged == 0;
}

size_t mqtt_packet_max(const struct mqtt *m) {
    return m->link ? mqtt_link_packet_max(m->link) : 0;
}

struct mqtt_stats mqtt_stats(struct mqtt *m) {
    if (m->link)
        m->stats.sent += (uint64_t)mqtt_link_take_sent(m->link);
    return m->stats;
}

int mqtt_local(const struct mqtt *m, struct inet_addr *addr) {
    return m->link ? tcp_local(mqtt_link_fd(m->link), addr) : -ENOTCONN;
}

int mqtt_remote(const struct mqtt *m, struct inet_addr *addr) {
    return m->link ? tcp_remote(mqtt_link_fd(m->link), addr) : -ENOTCONN;
}

void mqtt_subscribe(struct mqtt *m, const char *topic) {
    struct topic **at = &m->topics;
    for (; *at; at = &(*at)->next)
        if (strcmp((*at)->name, topic) == 0)
            return;
    *at = calloc(1, sizeof **at + strlen(topic) + 1);
    if (!*at)
        abort();
    strcpy((*at)->name, topic);
    if (!m->link)
        return;
    request(m, topic);
    send_queued(m);
}

/* MQTT 5 §3.3: type and length, topic, properties, payload. */
static size_t packet_size(const char *topic, size_t len, int expiry_s) {
    return 1 + 4 + 2 + strlen(topic) + 1 + (expiry_s > 0 ? 5 : 0) + len;
}

int mqtt_publish(struct mqtt *m, const char *topic, const void *payload, size_t len, int expiry_s) {
    if (len > MQTT_PAYLOAD_MAX ||
        (mqtt_packet_max(m) && packet_size(topic, len, expiry_s) > mqtt_packet_max(m)))
        return -EMSGSIZE;
    if (m->state != MQTT_ONLINE)
        return -ENOTCONN;
    if (!mqtt_queue_fits(&m->out, strlen(topic) + len))
        return -ENOBUFS;
    struct mqtt_message *message = mqtt_message_new(topic, strlen(topic), payload, len);
    message->expiry_s = expiry_s;
    mqtt_queue_push(&m->out, message);
    send_queued(m);
    return 0;
}

const struct mqtt_message *mqtt_first(const struct mqtt *m) {
    return m->in.first;
}

void mqtt_drop_first(struct mqtt *m) {
    free(mqtt_queue_pop(&m->in));
}
