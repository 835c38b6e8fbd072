/* The life of a reliable link, and what its user calls. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/reliable/machine.h"

#define CLOSED "the link was closed" /* what the peer is told */
#define LOOKAHEAD (32 * 1024)        /* bytes that are taken beyond what may leave now */

struct reliable *reliable_new(const struct reliable_options *options, double now) {
    struct reliable *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->options = *options;
    if (r->options.silence <= 0)
        r->options.silence = RELIABLE_SILENCE_S;
    r->size = options->size ? options->size : RELIABLE_SIZE;
    r->size = r->size < RELIABLE_SIZE_MIN   ? RELIABLE_SIZE_MIN
              : r->size > RELIABLE_SIZE_MAX ? RELIABLE_SIZE_MAX
                                            : r->size;
    r->inflow = INFLOW_INIT(options->messages);
    r->outflow.messages = options->messages;
    r->open_due = r->spoke = r->began = now;
    r->open_wait = OPEN_FIRST_S;
    r->loss_due = r->pace_due = r->gone_at = r->leave_by = INFINITY;
    r->heard = -INFINITY;
    congestion_init(&r->congestion, r->size + DATAGRAM_COST);
    return r;
}

void reliable_free(struct reliable *r) {
    if (!r)
        return;
    ranges_fini(&r->in.numbers);
    inflow_fini(&r->inflow);
    outflow_fini(&r->outflow);
    sent_fini(&r->sent);
    free(r);
}

/* -- how it ends --------------------------------------------------------------------------- */

static double linger(const struct reliable *r) {
    return fmin(LINGER_TIMEOUTS * rtt_timeout(&r->rtt), LINGER_MOST_S);
}

void reliable_fail(struct reliable *r, int error, const char *why) {
    if (r->state >= RELIABLE_FAILED)
        return;
    r->state = RELIABLE_FAILED;
    r->error = error;
    r->resets = 0;
    r->gone_at = r->left ? -INFINITY : r->gone_at;
    snprintf(r->reason, sizeof r->reason, "%s", why);
}

/* The peer is told, and what was to be sent is forgotten. */
void reliable_give_up(struct reliable *r, int error, const char *why, double now) {
    char text[sizeof r->reason];
    bool opening = r->state == RELIABLE_OPENING;
    if (r->state >= RELIABLE_FAILED)
        return;
    if (!why)
        snprintf(text, sizeof text, "the peer has %s for %g s",
                 opening ? "not answered" : "been silent", r->options.silence);
    reliable_fail(r, error, why ? why : text);
    r->resets = opening || error == -ETIMEDOUT ? 1 : RESETS;
    r->reset_due = now;
    r->gone_at = now + linger(r);
}

/* Both halves are through: in RELIABLE_ENDED the peer may ask for the last acknowledgement again,
 * and each question makes it last. It need not if we know that the peer has it. */
void reliable_check_end(struct reliable *r, double now) {
    if (!outflow_is_done(&r->outflow))
        return;
    if (!inflow_is_done(&r->inflow)) {
        if (r->left)
            reliable_give_up(r, -ECONNRESET, CLOSED, now);
        return;
    }
    if (r->state != RELIABLE_ENDED)
        r->ended = now;
    r->state = RELIABLE_ENDED;
    r->gone_at = r->end_known ? now : fmin(now + linger(r), r->ended + ENDED_MOST_S);
}

void reliable_leave(struct reliable *r, double now) {
    bool was_heard = r->heard != -INFINITY;
    bool draining = r->state == RELIABLE_OPENED && r->outflow.shut;
    if (r->left)
        return;
    r->left = true;
    r->leave_by = draining ? now + LEAVE_S : INFINITY;
    if (draining)
        reliable_check_end(r, now);
    else if (r->state < RELIABLE_ENDED)
        reliable_give_up(r, -ECONNRESET, CLOSED, now);
    if (r->state == RELIABLE_FAILED && (!was_heard || !r->resets))
        r->gone_at = now;
}

