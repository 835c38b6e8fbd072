/*
 * A client stays connected for as long as it lives: an attempt brings it online (mqtt_attempt.c),
 * and when that fails or the connection ends it waits a little longer each time and begins again.
 * Whatever blocks is a job on a worker thread, one at a time for a client; mqtt_pump() is the one
 * place that starts the next. It is also where a closed client ends: it frees itself when its last
 * job is done, so nothing waits for it.
 */
#include "host/mqtt/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "host/loop.h"
#include "host/mqtt/paho.h"
#include "host/worker.h"

#define BACKOFF_MIN_S 0.25
#define BACKOFF_MAX_S 15.0
#define STABLE_S 10.0 /* a connection that lasted this long resets the back-off */
#define LINGER_S 1.0  /* what is queued at a close may still go out */

/* -- small parts ----------------------------------------------------------------------------- */

void mqtt_log(const struct mqtt *m, enum log_level level, const char *what) {
    log_write(level, "mqtt %s port %d: %s", m->options.host, m->options.port, what);
}

static void changed(struct mqtt *m) {
    if (m->events.on_change)
        m->events.on_change(m->events.owner);
}

void mqtt_set_timer(struct mqtt *m, double seconds) {
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

void mqtt_submit(struct mqtt *m, void (*work)(void *), void (*done)(void *)) {
    m->busy = true;
    m->job_link = m->link;
    if (worker_submit(work, done, m) == 0)
        return;
    work(m);
    done(m);
}

/* The link is not ours any more; what handle it has is destroyed by the next job. */
void mqtt_retire(struct mqtt *m) {
    mqtt_attempt_end(m);
    if (!m->link)
        return;
    m->stats.sent += (uint64_t)mqtt_link_take_sent(m->link);
    mqtt_link_orphan(m->link);
    if (m->opened)
        m->doomed = m->link;
    else
        mqtt_link_close(m->link);
    m->link = NULL;
    m->stats.dropped += (uint64_t)mqtt_queue_clear(&m->out);
}

static void go_offline(struct mqtt *m, const char *code, const char *reason) {
    mqtt_retire(m);
    snprintf(m->reason, sizeof m->reason, "%s", reason);
    m->code = code;
    m->state = MQTT_OFFLINE;
    m->phase = PHASE_WAITING;
    mqtt_set_timer(m, next_pause(m));
    changed(m);
}

void mqtt_fail(struct mqtt *m, const char *code, const char *reason) {
    if (!m->warned)
        mqtt_log(m, LOG_WARN, reason);
    m->warned = true;
    m->failures++;
    go_offline(m, code, reason);
}

/* -- what the link tells --------------------------------------------------------------------- */

static void request(struct mqtt *m, const char *topic) {
    struct mqtt_message *message = mqtt_message_new(topic, strlen(topic), NULL, 0);
    message->subscribe = true;
    mqtt_queue_push(&m->out, message);
    m->unacknowledged++;
}

static void on_link_up(struct mqtt *m) {
    m->stats.reconnects += m->stats.protocol != 0;
    m->stats.protocol = m->config.version;
    m->version_known = true;
    m->warned = false;
    m->state = MQTT_ONLINE;
    m->phase = PHASE_UP;
    mqtt_attempt_end(m);
    m->up_since = loop_now();
    ev_timer_stop(loop_get(), &m->timer);
    mqtt_log(m, LOG_INFO, m->config.version == 5 ? "connected, MQTT 5" : "connected, MQTT 3.1.1");
    m->unacknowledged = 0;
    free(m->refused);
    m->refused = NULL;
    for (struct mqtt_topic *t = m->topics; t; t = t->next)
        request(m, t->name);
    changed(m);
}

static void on_link_lost(struct mqtt *m, const char *text) {
    mqtt_log(m, LOG_INFO, text);
    if (loop_now() - m->up_since >= STABLE_S)
        m->backoff = BACKOFF_MIN_S;
    go_offline(m, "ECONNRESET", text);
}

static void on_suback(struct mqtt *m, const struct mqtt_link_event *e) {
    m->unacknowledged--;
    if (e->code) {
        free(m->refused);
        m->refused = strdup(e->text);
        log_write(LOG_WARN, "mqtt %s port %d: the broker refuses topic '%s'", m->options.host,
                  m->options.port, e->text);
    }
    changed(m);
}

static void on_link_message(struct mqtt *m, struct mqtt_message *message) {
    if (m->closed || !mqtt_queue_fits(&m->in, message->topic_len + message->len)) {
        m->stats.dropped++;
        free(message);
        return;
    }
    m->stats.received++;
    mqtt_queue_push(&m->in, message);
    if (m->events.on_message)
        m->events.on_message(m->events.owner);
}

void mqtt_on_link_event(void *owner, const struct mqtt_link_event *e) {
    struct mqtt *m = owner;
    if (e->kind == MQTT_LINK_MESSAGE)
        on_link_message(m, e->message);
    else if (e->kind == MQTT_LINK_DROPPED)
        m->stats.dropped++;
    else if (e->kind == MQTT_LINK_SUBACK)
        on_suback(m, e);
    else if (m->closed && e->kind != MQTT_LINK_DRAINED)
        mqtt_retire(m);
    else if (e->kind == MQTT_LINK_UP)
        on_link_up(m);
    else if (e->kind == MQTT_LINK_FAILED)
        mqtt_attempt_failed(m, e);
    else if (e->kind == MQTT_LINK_LOST)
        on_link_lost(m, e->text);
    mqtt_pump(m);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct mqtt *m = w->data;
    if (m->closed)
        mqtt_retire(m);
    else if (m->phase == PHASE_WAITING)
        m->phase = PHASE_DUE;
    else if (m->phase != PHASE_DUE && m->phase != PHASE_UP)
        mqtt_attempt_time_out(m);
    mqtt_pump(m);
}

/* -- online ---------------------------------------------------------------------------------- */

static void send_work(void *arg) {
    struct mqtt *m = arg;
    mqtt_link_send(m->job_link, m->batch);
}

static void job_done(void *arg) {
    struct mqtt *m = arg;
    m->busy = false;
    mqtt_pump(m);
}

/* Hands over what fits into paho's window; the rest follows when that is sent. */
static void send_batch(struct mqtt *m) {
    int room = MQTT_LINK_WINDOW - mqtt_link_unsent(m->link);
    struct mqtt_message **tail = &m->batch;
    for (m->batch = NULL; room > 0 && m->out.first; room--) {
        *tail = mqtt_queue_pop(&m->out);
        tail = &(*tail)->next;
    }
    if (m->batch)
        mqtt_submit(m, send_work, job_done);
}

/* -- jobs and the end ------------------------------------------------------------------------ */

static void close_work(void *arg) {
    struct mqtt *m = arg;
    mqtt_link_close(m->doomed);
}

static void close_done(void *arg) {
    struct mqtt *m = arg;
    m->doomed = NULL;
    job_done(m);
}

static void free_client(struct mqtt *m) {
    ev_timer_stop(loop_get(), &m->timer);
    mqtt_queue_clear(&m->in);
    mqtt_queue_clear(&m->out);
    for (struct mqtt_topic *t = m->topics, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    const struct mqtt_options *o = &m->options;
    const void *const STRINGS[] = {o->host, o->ca, o->user, o->pass, o->client_id, m->refused};
    for (size_t i = 0; i < sizeof STRINGS / sizeof *STRINGS; i++)
        free((void *)STRINGS[i]);
    free(m);
    mqtt_paho_leave();
}

static void pump_closed(struct mqtt *m) {
    if (m->link && (m->phase != PHASE_UP || (!m->out.first && mqtt_link_unsent(m->link) == 0)))
        mqtt_retire(m);
    if (m->doomed)
        mqtt_submit(m, close_work, close_done);
    else if (m->link)
        send_batch(m);
    else
        free_client(m);
}

void mqtt_pump(struct mqtt *m) {
    if (m->busy)
        return;
    if (m->closed) {
        pump_closed(m);
    } else if (m->doomed) {
        mqtt_submit(m, close_work, close_done);
    } else if (m->phase == PHASE_DUE) {
        m->state = MQTT_CONNECTING;
        changed(m);
        mqtt_attempt_begin(m);
    } else if (m->phase == PHASE_CONNECTING && !m->opened) {
        mqtt_attempt_open(m);
    } else if (m->phase == PHASE_UP) {
        send_batch(m);
    }
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
    m->options.user = copy(options->user);
    m->options.pass = copy(options->pass);
    m->options.client_id = options->client_id ? copy(options->client_id) : random_id();
    m->events = events;
    m->config.options = &m->options;
    m->backoff = BACKOFF_MIN_S;
    m->code = "";
    ev_init(&m->timer, on_timer);
    m->timer.data = m;
    mqtt_paho_enter();
    loop_hold();
    m->phase = PHASE_DUE;
    m->state = MQTT_CONNECTING;
    mqtt_pump(m);
    return 0;
}

void mqtt_close(struct mqtt *m) {
    m->closed = true;
    m->state = MQTT_CLOSED;
    m->events = (struct mqtt_events){0};
    mqtt_probe_stop(&m->probe);
    mqtt_queue_clear(&m->in);
    loop_release();
    mqtt_set_timer(m, LINGER_S);
    mqtt_pump(m);
}

enum mqtt_state mqtt_state(const struct mqtt *m) {
    return m->state;
}

const char *mqtt_state_name(enum mqtt_state state) {
    static const char *const NAMES[] = {"connecting", "online", "offline", "closed"};
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

const char *mqtt_refused(const struct mqtt *m) {
    return m->refused;
}

struct mqtt_stats mqtt_stats(struct mqtt *m) {
    if (m->link)
        m->stats.sent += (uint64_t)mqtt_link_take_sent(m->link);
    return m->stats;
}

void mqtt_subscribe(struct mqtt *m, const char *topic) {
    struct mqtt_topic **at = &m->topics;
    for (; *at; at = &(*at)->next)
        if (strcmp((*at)->name, topic) == 0)
            return;
    *at = calloc(1, sizeof **at + strlen(topic) + 1);
    if (!*at)
        abort();
    strcpy((*at)->name, topic);
    if (m->phase != PHASE_UP)
        return;
    request(m, topic);
    mqtt_pump(m);
}

int mqtt_publish(struct mqtt *m, const char *topic, const void *payload, size_t len, int expiry_s) {
    if (len > MQTT_PAYLOAD_MAX)
        return -EMSGSIZE;
    if (m->state != MQTT_ONLINE)
        return -ENOTCONN;
    if (!mqtt_queue_fits(&m->out, strlen(topic) + len))
        return -ENOBUFS;
    struct mqtt_message *message = mqtt_message_new(topic, strlen(topic), payload, len);
    message->expiry_s = expiry_s;
    mqtt_queue_push(&m->out, message);
    mqtt_pump(m);
    return 0;
}

const struct mqtt_message *mqtt_first(const struct mqtt *m) {
    return m->in.first;
}

void mqtt_drop_first(struct mqtt *m) {
    free(mqtt_queue_pop(&m->in));
}
