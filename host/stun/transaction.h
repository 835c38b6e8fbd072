/* A STUN client transaction: retransmits one request until its response is there, or in vain. */
#ifndef P2PD_HOST_STUN_TRANSACTION_H
#define P2PD_HOST_STUN_TRANSACTION_H

#include "host/stun.h"

/* The timer of RFC 8489 §6.2.1 and §6.2.2. */
struct stun_timer {
    double rto;    /* seconds from the first request to the second; doubled each time */
    int rc;        /* how many requests are sent at most */
    double rm;     /* the last one is waited for so many rto */
    double ti;     /* over a reliable transport: seconds from the one request to giving up */
    bool reliable; /* TCP and TLS: never sent twice */
};

#define STUN_TIMER_DEFAULT                                                                         \
    (struct stun_timer) {                                                                          \
        .rto = 0.5, .rc = 7, .rm = 16, .ti = 39.5                                                  \
    }

enum stun_action {
    STUN_WAIT,   /* until stun_transaction_due() */
    STUN_SEND,   /* send the request now */
    STUN_FAILED, /* no answer in time */
    STUN_DONE,   /* an answer was accepted */
};

struct stun_transaction {
    struct stun_timer timer;
    const uint8_t *request; /* the caller's, whole */
    size_t len;
    const void
        *key; /* the caller's; set after the start, it makes answers be checked. NULL: no key */
    size_t key_len;
    enum stun_action state;
    int sent;
    double first; /* when the first request went out */
    double next;  /* when there is something to do */
    double interval;
};

/* request: an encoded request that outlives the transaction. 0, or -EINVAL when it is none or the
 * timer makes no sense. Instants are seconds on any one scale; the first poll starts the clock. */
int stun_transaction_init(struct stun_transaction *t, const struct stun_timer *timer,
                          const void *request, size_t len);

enum stun_action stun_transaction_poll(struct stun_transaction *t, double now);

/* The instant to poll at: -INFINITY before the first poll, INFINITY after the end. */
double stun_transaction_due(const struct stun_transaction *t);

/* A packet from where the request went to. 1: it is the answer, good or an error response, and the
 * transaction is done; 0: it belongs to something else, or its fingerprint or its integrity is
 * wrong (RFC 8489 §9.1.4: as if never received; an error response may go without); -errno of
 * stun_decode(). `m` holds what was decoded. */
int stun_transaction_feed(struct stun_transaction *t, struct stun_message *m, const void *data,
                          size_t len);

#endif
