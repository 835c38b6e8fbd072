/* Congestion control: how much may be in flight, and how fast it leaves. Bytes and seconds. */
#ifndef P2PD_HOST_RELIABLE_CONGESTION_H
#define P2PD_HOST_RELIABLE_CONGESTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/reliable/rtt.h"

#define CONGESTION_SAMPLES 8 /* RFC 9406 §4.3 */

struct congestion {
    size_t size;      /* of a full datagram */
    size_t window;    /* may be in flight */
    size_t threshold; /* slow start ends here */
    size_t in_flight;
    double recovering_since; /* losses of what was sent before are one loss */
    int episode;             /* packets lost in it whose loss was not spurious */
    size_t former_window, former_threshold;
    bool limited; /* it was the window that held us back */
    /* the end of slow start, after HyStart++ (RFC 9406) */
    uint64_t round_end; /* the number whose acknowledgement ends the round */
    double round_minimum, baseline;
    double recent[CONGESTION_SAMPLES]; /* the latest round trips */
    unsigned samples;
    bool delayed;    /* a queue has shown in this round */
    int slow_rounds; /* in a row in which one has */
    /* pacing */
    double tokens; /* bytes that may leave at once */
    double filled_at;
};

void congestion_init(struct congestion *c, size_t size);

/* `bytes` of what was sent at `sent_at` are acknowledged, or were lost. */
void congestion_acked(struct congestion *c, size_t bytes, double sent_at);
void congestion_lost(struct congestion *c, size_t bytes, double sent_at, double now);

/* A loss was spurious. If all of the episode were, it was none (RFC 4015). */
void congestion_spurious(struct congestion *c, double sent_at);

/* Everything was lost, over several timeouts (RFC 9002 §7.6). */
void congestion_collapse(struct congestion *c);

/* After each sample: `acked` is the highest number that was acknowledged, `next` the next to be
 * sent. */
void congestion_sample(struct congestion *c, const struct rtt *r, uint64_t acked, uint64_t next);

void congestion_sent(struct congestion *c, size_t bytes);
bool congestion_has_room(const struct congestion *c);

/* The instant at which a full datagram may leave; `now`, or before: at once. */
double congestion_pace(struct congestion *c, const struct rtt *r, double now);

#endif
