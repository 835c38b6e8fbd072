/*
 * TCP hole punching: connect() calls that leave at an agreed instant, and the sockets of which a
 * connection has come. Loop thread only; the work is done by a thread of its own.
 */
#ifndef P2PD_HOST_PUNCH_H
#define P2PD_HOST_PUNCH_H

#include <stdbool.h>

#include "host/punch/plan.h"

struct punch;

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
