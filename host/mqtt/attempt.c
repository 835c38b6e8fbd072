/*
 * Each step says in its own words why it failed. A broker that refuses MQTT 5, closes the
 * connection when it sees it, or says nothing, is asked once more by MQTT 3.1.1 within the same
 * attempt; what it has accepted once is what it is asked by from then on. A broker that names
 * another one (MQTT 5 §4.13) is believed once.
 */
#include "host/mqtt/attempt.h"

#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/log.h"
#include "host/loop.h"
#include "host/mqtt/carrier.h"
#include "host/mqtt/connack.h"

#define REFUSED_VERSION 1     /* MQTT 3.1.1 §3.2.2.3 */
#define REFUSED_VERSION5 0x84 /* MQTT 5 §3.2.2.2 */
#define TEXT_MAX 384

struct mqtt_attempt {
    struct mqtt_options options;
    void (*on_done)(void *owner, const struct mqtt_outcome *outcome);
    void *owner;
    int version; /* that is asked for */
    bool version_known, redirected;
    char host[MQTT_REFERENCE_MAX + 1]; /* the one that it is redirected to */
    struct mqtt_carrier *carrier;      /* at first */
    struct mqtt_link *link;            /* then */
    ev_timer limit;
};

static void set_limit(struct mqtt_attempt *a) {
    ev_now_update(loop_get());
    ev_timer_stop(loop_get(), &a->limit);
    ev_timer_set(&a->limit, a->options.connect_timeout_s, 0);
    ev_timer_start(loop_get(), &a->limit);
}

static void finish(struct mqtt_attempt *a, const struct mqtt_outcome *outcome) {
    void (*on_done)(void *, const struct mqtt_outcome *) = a->on_done;
    void *owner = a->owner;
    if (outcome->link)
        a->link = NULL;
    mqtt_attempt_stop(a);
    on_done(owner, outcome);
}

/* The reason must not be the attempt's: it is gone when it is read. */
static void fail(struct mqtt_attempt *a, const char *code, const char *reason) {
    finish(a, &(struct mqtt_outcome){.code = code, .reason = reason});
}

/* -- MQTT ------------------------------------------------------------------------------------ */

static void start_carrier(struct mqtt_attempt *a);

static void restart(struct mqtt_attempt *a) {
    mqtt_link_close(a->link);
    a->link = NULL;
    start_carrier(a);
}

static void downgrade(struct mqtt_attempt *a) {
    log_write(LOG_DEBUG, "mqtt %s port %d: MQTT 5 is refused, trying 3.1.1", a->options.host,
              a->options.port);
    a->version = 4;
    restart(a);
}

/* Whether the reference makes sense. */
static bool redirect(struct mqtt_attempt *a, const char *reference) {
    int port = a->options.port;
    a->redirected = mqtt_reference_parse(reference, a->host, &port);
    if (!a->redirected)
        return false;
    log_write(LOG_INFO, "mqtt %s port %d: says to ask %s port %d", a->options.host, a->options.port,
              a->host, port);
    a->options.host = a->host;
    a->options.port = port;
    return true;
}

static const char *failure_code(const struct mqtt_attempt *a, const struct mqtt_event *e) {
    int error = mqtt_link_error(a->link);
    switch (e->code) {
    case 4: /* MQTT 3.1.1 §3.2.2.3: bad user name or password, not authorised */
    case 5:
    case 0x86: /* MQTT 5 §3.2.2.2: the same */
    case 0x87:
        return "EACCES";
    default:
        if (e->code > 0)
            return "ECONNREFUSED";
        return error && error != -ENODATA ? strerrorname_np(-error)
               : e->closed_early          ? "ECONNRESET"
                                          : "EPROTO";
    }
}

/* A broker that waits for TLS hangs up on what is none. */
static void fail_by(struct mqtt_attempt *a, const struct mqtt_event *e) {
    char text[TEXT_MAX];
    const char *hint = e->closed_early && !a->options.tls ? " (is it for TLS?)" : "";
    snprintf(text, sizeof text, "%s%s", e->text, hint);
    fail(a, failure_code(a, e), text);
}

static bool refuses_version(const struct mqtt_attempt *a, const struct mqtt_event *e) {
    if (a->version != 5)
        return false;
    return e->code == REFUSED_VERSION || e->code == REFUSED_VERSION5 ||
           (e->closed_early && !a->version_known);
}

static void refused(struct mqtt_attempt *a, const struct mqtt_event *e) {
    if (refuses_version(a, e))
        downgrade(a);
    else if (e->reference && !a->redirected && redirect(a, e->reference))
        restart(a);
    else
        fail_by(a, e);
}

static void on_link(void *owner, const struct mqtt_event *e) {
    struct mqtt_attempt *a = owner;
    if (e->kind == MQTT_UP)
        finish(a, &(struct mqtt_outcome){.link = a->link, .version = a->version});
    else if (e->kind == MQTT_FAILED)
        refused(a, e);
    else
        free(e->message);
}

/* -- the stream ------------------------------------------------------------------------------ */

static void on_carrier(void *owner, struct stream *stream,
                       const struct mqtt_carrier_failure *failure) {
    struct mqtt_attempt *a = owner;
    a->carrier = NULL;
    if (failure) {
        fail(a, failure->code, failure->reason);
        return;
    }
    set_limit(a);
    a->link = mqtt_link_new(stream, &a->options, a->version, on_link, a);
    if (!a->link)
        fail(a, "EPROTO", "paho cannot start to connect");
}

static void start_carrier(struct mqtt_attempt *a) {
    set_limit(a);
    a->carrier = mqtt_carrier_start(&a->options, on_carrier, a);
}

static void on_limit(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct mqtt_attempt *a = w->data;
    if (a->link && a->version == 5 && !a->version_known) {
        downgrade(a);
        return;
    }
    char text[TEXT_MAX] = "CONNECT: the broker does not answer in time";
    if (a->carrier)
        snprintf(text, sizeof text, "%s: timed out", mqtt_carrier_step(a->carrier));
    fail(a, "ETIMEDOUT", text);
}

/* -- begin and end --------------------------------------------------------------------------- */

struct mqtt_attempt *mqtt_attempt_start(const struct mqtt_options *options, struct mqtt_known known,
                                        void (*on_done)(void *, const struct mqtt_outcome *),
                                        void *owner) {
    struct mqtt_attempt *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    a->options = *options;
    a->version = known.version ? known.version : 5;
    a->version_known = known.version != 0;
    a->on_done = on_done;
    a->owner = owner;
    ev_init(&a->limit, on_limit);
    a->limit.data = a;
    if (known.reference)
        redirect(a, known.reference);
    start_carrier(a);
    return a;
}

void mqtt_attempt_stop(struct mqtt_attempt *a) {
    if (!a)
        return;
    ev_timer_stop(loop_get(), &a->limit);
    mqtt_carrier_stop(a->carrier);
    if (a->link)
        mqtt_link_close(a->link);
    free(a);
}
