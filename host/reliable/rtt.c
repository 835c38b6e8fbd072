/*
 * Each packet has its own number, so a sample never belongs to another copy of it (Karn's problem).
 * The timeout only sends a probe (RFC 8985 §7); what is lost, the acknowledgements tell. So it may
 * be below the second of RFC 6298 §2.4: one that comes too early costs one packet.
 */
#include "host/reliable/rtt.h"

#include <math.h>

#define INITIAL_S 0.333    /* RFC 9002 §6.2.2 */
#define GRANULARITY_S 2e-3 /* of the loop's timers */

bool rtt_is_measured(const struct rtt *r) {
    return r->latest > 0;
}

void rtt_sample(struct rtt *r, double seconds, double delay) {
    seconds = fmax(seconds, 1e-6);
    bool first = !rtt_is_measured(r);
    r->latest = seconds;
    r->minimum = first ? seconds : fmin(r->minimum, seconds);
    delay = fmin(delay, RTT_ACK_DELAY_S);
    double adjusted = seconds - delay >= r->minimum ? seconds - delay : seconds;
    if (first) {
        r->smoothed = adjusted;
        r->variance = adjusted / 2;
        return;
    }
    r->variance += (fabs(r->smoothed - adjusted) - r->variance) / 4;
    r->smoothed += (adjusted - r->smoothed) / 8;
}

double rtt_timeout(const struct rtt *r) {
    if (!rtt_is_measured(r))
        return 3 * INITIAL_S;
    return r->smoothed + fmax(4 * r->variance, GRANULARITY_S) + RTT_ACK_DELAY_S;
}
