/* What a received datagram changes: acknowledgements and data. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/reliable.h"
#include "host/reliable/loss.h"

/* -- acknowledgements ---------------------------------------------------------------------- */

static void on_acked(struct reliable *r, uint64_t number, struct sent_packet *p, bool spurious) {
    if (spurious && !p->opens)
        congestion_spurious(&r->congestion, p->at);
    else if (!p->opens)
        congestion_acked(&r->congestion, p->size + DATAGRAM_COST, p->at);
    r->counts.spurious += spurious;
    if (loss_is_full(r, p) && number >= r->full_acked) {
        r->full_acked = number + 1;
        r->black_rounds = 0;
    }
    if (r->end_acked_in && number + 1 >= r->end_acked_in)
        r->end_known = true;
}

/* The numbers of a run that we still keep, from the lowest; how many were news. */
static int take_run(struct reliable *r, const struct reliable_run *run) {
    uint64_t last = reliable_expand(r->sent.next, run->last);
    uint64_t first = last + 1 - run->count;
    int news = 0;
    for (uint64_t n = first < r->sent.base ? r->sent.base : first; n <= last; n++) {
        bool spurious;
        if (!sent_acked(&r->sent, n, &spurious))
            continue;
        news++;
        on_acked(r, n, sent_get(&r->sent, n), spurious);
    }
    return news;
}

static void measure(struct reliable *r, const struct reliable_packet *p, double sent_at,
                    double now) {
    rtt_sample(&r->rtt, now - sent_at, p->ack.delay * RELIABLE_ACK_DELAY_S);
    congestion_sample(&r->congestion, &r->rtt, r->sent.highest - 1, r->sent.next);
}

/* Nobody acknowledges what was never sent. */
static bool is_ack_honest(const struct reliable *r, const struct reliable_packet *p) {
    for (int i = 0; i < p->ack.runs; i++) {
        uint64_t last = reliable_expand(r->sent.next, p->ack.run[i].last);
        if (last >= r->sent.next || p->ack.run[i].count > last + 1)
            return false;
    }
    return reliable_expand(r->outflow.acked, p->ack.cumulative) <= r->outflow.next &&
           p->ack.window <= 16 * 1024 * 1024;
}

static void take_ack(struct reliable *r, const struct reliable_packet *p, double now) {
    uint64_t cumulative = reliable_expand(r->outflow.acked, p->ack.cumulative);
    int news = 0;
    if (p->ack.runs) {
        uint64_t highest = reliable_expand(r->sent.next, p->ack.run[0].last);
        bool timed = highest >= r->sent.base && sent_get(&r->sent, highest)->fate == SENT_IN_FLIGHT;
        double sent_at = timed ? sent_get(&r->sent, highest)->at : 0;
        for (int i = 0; i < p->ack.runs; i++)
            news += take_run(r, &p->ack.run[i]);
        if (timed)
            measure(r, p, sent_at, now);
    }
    if (outflow_advance(&r->outflow, cumulative, cumulative + p->ack.window))
        r->questions = 0;
    if (!news)
        return;
    int probes = r->probes;
    uint64_t lost = r->counts.lost;
    r->probes = r->credit = 0;
    loss_detect(r, now);
    if (probes >= COLLAPSE_PROBES && r->counts.lost > lost)
        congestion_collapse(&r->congestion);
}

/* -- what is to be acknowledged ------------------------------------------------------------ */

static void trim(struct ranges *numbers) {
    if (numbers->count > RELIABLE_RANGES_MAX)
        ranges_cut(numbers, numbers->list[1].from);
}

/* At once: every second one, and what shows that something is missing or was reordered. */
static void note_arrival(struct reliable *r, const struct reliable_packet *p, double now) {
    uint64_t number = reliable_expand(r->in.highest, p->number);
    uint64_t floor = number > p->back ? number - p->back : 0;
    bool in_turn = number == r->in.highest;
    ranges_cut(&r->in.numbers, floor);
    ranges_add(&r->in.numbers, number, number + 1);
    trim(&r->in.numbers);
    if (number >= r->in.highest) {
        r->in.highest = number + 1;
        r->in.highest_at = now;
    }
    if (r->in.unacked++ == 0)
        r->in.due = now + RTT_ACK_DELAY_S;
    bool empty = !(p->flags & RELIABLE_DATA) || (p->flags & RELIABLE_FIN);
    r->in.now = r->in.now || !in_turn || empty || r->in.unacked >= 2;
}

static int take_data(struct reliable *r, const struct reliable_packet *p) {
    uint64_t position = reliable_expand(r->inflow.next, p->position);
    int result = inflow_add(&r->inflow, position, p->data, p->len, p->flags & RELIABLE_FIN);
    r->counts.duplicates += result == 0;
    return result < 0 ? result : 0;
}

/* -- the datagram -------------------------------------------------------------------------- */

static bool is_ours(const struct reliable *r, const struct reliable_packet *p) {
    return memcmp(p->id, r->options.id, sizeof p->id) == 0 &&
           !(p->flags & RELIABLE_DIALER) == r->options.dialer;
}

static void take_reset(struct reliable *r, const struct reliable_packet *p) {
    char reason[RELIABLE_REASON_MAX + 40];
    int len = (int)p->len;
    for (int i = 0; i < len; i++) /* what is shown to people has no control characters */
        if (p->data[i] < ' ' || p->data[i] == 0x7f)
            len = i;
    snprintf(reason, sizeof reason, "the peer has given up%s%.*s", len ? ": " : "", len,
             (const char *)p->data);
    machine_fail(r, -ECONNRESET, reason);
}

static void open_up(struct reliable *r) {
    if (r->state != RELIABLE_OPENING)
        return;
    r->state = RELIABLE_OPENED;
    r->open_due = INFINITY;
}

static int take(struct reliable *r, const struct reliable_packet *p, double now) {
    if ((p->flags & RELIABLE_ACK) && !is_ack_honest(r, p))
        return -EBADMSG;
    if ((p->flags & RELIABLE_DATA) && take_data(r, p) < 0)
        return -EBADMSG;
    r->received_at = now;
    if (p->flags & RELIABLE_ELICITING)
        note_arrival(r, p, now);
    if (p->flags & RELIABLE_ACK) {
        take_ack(r, p, now);
        open_up(r);
    }
    if (r->state != RELIABLE_ENDED || (p->flags & RELIABLE_ELICITING))
        machine_check_end(r, now);
    return 0;
}

/* Who goes on although we have given up is told again. */
static void repeat_reset(struct reliable *r, double now) {
    bool wanted = isfinite(r->gone_at) && now < r->gone_at && now > r->sent_at + RTT_ACK_DELAY_S;
    if (!wanted || r->resets)
        return;
    r->resets = 1;
    r->reset_due = now;
}

int reliable_feed(struct reliable *r, const void *datagram, size_t len, double now) {
    struct reliable_packet p;
    if (reliable_decode(&p, datagram, len) < 0 || !is_ours(r, &p)) {
        r->counts.refused++;
        return -EBADMSG;
    }
    r->counts.datagrams_in++;
    if (r->state == RELIABLE_FAILED && !(p.flags & RELIABLE_RESET))
        repeat_reset(r, now);
    if (r->state >= RELIABLE_FAILED)
        return 0;
    if (p.flags & RELIABLE_RESET) {
        take_reset(r, &p);
        return 0;
    }
    int err = take(r, &p, now);
    r->counts.refused += err < 0;
    return err;
}
