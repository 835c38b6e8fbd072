/* One mapping of a punch: its socket from the first connect() to the last. */
#ifndef P2PD_HOST_PUNCH_ATTEMPT_H
#define P2PD_HOST_PUNCH_ATTEMPT_H

#include <stdbool.h>

#include "host/punch/plan.h"

enum attempt_state {
    ATTEMPT_NEW,        /* nothing has left yet */
    ATTEMPT_CONNECTING, /* one connect() is out */
    ATTEMPT_PAUSED,     /* it failed, the next one is due later */
    ATTEMPT_ESTABLISHED,
    ATTEMPT_ENDED, /* given up, or taken */
};

struct punch;

struct attempt {
    struct punch *punch;
    struct punch_mapping mapping;
    int place; /* of the mapping in the plan */
    enum attempt_state state;
    int fd;               /* -1: none */
    bool watched, is_low; /* in the epoll set; its TTL is low */
    int last_error;
    double planned, lateness_s;
    double sent;          /* when its last SYN left */
    double ends;          /* given up then, at the latest */
    struct attempt *next; /* among the established, or among the blocked */
};

/* 0 or -errno. */
int attempt_open(struct attempt *a);

/* 0, -EINPROGRESS or -errno. */
int attempt_connect(struct attempt *a);

/* After an event: 0, -EINPROGRESS when it meant nothing, -ELOOP when the socket has met itself, or
 * why there is no connection. */
int attempt_verdict(const struct attempt *a);

/* Does another try after this error make sense? */
bool attempt_may_retry(int err);

/* Did an ICMP message end the connect()? */
bool attempt_was_unreachable(int err);

/* Another socket on the same port in place of one that failed. 0 or -errno: then that one stays. */
int attempt_renew(struct attempt *a);

void attempt_raise_ttl(struct attempt *a);

/* The connection stands: nothing of the punch is left on the socket. */
void attempt_settle(struct attempt *a);

#endif
