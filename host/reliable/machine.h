/* The state of a reliable link, shared by the files that make up the machine. */
#ifndef P2PD_HOST_RELIABLE_MACHINE_H
#define P2PD_HOST_RELIABLE_MACHINE_H

#include "host/reliable/codec.h"
#include "host/reliable/congestion.h"
#include "host/reliable/flow.h"
#include "host/reliable/options.h"
#include "host/reliable/sent.h"

#define OPEN_FIRST_S 0.1 /* from the first OPEN to the second; doubled each time */
#define OPEN_MOST_S 1.0
#define PROBE_MOST_S 2.0    /* between probes: after an outage no longer is lost */
#define KEEPALIVE_S 15.0    /* NATs forget a UDP mapping after 30 s (RFC 4787 §4.3: 2 min) */
#define COLLAPSE_PROBES 3   /* RFC 9002 §7.6.1 */
#define BLACK_HOLE_ROUNDS 4 /* in which every full datagram was lost, and smaller ones were not */
#define LINGER_TIMEOUTS 3   /* for the last acknowledgement to be asked for again */
#define LINGER_LEAST_S 0.5  /* a busy machine is late */
#define LINGER_MOST_S 3.0
#define ENDED_MOST_S 10.0 /* however often it is asked for */
#define LEAVE_S 10.0      /* for what was written to be acknowledged */
#define SILENT_PROBES 2   /* at least, before a peer is given up */
#define SENT_RESERVE 64   /* of SENT_MAX, for probes */
#define RESETS 3          /* a reset is not acknowledged */
#define DATAGRAM_COST 48  /* bytes of IP and UDP headers, in what congestion control counts */
#define LINK_CLOSED "the link was closed" /* what the peer is told */

/* What was received, by packet number. */
struct arrivals {
    struct ranges numbers;
    uint64_t highest;  /* and 1; 0: none yet */
    double highest_at; /* when it was received */
    int unacked;       /* packets since the last acknowledgement */
    bool now;          /* one is to leave at once */
    double due;        /* or then */
};

struct reliable {
    struct reliable_options options;
    size_t size; /* of a datagram; shrinks in a black hole */
    enum reliable_state state;
    int error;
    char reason[RELIABLE_REASON_MAX + 40];

    struct arrivals in;
    struct inflow inflow;
    uint64_t limit_sent; /* of what the peer may send: the one it knows of */

    struct outflow outflow;
    struct sent sent;
    struct rtt rtt;
    struct congestion congestion;
    int probes;       /* timeouts in a row */
    int questions;    /* for a larger window, in a row */
    int credit;       /* packets that may leave over the window */
    bool ping;        /* an eliciting packet is to leave, whatever it carries */
    bool small_probe; /* and one without data, before anything else */
    double open_due;  /* the next OPEN */
    double open_wait;
    double loss_due;     /* when to look for losses again */
    double pace_due;     /* when pacing lets the next datagram go */
    uint64_t full_acked; /* the highest number of a full datagram that was acknowledged */
    int black_rounds;

    uint64_t end_acked_in; /* number + 1 of the first packet that acknowledged the peer's end */
    bool end_known;        /* the peer has acknowledged that one */
    bool left;             /* by reliable_leave() */
    double leave_by;       /* what is not acknowledged by then is given up */
    int resets;            /* to be sent */
    double reset_due;
    double received_at, sent_at; /* the last datagram */
    double asked_at;             /* since then an acknowledgement has been outstanding */
    double began, ended;         /* RELIABLE_OPENING and RELIABLE_ENDED did */
    double keepalive;            /* seconds until an idle link asks whether the peer is there */
    double gone_at;              /* when all is over; INFINITY: unknown */
    struct reliable_info counts;
};

/* RELIABLE_FAILED with this -errno; what was to be sent is not sent any more. */
void machine_fail(struct reliable *r, int error, const char *why);

/* The same, and the peer is told; why NULL: it has been silent for too long. */
void machine_give_up(struct reliable *r, int error, const char *why, double now);

/* After an acknowledgement or data: are both halves through? */
void machine_check_end(struct reliable *r, double now);

#endif
