/* How a reliable link ends: it has failed, was given up, or both halves are through. */
#include "host/reliable/machine.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

static double linger(const struct reliable *r) {
    double wait = LINGER_TIMEOUTS * rtt_timeout(&r->rtt);
    return fmin(fmax(wait, LINGER_LEAST_S), LINGER_MOST_S);
}

void machine_fail(struct reliable *r, int error, const char *why) {
    if (r->state >= RELIABLE_FAILED)
        return;
    r->state = RELIABLE_FAILED;
    r->error = error;
    r->resets = 0;
    r->gone_at = r->left ? -INFINITY : r->gone_at;
    snprintf(r->reason, sizeof r->reason, "%s", why);
}

/* The peer is told, and what was to be sent is forgotten. */
void machine_give_up(struct reliable *r, int error, const char *why, double now) {
    char text[sizeof r->reason];
    bool opening = r->state == RELIABLE_OPENING;
    if (r->state >= RELIABLE_FAILED)
        return;
    if (!why)
        snprintf(text, sizeof text,
                 opening ? "the peer has not answered for %g s"
                         : "the peer vanished: silent for %g s",
                 r->options.silence);
    machine_fail(r, error, why ? why : text);
    r->resets = opening || error == -ETIMEDOUT ? 1 : RESETS;
    r->reset_due = now;
    r->gone_at = now + linger(r);
}

/* Both halves are through: in RELIABLE_ENDED the peer may ask for the last acknowledgement again,
 * and each question makes it last. It need not if we know that the peer has it. */
void machine_check_end(struct reliable *r, double now) {
    if (!outflow_is_done(&r->outflow))
        return;
    if (!inflow_is_done(&r->inflow)) {
        if (r->left)
            machine_give_up(r, -ECONNRESET, LINK_CLOSED, now);
        return;
    }
    if (r->state != RELIABLE_ENDED)
        r->ended = now;
    r->state = RELIABLE_ENDED;
    r->gone_at = r->end_known ? now : fmin(now + linger(r), r->ended + ENDED_MOST_S);
}
