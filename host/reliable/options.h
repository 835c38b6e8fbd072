/* What a reliable link is made with, and what it tells of itself. */
#ifndef P2PD_HOST_RELIABLE_OPTIONS_H
#define P2PD_HOST_RELIABLE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RELIABLE_ID_SIZE 8
#define RELIABLE_SIZE 1196    /* bytes of a datagram: 1200 with a ChannelData header */
#define RELIABLE_SIZE_MIN 508 /* what any path takes (RFC 791: 576 less IP, UDP and TURN) */
#define RELIABLE_SIZE_MAX 2048
#define RELIABLE_SILENCE_S 30.0 /* and the peer is dead */

struct reliable_options {
    uint8_t id[RELIABLE_ID_SIZE]; /* both sides' */
    bool dialer;                  /* one of the two is */
    size_t size;                  /* bytes of the largest datagram; 0: RELIABLE_SIZE */
    double silence;               /* seconds; 0: RELIABLE_SILENCE_S */
};

enum reliable_state {
    RELIABLE_OPENING, /* the peer has not shown that it hears us */
    RELIABLE_OPENED,
    RELIABLE_ENDED,  /* both have ended; still here to acknowledge that again */
    RELIABLE_FAILED, /* see reliable_error(); perhaps the peer is still to be told */
    RELIABLE_GONE,   /* nothing will be sent or understood any more */
};

struct reliable_info {
    enum reliable_state state;
    double rtt;               /* seconds, smoothed; 0: unknown */
    size_t size;              /* of a datagram now */
    size_t window, in_flight; /* bytes, headers included */
    uint64_t datagrams_out, datagrams_in;
    uint64_t retransmitted; /* chunks of data sent again */
    uint64_t lost;          /* packets declared lost */
    uint64_t spurious;      /* of them, those that were acknowledged after all */
    uint64_t duplicates;    /* chunks of data received again */
    uint64_t refused;       /* datagrams that were not understood */
    size_t unacked;         /* bytes written that the peer has not acknowledged */
};

#endif
