/* What leaves, and when: timers first, then the next datagram. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "host/reliable.h"
#include "host/reliable/loss.h"

/* -- timers -------------------------------------------------------------------------------- */

static double backed_off(const struct reliable *r, int times) {
    double wait = rtt_timeout(&r->rtt);
    return fmin(ldexp(wait, times < 16 ? times : 16), fmax(PROBE_MOST_S, wait));
}

static double probe_due(const struct reliable *r) {
    return r->sent.in_flight && r->state == RELIABLE_OPENED
               ? r->sent.last_at + backed_off(r, r->probes)
               : INFINITY;
}

/* The word of a larger window may have been lost: RFC 9293 §3.8.6.1. */
static double question_due(const struct reliable *r) {
    bool waiting = r->state == RELIABLE_OPENED && !r->sent.in_flight;
    return waiting && outflow_is_blocked(&r->outflow)
               ? r->sent.last_at + backed_off(r, r->questions)
               : INFINITY;
}

static double keepalive_due(const struct reliable *r) {
    return r->state == RELIABLE_OPENED && !r->sent.in_flight ? r->sent_at + r->keepalive : INFINITY;
}

/* Time in which we slept is nobody's silence: it begins with a question, and some are asked. */
static double silence_due(const struct reliable *r) {
    if (r->state == RELIABLE_OPENING)
        return r->began + r->options.silence;
    bool waiting = r->state == RELIABLE_OPENED && r->sent.in_flight && r->probes >= SILENT_PROBES;
    return waiting ? fmax(r->received_at, r->asked_at) + r->options.silence : INFINITY;
}

/* The oldest in flight goes out again as well: if it is not lost, that costs one packet. */
static bool retransmit_oldest(struct reliable *r) {
    for (uint64_t n = r->sent.base; n < r->sent.next; n++) {
        const struct sent_packet *p = sent_get(&r->sent, n);
        if (p->fate != SENT_IN_FLIGHT || !p->units)
            continue;
        outflow_lost(&r->outflow, p->position, p->position + p->units);
        return true;
    }
    return false;
}

/* Small ones in between, which pass where full ones do not. */
static void probe(struct reliable *r, double now) {
    r->sent.last_at = now;
    r->small_probe = r->probes++ % 2 || !retransmit_oldest(r);
    r->credit = r->small_probe ? 0 : 1;
}

static void speak_up(struct reliable *r, double now) {
    if (now >= r->loss_due)
        loss_detect(r, now);
    if (now >= probe_due(r))
        probe(r, now);
    if (now >= keepalive_due(r))
        r->ping = true;
    if (now >= question_due(r)) {
        r->ping = true;
        r->questions++;
    }
    if (r->in.unacked && now >= r->in.due)
        r->in.now = true;
}

static void run_timers(struct reliable *r, double now) {
    if (now >= silence_due(r))
        machine_give_up(r, -ETIMEDOUT, NULL, now);
    if (now >= r->leave_by && r->state < RELIABLE_ENDED)
        machine_give_up(r, -ECONNRESET, LINK_CLOSED, now);
    if (now >= r->gone_at && (r->state == RELIABLE_ENDED || r->left))
        r->state = RELIABLE_GONE;
    if (r->state < RELIABLE_FAILED)
        speak_up(r, now);
}

static double earliest(const double *due, size_t n) {
    double first = INFINITY;
    for (size_t i = 0; i < n; i++)
        first = fmin(first, due[i]);
    return first;
}

double reliable_due(const struct reliable *r) {
    if (r->state == RELIABLE_GONE)
        return INFINITY;
    if (r->state == RELIABLE_FAILED)
        return fmin(r->resets ? r->reset_due : INFINITY, r->left ? r->gone_at : INFINITY);
    const double due[] = {
        probe_due(r),
        keepalive_due(r),
        question_due(r),
        silence_due(r),
        r->state < RELIABLE_ENDED ? r->leave_by : INFINITY,
        r->open_due,
        r->loss_due,
        r->pace_due,
        r->in.unacked ? r->in.due : INFINITY,
        r->state == RELIABLE_ENDED ? r->gone_at : INFINITY,
    };
    return earliest(due, sizeof due / sizeof *due);
}