/* -- what one can ask ---------------------------------------------------------------------- */

enum reliable_state reliable_state(const struct reliable *r) {
    return r->state;
}

int reliable_error(const struct reliable *r) {
    return r->error;
}

const char *reliable_reason(const struct reliable *r) {
    return r->error ? r->reason : NULL;
}

void reliable_info(const struct reliable *r, struct reliable_info *info) {
    *info = r->counts;
    info->state = r->state;
    info->messages = r->options.messages;
    info->rtt = r->rtt.smoothed;
    info->size = r->size;
    info->window = r->congestion.window;
    info->flight = r->congestion.flight;
    info->unacked =
        (size_t)(r->outflow.end > r->outflow.acked ? r->outflow.end - r->outflow.acked : 0);
}

bool reliable_is_readable(const struct reliable *r) {
    return inflow_is_readable(&r->inflow) || r->error;
}

bool reliable_is_flushed(const struct reliable *r) {
    if (r->error)
        return true;
    return r->outflow.shut ? outflow_is_done(&r->outflow) : r->outflow.acked >= r->outflow.end;
}

static uint64_t ceiling(const struct reliable *r) {
    return r->outflow.acked + r->congestion.window + LOOKAHEAD;
}

static int write_error(const struct reliable *r) {
    if (r->error)
        return r->error;
    if (r->outflow.shut)
        return -EPIPE;
    return r->state == RELIABLE_OPENING ? -EAGAIN : 0;
}

bool reliable_is_writable(const struct reliable *r) {
    const struct outflow *o = &r->outflow;
    int err = write_error(r);
    if (err)
        return err != -EAGAIN;
    if (o->messages)
        return o->end - o->acked < FLOW_MESSAGES;
    uint64_t most = o->limit < o->acked + FLOW_WINDOW ? o->limit : o->acked + FLOW_WINDOW;
    return o->end < most && o->end < ceiling(r);
}

/* -- reading ------------------------------------------------------------------------------- */

/* The peer learns of new room in time; if it may have none left, it has to say that it knows. */
static void made_room(struct reliable *r) {
    uint64_t limit = inflow_limit(&r->inflow);
    uint64_t whole = limit - r->inflow.read;
    uint64_t left = r->told > r->inflow.next ? r->told - r->inflow.next : 0;
    if (r->state != RELIABLE_OPENED || inflow_is_done(&r->inflow) || limit - r->told < whole / 4)
        return;
    r->in.now = true;
    if (left < whole / 4)
        r->ping = true;
}

ssize_t reliable_read(struct reliable *r, void *data, size_t len) {
    ssize_t n = inflow_read(&r->inflow, data, len);
    if (n > 0)
        made_room(r);
    return n == -EAGAIN && r->error ? r->error : n;
}

ssize_t reliable_message(const struct reliable *r, const char **data) {
    ssize_t n = inflow_message(&r->inflow, data);
    return n == -EAGAIN && r->error ? r->error : n;
}

void reliable_drop(struct reliable *r) {
    inflow_drop(&r->inflow);
    made_room(r);
}

/* -- writing ------------------------------------------------------------------------------- */

ssize_t reliable_write(struct reliable *r, const void *data, size_t len) {
    int err = write_error(r);
    return err ? err : outflow_write(&r->outflow, data, len, ceiling(r));
}

size_t reliable_message_max(const struct reliable *r) {
    return r->size - RELIABLE_HEADER_SIZE - RELIABLE_DATA_HEADER;
}

int reliable_post(struct reliable *r, const void *data, size_t len) {
    int err = write_error(r);
    if (err)
        return err;
    return len > reliable_message_max(r) ? -EMSGSIZE : outflow_post(&r->outflow, data, len);
}

int reliable_shutdown(struct reliable *r) {
    if (r->error)
        return r->error;
    r->outflow.shut = true;
    return 0;
}
