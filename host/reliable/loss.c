/*
 * What follows from a loss: the congestion window shrinks, the data is to be sent again, and so is
 * an acknowledgement, with its window; a path that only loses full datagrams gets smaller ones.
 */
#include "host/reliable/loss.h"

#include <math.h>

bool loss_is_full(const struct reliable *r, const struct sent_packet *p) {
    return p->size > RELIABLE_SIZE_MIN && p->size >= r->size;
}

/* RFC 8899 §4.3: down to the size that we begin with, and from there to what any path takes. */
static void shrink(struct reliable *r) {
    r->size = r->size > RELIABLE_SIZE ? RELIABLE_SIZE : RELIABLE_SIZE_MIN;
    r->congestion.size = r->size + DATAGRAM_COST;
    r->black_rounds = 0;
}

static void judge_path(struct reliable *r, bool full_lost) {
    if (!full_lost || r->size <= RELIABLE_SIZE_MIN)
        return;
    if (++r->black_rounds >= BLACK_HOLE_ROUNDS)
        shrink(r);
}

void loss_detect(struct reliable *r, double now) {
    struct sent_packet *p;
    uint64_t number = r->sent.base;
    bool full_lost = false;
    r->loss_due = INFINITY;
    while ((p = sent_lose(&r->sent, &r->rtt, now, &number, &r->loss_due))) {
        r->counts.lost++;
        if (!p->opens)
            congestion_lost(&r->congestion, p->size + DATAGRAM_COST, p->at, now);
        if (p->units)
            outflow_lost(&r->outflow, p->position, p->position + p->units);
        r->in.now = r->in.now || p->acks;
        full_lost = full_lost || (loss_is_full(r, p) && number > r->full_acked);
    }
    judge_path(r, full_lost);
    r->loss_due = fmin(r->loss_due, sent_settle(&r->sent, &r->rtt, now));
}