/* -- a datagram ---------------------------------------------------------------------------- */

static void begin(const struct reliable *r, struct reliable_packet *p, uint8_t flags) {
    *p = (struct reliable_packet){.number = (uint32_t)r->sent.next,
                                  .back = (uint16_t)(r->sent.next - r->sent.base)};
    p->flags = flags | (r->options.dialer ? RELIABLE_DIALER : 0);
    memcpy(p->id, r->options.id, sizeof p->id);
}

/* A run longer than its field is told in part: its older packets are settled anyhow. */
static void add_runs(const struct reliable *r, struct reliable_packet *p) {
    const struct ranges *numbers = &r->in.numbers;
    uint64_t before = 0;
    for (int i = numbers->count - 1; i >= 0; i--) {
        uint64_t last = numbers->list[i].to - 1,
                 count = numbers->list[i].to - numbers->list[i].from;
        if (p->ack.runs && before - last > UINT16_MAX)
            return;
        count = count < UINT16_MAX ? count : UINT16_MAX;
        p->ack.run[p->ack.runs++] = (struct reliable_run){(uint32_t)last, (uint16_t)count};
        before = last - count;
    }
}

static uint16_t ack_delay(const struct reliable *r, double now) {
    double units = (now - r->in.highest_at) / RELIABLE_ACK_DELAY_S;
    return units < 0 ? 0 : units < UINT16_MAX ? (uint16_t)units : UINT16_MAX;
}

static void add_ack(struct reliable *r, struct reliable_packet *p, double now) {
    uint64_t cumulative = inflow_cumulative(&r->inflow), limit = inflow_limit(&r->inflow);
    if (r->received_at == -INFINITY)
        return;
    p->flags |= RELIABLE_ACK;
    p->ack.delay = ack_delay(r, now);
    p->ack.cumulative = (uint32_t)cumulative;
    p->ack.window = limit > cumulative ? (uint32_t)(limit - cumulative) : 0;
    add_runs(r, p);
}

/* After one that carries an acknowledgement has left. */
static void acknowledged(struct reliable *r, const struct reliable_packet *p) {
    if (!(p->flags & RELIABLE_ACK))
        return;
    r->in.unacked = 0;
    r->in.now = false;
    r->limit_sent = inflow_limit(&r->inflow);
    if ((p->flags & RELIABLE_ELICITING) && !r->end_acked_in && inflow_is_done(&r->inflow))
        r->end_acked_in = r->sent.next; /* the number of this one, and 1 */
}

static struct sent_packet *record(struct reliable *r, size_t len, bool opens, double now) {
    if (!r->sent.in_flight)
        r->asked_at = now;
    struct sent_packet *s = sent_add(&r->sent, now);
    s->size = (uint16_t)len;
    s->opens = opens;
    if (!opens)
        congestion_sent(&r->congestion, len + DATAGRAM_COST);
    r->credit -= r->credit > 0;
    r->ping = r->small_probe = false;
    return s;
}

static size_t finish(struct reliable *r, struct reliable_packet *p, void *datagram, size_t max,
                     const struct flow_chunk *chunk, double now) {
    ssize_t len = reliable_encode(p, datagram, max);
    if (len < 0)
        return 0;
    if (p->flags & RELIABLE_ELICITING) {
        struct sent_packet *s = record(r, (size_t)len, p->flags & RELIABLE_OPEN, now);
        s->position = chunk ? chunk->position : 0;
        s->units = chunk ? chunk->units : 0;
        s->acks = p->flags & RELIABLE_ACK;
    }
    acknowledged(r, p);
    r->sent_at = now;
    r->counts.datagrams_out++;
    return (size_t)len;
}

