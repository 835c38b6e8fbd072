/* The session is over for both when each has the other's end, and knows that its own has arrived:
 * then BYE, so that the peer need not wait for a path to learn that. */
#include "host/session/end.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void session_tell(struct session_machine *m, const struct session_event *event,
                  const char *reason) {
    struct event_node *node = calloc(1, sizeof *node), **tail = &m->events;
    if (!node)
        abort();
    node->event = *event;
    snprintf(node->event.reason, sizeof node->event.reason, "%s", reason ? reason : "");
    while (*tail)
        tail = &(*tail)->next;
    *tail = node;
    if (++m->event_count <= EVENTS_MAX)
        return;
    node = m->events;
    m->events = node->next;
    m->event_count--;
    free(node);
}

static void leave_paths(struct session_machine *m, unsigned due) {
    for (struct session_path *p = m->paths; p; p = p->next) {
        if (p->state != PATH_LIVE)
            continue;
        p->state = PATH_LEAVING;
        p->due = (p->due & DUE_HELLO) | due;
    }
    m->live = 0;
    m->wanted = m->old = m->rx = NULL;
}

static void finish(struct session_machine *m, enum session_state state, unsigned due) {
    m->state = state;
    m->end_due = m->ack_due = INFINITY;
    leave_paths(m, due);
    m->tx = NULL;
    session_keep_fini(&m->keep);
    session_inbox_forget(&m->inbox, m->inbox.ahead_path);
    session_tell(m, &(struct session_event){.type = SESSION_OVER, .code = m->error}, m->reason);
}

void session_break(struct session_machine *m, int code, const char *why, bool told) {
    if (m->state >= SESSION_ENDED)
        return;
    m->error = code ? code : -ECONNRESET;
    snprintf(m->reason, sizeof m->reason, "%s", why);
    finish(m, SESSION_FAILED, told ? 0 : DUE_RESET);
}

void session_finish(struct session_machine *m) {
    bool closed = m->state == SESSION_OPEN; /* the peer has not ended its half */
    if (m->state < SESSION_ENDED)
        finish(m, SESSION_ENDED, closed ? DUE_RESET : 0);
}

static double earlier(double a, double b) {
    return a < b ? a : b;
}

void session_check_end(struct session_machine *m, double now) {
    bool delivered = m->shut && m->keep.acked == m->keep.end;
    if (m->state == SESSION_OPEN && delivered && m->inbox.ended) {
        m->state = SESSION_CLOSING;
        m->bye_due = true;
        m->end_due = m->tx ? now + m->options.silence + LINGER_S : INFINITY;
    } else if (m->state == SESSION_OPEN && delivered && m->closed) {
        m->end_due = earlier(m->end_due, now + LINGER_S);
    }
    if (m->state == SESSION_CLOSING && m->bye_in && (m->bye_sent || !m->tx))
        session_finish(m);
}
