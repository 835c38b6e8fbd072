/*
 * The window grows and shrinks as CUBIC does in its Reno-friendly region (RFC 9438 §4.3): with the
 * 192 KiB that a receiver takes, CUBIC would leave that region only where a round trip is shorter
 * than it takes to matter. Slow start looks at the delay (HyStart++), and what leaves is paced: so
 * a queue on the way is rarely overrun.
 */
#include "host/reliable/congestion.h"

#include <math.h>

#define INITIAL_DATAGRAMS 10 /* RFC 6928 */
#define MINIMUM_DATAGRAMS 2
#define WINDOW_MAX (4 * 1024 * 1024)
#define SHRINK 0.7       /* RFC 9438 §4.6 */
#define GROWTH 0.529     /* 3 (1 - SHRINK) / (1 + SHRINK): RFC 9438 §4.3 */
#define DELAY_MIN_S 4e-3 /* RFC 9406 §4.3 */
#define DELAY_MAX_S 16e-3
#define SLOW_DIVISOR 4
#define SLOW_ROUNDS 3
#define BURST_DATAGRAMS 10
#define BURST_S 2e-3 /* what the loop's timers may be late */

void congestion_init(struct congestion *c, size_t size) {
    *c = (struct congestion){.size = size,
                             .window = INITIAL_DATAGRAMS * size,
                             .threshold = SIZE_MAX,
                             .recovering_since = -INFINITY,
                             .round_minimum = INFINITY,
                             .baseline = INFINITY,
                             .tokens = BURST_DATAGRAMS * (double)size,
                             .filled_at = -INFINITY};
}

static bool is_starting(const struct congestion *c) {
    return c->window < c->threshold;
}

static size_t at_least(const struct congestion *c, double window) {
    size_t minimum = MINIMUM_DATAGRAMS * c->size;
    return window > (double)minimum ? (size_t)window : minimum;
}

/* -- the window ---------------------------------------------------------------------------- */

static void land(struct congestion *c, size_t bytes) {
    c->in_flight -= bytes < c->in_flight ? bytes : c->in_flight;
}

void congestion_acked(struct congestion *c, size_t bytes, double sent_at) {
    land(c, bytes);
    if (!c->limited || sent_at <= c->recovering_since || c->window >= WINDOW_MAX)
        return;
    if (!is_starting(c))
        c->window += (size_t)(GROWTH * (double)c->size * (double)bytes / (double)c->window + 0.5);
    else
        c->window += c->slow_rounds ? bytes / SLOW_DIVISOR : bytes;
}

void congestion_lost(struct congestion *c, size_t bytes, double sent_at, double now) {
    land(c, bytes);
    c->episode++;
    if (sent_at <= c->recovering_since)
        return;
    c->episode = 1;
    c->former_window = c->window;
    c->former_threshold = c->threshold;
    c->recovering_since = now;
    c->window = c->threshold = at_least(c, SHRINK * (double)c->window);
}

void congestion_spurious(struct congestion *c, double sent_at) {
    if (sent_at > c->recovering_since || --c->episode != 0)
        return;
    c->recovering_since = -INFINITY;
    c->window = c->window > c->former_window ? c->window : c->former_window;
    c->threshold = c->former_threshold;
}

void congestion_collapse(struct congestion *c) {
    c->window = at_least(c, 0);
}

/* -- the end of slow start ----------------------------------------------------------------- */

static double recent_minimum(const struct congestion *c) {
    double minimum = INFINITY;
    for (int i = 0; i < CONGESTION_SAMPLES; i++)
        minimum = fmin(minimum, c->recent[i]);
    return minimum;
}

/* The least of the latest samples, not of the round: what is paced at twice the rate leaves the
 * queue empty at each round's beginning. */
static bool is_delayed(const struct congestion *c) {
    double threshold = fmin(fmax(c->baseline / 8, DELAY_MIN_S), DELAY_MAX_S);
    return c->samples >= CONGESTION_SAMPLES && recent_minimum(c) >= c->baseline + threshold;
}

/* One round with a queue may be chance: the window grows on, more slowly, until others have one. */
static void end_round(struct congestion *c, uint64_t next) {
    c->round_end = next;
    c->slow_rounds = c->delayed ? c->slow_rounds + 1 : 0;
    if (!c->slow_rounds)
        c->baseline = c->round_minimum;
    c->round_minimum = INFINITY;
    c->delayed = false;
    if (c->slow_rounds < SLOW_ROUNDS)
        return;
    c->slow_rounds = 0;
    c->threshold = c->window;
}

void congestion_sample(struct congestion *c, const struct rtt *r, uint64_t acked, uint64_t next) {
    if (!is_starting(c))
        return;
    c->recent[c->samples++ % CONGESTION_SAMPLES] = r->latest;
    c->round_minimum = fmin(c->round_minimum, r->latest);
    c->delayed = c->delayed || is_delayed(c);
    if (acked >= c->round_end || (c->delayed && !c->slow_rounds))
        end_round(c, next);
}

/* -- leaving ------------------------------------------------------------------------------- */

bool congestion_has_room(const struct congestion *c) {
    return c->in_flight + c->size <= c->window;
}

void congestion_sent(struct congestion *c, size_t bytes) {
    c->in_flight += bytes;
    c->tokens -= (double)bytes;
    c->limited = !congestion_has_room(c);
}

double congestion_pace(struct congestion *c, const struct rtt *r, double now) {
    if (!rtt_is_measured(r))
        return now;
    double gain = is_starting(c) ? 2 : 1.25;
    double rate = gain * (double)c->window / r->smoothed;
    double most = fmax(BURST_DATAGRAMS * (double)c->size, rate * BURST_S);
    c->tokens = fmin(most, c->tokens + rate * fmin(now - c->filled_at, 1));
    c->filled_at = now;
    return c->tokens >= (double)c->size ? now : now + ((double)c->size - c->tokens) / rate;
}
