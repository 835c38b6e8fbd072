/* What a client is made of. Private to the two files that it consists of: mqtt.c, which is the
 * client as long as it lives, and mqtt_attempt.c, its way from offline to online. */
#ifndef P2PD_MQTT_CLIENT_H
#define P2PD_MQTT_CLIENT_H

#include <ev.h>

#include "host/log.h"
#include "host/mqtt.h"
#include "host/mqtt/link.h"
#include "host/mqtt/probe.h"

enum mqtt_phase {
    PHASE_WAITING,   /* for the next attempt */
    PHASE_DUE,       /* an attempt begins when no job is out */
    PHASE_RESOLVING, /* an attempt, from here on */
    PHASE_PROBING,
    PHASE_CONNECTING,
    PHASE_UP, /* has succeeded */
};

struct mqtt_topic {
    struct mqtt_topic *next;
    char name[];
};

struct mqtt {
    struct mqtt_options options;
    struct mqtt_events events;
    enum mqtt_state state;
    enum mqtt_phase phase;
    char reason[320];
    const char *code;
    unsigned failures;
    struct mqtt_stats stats;
    ev_timer timer; /* WAITING: back-off; closed: linger; UP: none; else: the attempt's limit */
    double backoff, up_since;
    bool closed;
    bool warned; /* of the present outage */

    struct mqtt_queue in, out;
    struct mqtt_topic *topics;
    int unacknowledged;
    char *refused;

    struct mqtt_link *link;
    struct mqtt_link *doomed; /* to be closed by the next job */

    /* the attempt */
    struct mqtt_link_config config; /* job, while RESOLVING */
    struct mqtt_probe probe;
    bool opened;        /* mqtt_link_open() was called for the link */
    bool nudging;       /* paho is connecting */
    bool version_known; /* this broker has accepted config.version */

    bool busy;                        /* a job is out; it alone uses what is marked "job" */
    struct mqtt_link *job_link;       /* job */
    struct mqtt_message *batch;       /* job */
    int resolve_error, resolve_errno; /* job */
    int open_error;                   /* job */
};

/* All below: loop thread only. */

/* -- mqtt.c ---------------------------------------------------------------------------------- */

/* Starts the next job, if there is one to do and none is out. May free a closed client. */
void mqtt_pump(struct mqtt *m);

/* Runs work(m) on a worker thread and then done(m), which clears m->busy. */
void mqtt_submit(struct mqtt *m, void (*work)(void *), void (*done)(void *));

/* Gives the link up, and with it what waits to be sent. */
void mqtt_retire(struct mqtt *m);

/* Ends the attempt: offline, until the back-off has passed. */
void mqtt_fail(struct mqtt *m, const char *code, const char *reason);

void mqtt_set_timer(struct mqtt *m, double seconds);
void mqtt_log(const struct mqtt *m, enum log_level level, const char *what);
void mqtt_on_link_event(void *m, const struct mqtt_link_event *e);

/* -- mqtt_attempt.c -------------------------------------------------------------------------- */

void mqtt_attempt_begin(struct mqtt *m);
void mqtt_attempt_open(struct mqtt *m); /* lets paho connect the link */
void mqtt_attempt_failed(struct mqtt *m, const struct mqtt_link_event *e);
void mqtt_attempt_time_out(struct mqtt *m);
void mqtt_attempt_end(struct mqtt *m); /* it has succeeded, or is given up */

#endif
