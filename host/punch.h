/*
 * TCP hole punching: connect() calls that leave at an agreed instant, established sockets that come
 * back. Loop thread only; the work is done by a thread of its own.
 */
#ifndef P2PD_PUNCH_H
#define P2PD_PUNCH_H

#include <net/if.h>
#include <stdbool.h>

#include "host/inet.h"

#define PUNCH_MAPPINGS_MAX 1024 /* of one punch, in all */
#define PUNCH_OPEN_MAX 256      /* sockets of one punch at a time */
#define PUNCH_RATE_MAX 10000    /* SYNs a second */
#define PUNCH_ERRNO_MAX 134     /* Linux has errors 1 to 133 */

struct punch;

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
    int n;
    const struct punch_mapping *mappings;
};

struct punch_stats {
    int fired, failed, established, open;
    int errors[PUNCH_ERRNO_MAX]; /* how often each was met; ETIMEDOUT: no answer until the end */
    int reason;                  /* the error that most of the mappings ended with, or 0 */
    bool over;                   /* no further connection can come */
    const char *scheduler;       /* "fifo", "slice" or "normal" */
    double lateness_s[PUNCH_MAPPINGS_MAX]; /* of each first SYN; NAN: none has left */
};

/*
 * Opens the sockets and starts. The plan is copied; it is legal: n, max_open, rate and each field
 * are in their ranges. on_event(owner) comes on the loop whenever punch_take() has something new to
 * say. 0, or -errno; *place is then the mapping that has no socket, or -1. The owner frees it.
 */
int punch_start(struct punch **punch, const struct punch_plan *plan, void (*on_event)(void *owner),
                void *owner, int *place);

/* The next established socket, which is the caller's from then on, and its mapping's place; -EAGAIN
 * when there is none yet, -ENODATA when none will come any more. */
int punch_take(struct punch *p, int *place);

void punch_stats(const struct punch *p, struct punch_stats *stats);

/* Closes what was not taken. No SYN leaves after it has returned. */
void punch_free(struct punch *p);

#endif
