/* What the transport calls. */
#include "host/session/machine.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/session/end.h"
#include "host/session/paths.h"
#include "host/session/receive.h"
#include "host/session/send.h"

static size_t min(size_t a, size_t b) {
    return a < b ? a : b;
}

struct session_machine *sm_new(const struct session_options *options) {
    struct session_machine *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    m->options = *options;
    if (!(m->options.silence > 0))
        m->options.silence = SESSION_SILENCE_S;
    if (!m->options.keep_max)
        m->options.keep_max = SESSION_KEEP_MAX;
    if (m->options.keep_max < SESSION_KEEP_MIN)
        m->options.keep_max = SESSION_KEEP_MIN;
    m->bound = min(m->options.keep_max, SESSION_KEEP);
    m->limit = m->limit_sent = FIRST_LIMIT;
    m->broken_at = -1;
    m->ack_due = m->end_due = INFINITY;
    return m;
}

static void free_path(struct session_path *p) {
    session_chunk_unref(p->chunk);
    free(p);
}

void sm_free(struct session_machine *m) {
    if (!m)
        return;
    for (struct session_path *p = m->paths, *next; p; p = next) {
        next = p->next;
        free_path(p);
    }
    for (struct event_node *e = m->events, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    session_keep_fini(&m->keep);
    session_inbox_fini(&m->inbox);
    free(m);
}

/* -- paths ---------------------------------------------------------------------------------- */

int64_t sm_attach(struct session_machine *m, double now) {
    if (m->state >= SESSION_ENDED)
        return -EPIPE;
    if (m->live >= SESSION_PATHS_MAX)
        return -EMFILE;
    return paths_add(m, now)->number;
}

static struct session_path *find(const struct session_machine *m, uint32_t number) {
    struct session_path *p = m->paths;
    while (p && p->number != number)
        p = p->next;
    return p;
}

enum session_path_state sm_path_state(const struct session_machine *m, uint32_t number) {
    const struct session_path *p = find(m, number);
    return p ? p->state : PATH_DEAD;
}

void sm_detach(struct session_machine *m, uint32_t number) {
    struct session_path **link = &m->paths;
    while (*link && (*link)->number != number)
        link = &(*link)->next;
    struct session_path *p = *link;
    if (!p || p->state == PATH_LIVE)
        return;
    *link = p->next;
    free_path(p);
}

void sm_feed(struct session_machine *m, uint32_t number, const void *data, size_t len, double now) {
    struct session_path *p = paths_find(m, number);
    if (!p || !len)
        return;
    paths_heard(p, now, now);
    session_receive(m, p, data, len, now);
    for (struct session_path *q = m->paths; q; q = q->next)
        if (isfinite(q->drop_due))
            paths_check(m, q, now);
}

size_t sm_poll(struct session_machine *m, uint32_t number, const uint8_t **data, double now) {
    struct session_path *p = find(m, number);
    return p ? session_next(m, p, data, now) : 0;
}

bool sm_has_more(const struct session_machine *m, uint32_t number) {
    const struct session_path *p = find(m, number);
    bool held = m->hold && session_keep_is_partial(&m->keep);
    return p && p == m->tx && m->keep.unsent && !held;
}

void sm_sent(struct session_machine *m, uint32_t number, size_t n, double now) {
    struct session_path *p = find(m, number);
    if (p)
        session_left(m, p, n, now);
}

void sm_hold(struct session_machine *m, bool hold) {
    m->hold = hold;
}

void sm_path_failed(struct session_machine *m, uint32_t number, int code, const char *why,
                    double now) {
    struct session_path *p = paths_find(m, number);
    if (p)
        paths_end(m, p, code, why, false, now);
}

void sm_path_rtt(struct session_machine *m, uint32_t number, double rtt) {
    struct session_path *p = paths_find(m, number);
    if (p && rtt > 0)
        p->rtt_below = rtt;
}

void sm_path_alive(struct session_machine *m, uint32_t number, double since, double now) {
    struct session_path *p = paths_find(m, number);
    if (p)
        paths_heard(p, since, now);
}

int sm_switch(struct session_machine *m, uint32_t number, double now) {
    struct session_path *p = paths_find(m, number);
    if (!p)
        return -ENOENT;
    if (!m->options.initiator)
        return -EPERM;
    paths_want(m, p, "we have chosen it", now);
    return 0;
}

int sm_drop(struct session_machine *m, uint32_t number, const char *why, bool at_once, double now) {
    struct session_path *p = paths_find(m, number);
    if (!p)
        return -ENOENT;
    snprintf(p->why, sizeof p->why, "%s", why);
    bool last = m->live == 1, chosen = p == m->rx && !m->options.initiator;
    if (at_once || last || chosen)
        paths_end(m, p, 0, why, true, now);
    else
        paths_drain(m, p, now);
    return 0;
}

void sm_doubt(struct session_machine *m, double now) {
    for (struct session_path *p = m->paths; p; p = p->next)
        if (p->state == PATH_LIVE && (p == m->tx || p == m->rx || p == m->old))
            paths_doubt(p, now);
}

/* -- the stream ----------------------------------------------------------------------------- */

/* The peer learns of new room in time. */
static void made_room(struct session_machine *m) {
    if (session_window_end(m) - m->limit_sent >= m->options.keep_max / 4)
        m->ack_now = true;
}

static ssize_t read_end(const struct session_machine *m) {
    if (m->inbox.ended || m->state == SESSION_ENDED)
        return 0;
    return m->error ? m->error : m->closed ? -EPIPE : -EAGAIN;
}

ssize_t sm_read(struct session_machine *m, void *data, size_t len) {
    struct buffer *in = &m->inbox.in;
    size_t n = min(in->len, len);
    if (!n)
        return read_end(m);
    memcpy(data, buffer_head(in), n);
    buffer_consume(in, n);
    made_room(m);
    return (ssize_t)n;
}

void sm_give(struct session_machine *m, void *data, size_t len) {
    m->inbox.to = data;
    m->inbox.room = len;
    m->inbox.taken = 0;
}

size_t sm_take(struct session_machine *m) {
    size_t n = m->inbox.taken;
    sm_give(m, NULL, 0);
    if (n)
        made_room(m);
    return n;
}

size_t sm_expected(const struct session_machine *m, uint32_t number) {
    const struct session_path *p = paths_find(m, number);
    bool next = p && p->at == m->inbox.next && !m->inbox.in.len && !m->inbox.discard;
    return next ? min(p->data_left, m->inbox.room - m->inbox.taken) : 0;
}

static int write_error(const struct session_machine *m) {
    if (m->error)
        return m->error;
    return m->shut || m->state != SESSION_OPEN ? -EPIPE : 0;
}

/* What the path does not take yet is not to stand before what is written later. */
static bool is_queued(const struct session_machine *m) {
    return m->tx && m->tx->up && m->keep.end - session_keep_sent(&m->keep) >= SESSION_UNSENT_MAX;
}

static size_t room(const struct session_machine *m) {
    if (m->keep.held >= m->bound || m->keep.end >= m->limit || is_queued(m))
        return 0;
    uint64_t allowed = m->limit - m->keep.end;
    return allowed < SIZE_MAX ? (size_t)allowed : SIZE_MAX;
}

ssize_t sm_write(struct session_machine *m, const void *data, size_t len) {
    int err = write_error(m);
    if (err)
        return err;
    size_t taken = 0, n;
    while (taken < len && (n = room(m)) > 0)
        taken += session_keep_append(&m->keep, (const char *)data + taken, min(n, len - taken));
    m->limited = m->limited || m->keep.held >= m->bound;
    return taken || !len ? (ssize_t)taken : -EAGAIN;
}

bool sm_is_readable(const struct session_machine *m) {
    return m->inbox.in.len || read_end(m) != -EAGAIN;
}

bool sm_is_settled(const struct session_machine *m) {
    bool told = m->bye_sent && m->tx && !m->tx->out_len && !m->tx->chunk;
    return m->state >= SESSION_ENDED || (m->state == SESSION_CLOSING && told);
}

bool sm_is_writable(const struct session_machine *m) {
    return write_error(m) || room(m) > 0;
}

int sm_shutdown(struct session_machine *m, double now) {
    if (m->error)
        return m->error;
    if (m->shut)
        return 0;
    m->shut = true;
    session_keep_finish(&m->keep);
    session_check_end(m, now);
    return 0;
}

/* -- its end -------------------------------------------------------------------------------- */

void sm_close(struct session_machine *m, double now) {
    if (m->closed)
        return;
    m->closed = true;
    session_inbox_discard(&m->inbox);
    if (m->state >= SESSION_ENDED)
        return;
    sm_shutdown(m, now);
    made_room(m);
    session_check_end(m, now);
}

void sm_abort(struct session_machine *m, int code, const char *why) {
    if (m->state == SESSION_CLOSING) /* all is delivered already */
        session_finish(m);
    else
        session_break(m, code, why, false);
}

void sm_abandon(struct session_machine *m) {
    m->lonely = true;
    if (m->live)
        return;
    if (m->state == SESSION_CLOSING)
        session_finish(m);
    else
        session_break(m, -ECONNRESET, "no path is left", true);
}

/* -- time, events --------------------------------------------------------------------------- */

static double earlier(double a, double b) {
    return a < b ? a : b;
}

double sm_due(const struct session_machine *m) {
    double due = earlier(m->tx ? m->ack_due : INFINITY, m->end_due);
    for (const struct session_path *p = m->paths; p; p = p->next)
        if (p->state == PATH_LIVE)
            due = earlier(due, paths_due(m, p));
    return due;
}

static void on_end_due(struct session_machine *m) {
    m->end_due = INFINITY;
    if (m->state == SESSION_CLOSING || m->closed)
        session_finish(m);
}

void sm_tick(struct session_machine *m, double now) {
    if (now >= m->ack_due) {
        m->ack_now = true;
        m->ack_due = INFINITY;
    }
    if (now >= m->end_due)
        on_end_due(m);
    for (struct session_path *p = m->paths; p; p = p->next)
        paths_check(m, p, now);
}

bool sm_has_event(const struct session_machine *m) {
    return m->events != NULL;
}

bool sm_event(struct session_machine *m, struct session_event *event) {
    struct event_node *node = m->events;
    if (!node)
        return false;
    *event = node->event;
    m->events = node->next;
    m->event_count--;
    free(node);
    return true;
}

void sm_info(const struct session_machine *m, struct session_info *info) {
    *info = m->counts;
    info->state = m->state;
    info->path = m->tx && m->tx->up ? m->tx->number : 0;
    info->paths = 0;
    for (const struct session_path *p = m->paths; p; p = p->next)
        info->paths += p->state == PATH_LIVE && p->up;
    info->paths_so_far = m->last_number;
    info->sent = m->keep.end - m->shut;
    info->received = session_read_position(m);
    info->kept = m->keep.held;
    info->unacked = m->keep.end - m->keep.acked;
    info->keep = m->bound;
    info->unread = m->inbox.in.len + m->inbox.ahead.len;
    info->rtt = m->tx && paths_rtt(m->tx) > 0 ? paths_rtt(m->tx) : -1;
}

const char *sm_reason(const struct session_machine *m) {
    return m->error ? m->reason : NULL;
}

int sm_error(const struct session_machine *m) {
    return m->error;
}
