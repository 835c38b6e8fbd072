/* What a punch is to do: its mappings, and when which SYN leaves. */
#ifndef P2PD_HOST_PUNCH_PLAN_H
#define P2PD_HOST_PUNCH_PLAN_H

#include <net/if.h>

#include "host/inet.h"

#define PUNCH_MAPPINGS_MAX 1024 /* of one punch, in all */
#define PUNCH_OPEN_MAX 320      /* sockets of one punch at a time */
#define PUNCH_RATE_MAX 10000    /* SYNs a second */
#define PUNCH_ERRNO_MAX 134     /* Linux has errors 1 to 133 */

struct punch_mapping {
    struct inet_addr local;  /* port 0: a free one, kept over the retries */
    struct inet_addr remote; /* of the same family */
    char device[IFNAMSIZ];   /* "": any */
    double after_s;          /* its first SYN leaves so long after the plan's instant */
    int ttl;                 /* of its first SYN, IPv4 only; 0: the usual one */
};

struct punch_plan {
    double at, deadline; /* on loop_now()'s scale */
    double gap_s;        /* mean pause between a failure and the next try; taken x0.2 to x1.8 */
    double hold_s;       /* a mapping is given up so long after its first SYN; INFINITY: never */
    double ttl_for_s;    /* a low TTL is raised so long after the first SYN */
    int max_open;        /* sockets at a time; whose turn comes then waits for one to end */
    int rate;            /* SYNs in any one second, retries included */
    int syns_max;        /* SYNs in all, retries included; 0: any number */
    int n;
    const struct punch_mapping *mappings;
};

#endif
