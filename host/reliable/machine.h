/* The inside of a reliable link, for the files that make up the machine. */
#ifndef P2PD_RELIABLE_MACHINE_H
#define P2PD_RELIABLE_MACHINE_H

#include "host/reliable.h"
#include "host/reliable/codec.h"
#include "host/reliable/congestion.h"
#include "host/reliable/flow.h"
#include "host/reliable/sent.h"

#define OPEN_FIRST_S 0.1 /* from the first OPEN to the second; doubled each time */
#define OPEN_MOST_S 1.0
#define PROBE_MOST_S 2.0    /* between probes: after an outage no longer is lost */
#define KEEPALIVE_S 15.0    /* NATs forget a UDP mapping after 30 s (RFC 4787 §4.3: 2 min) */
#define COLLAPSE_PROBES 3   /* RFC 9002 §7.6.1 */
#define BLACK_HOLE_ROUNDS 4 /* in which every full datagram was lost, and smaller ones came */
#define LINGER_TIMEOUTS 3   /* for the last acknowledgement to be asked for again */
#define LINGER_MOST_S 3.0
#define ENDED_MOST_S 10.0 /* however often it is asked for */
#define LEAVE_S 10.0      /* for what was written to come */
#define SILENT_PROBES 2   /* at least, before a peer is given up */
#define SENT_RESERVE 64   /* of SENT_MAX, for probes */
#define RESETS 3          /* a reset is not acknowledged */
#define DATAGRAM_COST 48  /* bytes of IP and UDP headers, in what congestion control counts */

/* What has come, by packet number. */
struct arrivals {
    struct ranges numbers;
    uint64_t highest;  /* and 1; 0: none yet */
    double highest_at; /* when that came */
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
    uint64_t told; /* the limit that the peer knows of */

    struct outflow outflow;
    struct sent sent;
    struct rtt rtt;
    struct congestion congestion;
    int probes;      /* timeouts in a row */
    int credit;      /* packets that may leave over the window */
    bool ping;       /* something is to be acknowledged, whatever it is */
    bool bare;       /* and a small packet, before anything else */
    double open_due; /* the next OPEN */
    double open_wait;
    double loss_due;    /* when to look for losses again */
    double pace_due;    /* when pacing lets the next datagram go */
    uint64_t full_came; /* the highest number of a full datagram that has come */
    int black_rounds;

    uint64_t end_told; /* the first packet that told the peer: its end has come; and 1 */
    bool end_known;    /* and it has come */
    bool left;         /* by reliable_leave() */
    double leave_by;   /* what is on its way then is given up */
    int resets;        /* to be sent */
    double reset_due;
    double heard, spoke; /* when the last datagram came, and left */
    double asked;        /* when the oldest question left to which nothing has come */
    double began, ended; /* RELIABLE_OPENING and RELIABLE_ENDED did */
    double gone_at;      /* when all is over; INFINITY: unknown */
    struct reliable_info counts;
};

/* reliable.c */
void reliable_give_up(struct reliable *r, int error, const char *why, double now);
void reliable_check_end(struct reliable *r, double now);

/* reliable_receive.c */
void reliable_find_losses(struct reliable *r, double now);

#endif
