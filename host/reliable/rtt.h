/* How long a round trip takes (RFC 6298), and how long to wait for one. Seconds. */
#ifndef P2PD_RTT_H
#define P2PD_RTT_H

#include <stdbool.h>

#define RTT_ACK_DELAY_S 0.02 /* the longest that a peer waits before it acknowledges */

struct rtt {
    double smoothed, variance, minimum, latest; /* 0 until measured */
};

/* A round trip of which the peer spent `delay` waiting; that part is left out of what is smoothed.
 */
void rtt_sample(struct rtt *r, double seconds, double delay);

bool rtt_is_measured(const struct rtt *r);

/* When to ask again what has become of the last packet. */
double rtt_timeout(const struct rtt *r);

#endif
