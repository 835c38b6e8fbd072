/*
 * One attempt to bring a client online: the name is resolved, its addresses are probed, and the
 * first that answers is left to paho. Each step says in its own words why it failed. A broker that
 * refuses MQTT 5, or closes the connection when it sees it, is asked once more by MQTT 3.1.1 within
 * the same attempt; what it has accepted once is what it is asked by from then on.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "host/mqtt/client.h"
#include "host/mqtt/nudge.h"

#define REFUSED_VERSION 1     /* MQTT 3.1.1 §3.2.2.3 */
#define REFUSED_VERSION5 0x84 /* MQTT 5 §3.2.2.2 */

static void nudge(struct mqtt *m, bool on) {
    if (on)
        mqtt_nudge_begin();
    if (m->nudging)
        mqtt_nudge_end();
    m->nudging = on;
}

/* -- paho ------------------------------------------------------------------------------------ */

static void open_work(void *arg) {
    struct mqtt *m = arg;
    m->open_error = mqtt_link_open(m->job_link);
}

static void open_done(void *arg) {
    struct mqtt *m = arg;
    m->busy = false;
    if (m->open_error && m->link == m->job_link && !m->closed)
        mqtt_fail(m, "EPROTO", "paho cannot start to connect");
    mqtt_pump(m);
}

void mqtt_attempt_open(struct mqtt *m) {
    m->opened = true;
    nudge(m, true);
    mqtt_submit(m, open_work, open_done);
}

/* Should a former handle still be there, mqtt_pump() has it destroyed before this one is opened. */
static void new_link(struct mqtt *m) {
    m->link = mqtt_link_new(&m->config, m, mqtt_on_link_event);
    m->opened = false;
    m->phase = PHASE_CONNECTING;
    mqtt_set_timer(m, m->options.connect_timeout_s);
}

static const char *failure_code(const struct mqtt_link_event *e) {
    switch (e->code) {
    case 4: /* MQTT 3.1.1 §3.2.2.3: bad user name or password, not authorised */
    case 5:
    case 0x86: /* MQTT 5 §3.2.2.2: the same */
    case 0x87:
        return "EACCES";
    default:
        return e->closed_early ? "ECONNRESET" : e->code > 0 ? "ECONNREFUSED" : "EPROTO";
    }
}

static bool refuses_version(const struct mqtt *m, const struct mqtt_link_event *e) {
    if (m->config.version != 5)
        return false;
    return e->code == REFUSED_VERSION || e->code == REFUSED_VERSION5 ||
           (e->closed_early && !m->version_known);
}

void mqtt_attempt_failed(struct mqtt *m, const struct mqtt_link_event *e) {
    if (!refuses_version(m, e)) {
        mqtt_fail(m, failure_code(e), e->text);
        return;
    }
    mqtt_log(m, LOG_DEBUG, "MQTT 5 is refused, trying 3.1.1");
    mqtt_retire(m);
    m->config.version = 4;
    new_link(m);
}

/* -- the broker's address -------------------------------------------------------------------- */

static void on_probe(struct mqtt_probe *p, int result) {
    struct mqtt *m = (struct mqtt *)((char *)p - offsetof(struct mqtt, probe));
    if (result < 0) {
        char text[128];
        snprintf(text, sizeof text, "TCP connect: %s", strerror(-result));
        mqtt_fail(m, strerrorname_np(-result), text);
    } else {
        m->config.addr = p->at;
        new_link(m);
    }
    mqtt_pump(m);
}

static void start_probe(struct mqtt *m) {
    m->phase = PHASE_PROBING;
    mqtt_probe_start(&m->probe, m->config.addrs, m->config.addr_count, on_probe);
}

static int resolve(struct mqtt *m, int flags) {
    struct mqtt_link_config *c = &m->config;
    int n = mqtt_resolve(m->options.host, m->options.port, flags, c->addrs, MQTT_LINK_ADDRS_MAX);
    c->addr_count = n > 0 ? n : 0;
    return n > 0 ? 0 : n;
}

static void resolve_work(void *arg) {
    struct mqtt *m = arg;
    m->resolve_error = resolve(m, AI_ADDRCONFIG);
    m->resolve_errno = errno;
}

static void resolve_failed(struct mqtt *m) {
    int e = m->resolve_error;
    const char *code = e == EAI_SYSTEM  ? strerrorname_np(m->resolve_errno)
                       : e == EAI_AGAIN ? "EAGAIN"
                                        : "ENOENT";
    char text[300];
    snprintf(text, sizeof text, "cannot resolve '%.200s': %s", m->options.host, gai_strerror(e));
    mqtt_fail(m, code, text);
}

static void resolve_done(void *arg) {
    struct mqtt *m = arg;
    m->busy = false;
    if (m->phase == PHASE_RESOLVING && !m->closed) {
        if (m->resolve_error)
            resolve_failed(m);
        else
            start_probe(m);
    }
    mqtt_pump(m);
}

/* -- begin and end --------------------------------------------------------------------------- */

void mqtt_attempt_begin(struct mqtt *m) {
    if (!m->version_known)
        m->config.version = 5;
    mqtt_set_timer(m, m->options.connect_timeout_s);
    if (resolve(m, AI_NUMERICHOST) == 0) {
        start_probe(m);
        return;
    }
    m->phase = PHASE_RESOLVING;
    mqtt_submit(m, resolve_work, resolve_done);
}

void mqtt_attempt_time_out(struct mqtt *m) {
    static const char *const LIMITS[] = {
        [PHASE_RESOLVING] = "cannot resolve the name: timed out",
        [PHASE_PROBING] = "TCP connect: timed out",
        [PHASE_CONNECTING] = "CONNECT: the broker does not answer in time",
    };
    mqtt_fail(m, "ETIMEDOUT", LIMITS[m->phase]);
}

void mqtt_attempt_end(struct mqtt *m) {
    mqtt_probe_stop(&m->probe);
    nudge(m, false);
}