static size_t send_empty(struct reliable *r, uint8_t flags, void *datagram, size_t max,
                         double now) {
    struct reliable_packet p;
    begin(r, &p, flags);
    add_ack(r, &p, now);
    return finish(r, &p, datagram, max, NULL, now);
}

/* -- data ---------------------------------------------------------------------------------- */

static bool may_send(const struct reliable *r) {
    if (r->state != RELIABLE_OPENED || sent_is_full(&r->sent, r->credit ? 0 : SENT_RESERVE))
        return false;
    return r->credit || congestion_has_room(&r->congestion);
}

static bool is_paced(struct reliable *r, double now) {
    double at = r->credit ? now : congestion_pace(&r->congestion, &r->rtt, now);
    if (at > now)
        r->pace_due = at;
    return at > now;
}

static size_t send_data(struct reliable *r, void *datagram, size_t max, double now) {
    struct flow_chunk chunk;
    struct reliable_packet p;
    uint8_t body[RELIABLE_SIZE_MAX];
    r->pace_due = INFINITY;
    if (!may_send(r))
        return 0;
    begin(r, &p, RELIABLE_ELICITING | RELIABLE_DATA);
    if (r->in.unacked || r->in.now)
        add_ack(r, &p, now);
    size_t overhead = reliable_overhead(&p);
    size_t room = (r->size < max ? r->size : max) - overhead;
    if (!outflow_next(&r->outflow, room, r->sent.in_flight == 0, &chunk) || is_paced(r, now))
        return 0;
    r->counts.retransmitted += chunk.position < r->outflow.next;
    p.flags |= chunk.fin ? RELIABLE_FIN : 0;
    p.position = (uint32_t)chunk.position;
    p.data = body;
    p.len = chunk.len;
    outflow_copy(&r->outflow, &chunk, body);
    outflow_sent(&r->outflow, &chunk);
    return finish(r, &p, datagram, max, &chunk, now);
}

/* -- openings and resets ------------------------------------------------------------------- */

static size_t send_open(struct reliable *r, void *datagram, size_t max, double now) {
    bool asked = r->in.now && r->received_at != -INFINITY;
    if (r->state != RELIABLE_OPENING || (now < r->open_due && !asked))
        return 0;
    if (now >= r->open_due) {
        r->open_due = now + r->open_wait;
        r->open_wait = fmin(2 * r->open_wait, OPEN_MOST_S);
    }
    return send_empty(r, RELIABLE_ELICITING | RELIABLE_OPEN, datagram, max, now);
}

static size_t send_reset(struct reliable *r, void *datagram, size_t max, double now) {
    struct reliable_packet p;
    if (!r->resets || now < r->reset_due)
        return 0;
    r->resets--;
    r->reset_due = now + rtt_timeout(&r->rtt);
    begin(r, &p, RELIABLE_RESET);
    p.code = (uint16_t)-r->error;
    p.data = (const uint8_t *)r->reason;
    p.len = strnlen(r->reason, RELIABLE_REASON_MAX);
    return finish(r, &p, datagram, max, NULL, now);
}

size_t reliable_poll(struct reliable *r, void *datagram, size_t max, double now) {
    run_timers(r, now);
    if (r->state == RELIABLE_GONE)
        return 0;
    if (r->state == RELIABLE_FAILED)
        return send_reset(r, datagram, max, now);
    bool may_ping = r->state == RELIABLE_OPENED && !sent_is_full(&r->sent, 0);
    size_t len = send_open(r, datagram, max, now);
    if (!len && r->small_probe && may_ping)
        len = send_empty(r, RELIABLE_ELICITING, datagram, max, now);
    if (!len)
        len = send_data(r, datagram, max, now);
    if (!len && r->ping && may_ping)
        len = send_empty(r, RELIABLE_ELICITING, datagram, max, now);
    if (!len && r->in.now)
        len = send_empty(r, 0, datagram, max, now);
    return len;
}
