/* What the user of a reliable link calls. */
#include "host/reliable.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "host/reliable/machine.h"

#define LOOKAHEAD (32 * 1024) /* bytes that are taken beyond what may leave now */

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
    r->keepalive = KEEPALIVE_S;
    r->inflow = INFLOW_INIT;
    r->open_due = r->sent_at = r->began = now;
    r->open_wait = OPEN_FIRST_S;
    r->loss_due = r->pace_due = r->gone_at = r->leave_by = INFINITY;
    r->received_at = -INFINITY;
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

void reliable_set_silence(struct reliable *r, double seconds) {
    r->keepalive = fmin(KEEPALIVE_S, seconds / 3);
    r->options.silence = seconds - r->keepalive;
}

/* -- leaving -------------------------------------------------------------------------------- */

void reliable_leave(struct reliable *r, double now) {
    bool was_heard = r->received_at != -INFINITY;
    bool draining = r->state == RELIABLE_OPENED && r->outflow.shut;
    if (r->left)
        return;
    r->left = true;
    r->leave_by = draining ? now + LEAVE_S : INFINITY;
    if (draining)
        machine_check_end(r, now);
    else if (r->state < RELIABLE_ENDED)
        machine_give_up(r, -ECONNRESET, LINK_CLOSED, now);
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
    info->rtt = r->rtt.smoothed;
    info->size = r->size;
    info->window = r->congestion.window;
    info->in_flight = r->congestion.in_flight;
    info->unacked =
        (size_t)(r->outflow.end > r->outflow.acked ? r->outflow.end - r->outflow.acked : 0);
}

bool reliable_is_readable(const struct reliable *r) {
    return inflow_is_readable(&r->inflow) || r->error;
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
    uint64_t most = o->limit < o->acked + FLOW_WINDOW ? o->limit : o->acked + FLOW_WINDOW;
    return o->end < most && o->end < ceiling(r);
}

/* -- reading ------------------------------------------------------------------------------- */

/* The peer learns of new room in time; if it may have none left, it has to say that it knows. */
static void made_room(struct reliable *r) {
    uint64_t limit = inflow_limit(&r->inflow);
    uint64_t whole = limit - r->inflow.read;
    uint64_t left = r->limit_sent > r->inflow.next ? r->limit_sent - r->inflow.next : 0;
    if (r->state != RELIABLE_OPENED || inflow_is_done(&r->inflow) ||
        limit - r->limit_sent < whole / 4)
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

/* -- writing ------------------------------------------------------------------------------- */

ssize_t reliable_write(struct reliable *r, const void *data, size_t len) {
    int err = write_error(r);
    return err ? err : outflow_write(&r->outflow, data, len, ceiling(r));
}

int reliable_shutdown(struct reliable *r) {
    if (r->error)
        return r->error;
    r->outflow.shut = true;
    return 0;
}

void reliable_fail(struct reliable *r, int error, const char *why) {
    machine_fail(r, error, why);
}
