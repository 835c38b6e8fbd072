/* Round-trip time estimation (RFC 6298), and the probe timeout that follows from it. Seconds. */
#ifndef P2PD_HOST_RELIABLE_RTT_H
#define P2PD_HOST_RELIABLE_RTT_H

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
