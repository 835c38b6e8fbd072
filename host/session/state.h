/* The state of a session, shared by the files that make up its machine. */
#ifndef P2PD_HOST_SESSION_STATE_H
#define P2PD_HOST_SESSION_STATE_H

#include "host/session/codec.h"
#include "host/session/inbox.h"
#include "host/session/keep.h"
#include "host/session/options.h"

#define EVENTS_MAX 64
#define HELLO_S 10.0  /* for the peer's HELLO */
#define LINGER_S 10.0 /* after sm_close(), for the peer's end once ours is acknowledged */
#define ACK_DELAY_S 0.04
#define QUIET_S 1.0   /* unanswered, and the path is probed; or three round trips */
#define LULL_S 2.0    /* without a byte after data, and the reader probes; or three round trips */
#define ANSWER_S 1.5  /* for the probe's answer; or four round trips */
#define DOUBT_S 1.0   /* the same after sm_doubt(), beyond three round trips */
#define DROP_S 1.0    /* for a path that is dropped to be drained; or four round trips */
#define RTT_MAX_S 1.0 /* of a round trip, in all of these */
#define SLEPT_S 1.0   /* a deadline that is missed by more was missed by us */
#define AGAIN_MAX 8   /* in a row without a byte of progress */
#define OUT_MAX (2 * SESSION_CONTROL_MAX) /* one of each that can be due together */
#define FIRST_LIMIT SESSION_KEEP_MIN      /* of what is sent before the peer's HELLO */

/* Frames that are to leave on one path; others on whatever is tx then. */
enum session_due {
    DUE_HELLO = 1 << 0,
    DUE_USE = 1 << 1,
    DUE_PONG = 1 << 2,
    DUE_PING = 1 << 3,
    DUE_MARK = 1 << 4,
    DUE_DROP = 1 << 5,
    DUE_RESET = 1 << 6,
};

struct session_path {
    struct session_path *next;
    uint32_t number, remote;
    enum session_path_state state;
    bool up;  /* the peer's HELLO has come */
    int code; /* -errno, and why it is over or to be dropped */
    char why[SESSION_WHY_MAX];

    unsigned due;
    uint64_t mark;        /* for DUE_MARK */
    uint64_t pong;        /* for DUE_PONG */
    uint8_t out[OUT_MAX]; /* control frames */
    size_t out_len;
    struct session_chunk *chunk; /* being written, unless `out` is */
    size_t written;              /* of `out` or of the chunk */

    uint8_t part[SESSION_CONTROL_MAX]; /* of a frame that is not there yet */
    size_t part_len;
    size_t data_left, skip_left; /* of the present frame's body */
    bool fin, ask;               /* of the present DATA */
    bool started, finished;      /* data may come; the end has */
    uint64_t at;                 /* the position of the next byte */

    double heard;
    double rtt, rtt_below; /* by PINGs, and the path's own; 0: unknown */
    double rtt_least;      /* of the PINGs; 0: unknown */
    double asked_at;       /* when the last PING left */
    uint64_t token;        /* what was in it */
    double probe_due;      /* the probe's deadline; INFINITY: none is under way */
    double believe_at;     /* what comes before may have left before it was doubted */
    bool probe_quick;      /* for a doubt, not for idleness */
    bool lively;           /* data has come by it since it was last probed */
    double drop_due;       /* INFINITY: it is not being dropped */
};

struct session_machine {
    struct session_options options;
    enum session_state state;
    int error;
    char reason[SESSION_WHY_MAX];

    struct session_path *paths; /* those that are over included, until they are detached */
    int live;
    uint32_t last_number;
    struct session_path *tx;     /* that data is sent by */
    struct session_path *wanted; /* that it is to be sent by when the last move is through */
    const char *why_wanted;      /* a literal */
    struct session_path *old;    /* where data before `settled` is still on its way, or NULL */
    uint64_t settled;
    bool start_due;          /* on tx */
    struct session_path *rx; /* that the peer has last started on */

    struct session_keep keep;
    size_t bound;                    /* of what is kept */
    uint64_t round_start, round_end; /* positions; see grow() */
    double round_at;
    bool hold;         /* a frame that is not full waits */
    bool limited;      /* a write was refused although the path would have taken it */
    uint64_t limit;    /* of what may be sent */
    uint64_t high;     /* the highest position that was ever sent */
    bool shut;         /* the local half is ended */
    double unacked_at; /* since when the oldest unacknowledged byte waits, or progress was made */

    struct session_inbox inbox;
    uint64_t limit_sent;     /* the highest that the peer knows of */
    bool ack_now, again_now; /* to leave on tx */
    double ack_due;
    int again; /* asked for in a row */

    bool closed; /* nobody reads or writes any more */
    bool bye_in, bye_due, bye_sent;
    double end_due;   /* INFINITY, or when waiting for the end is over */
    double broken_at; /* when the last path was heard that has then died; < 0: none has */
    bool lonely;      /* nobody can attach a path any more */

    uint32_t last_tx;          /* its number; 0: there was none */
    struct event_node *events; /* oldest first */
    int event_count;
    struct session_info counts;
};

struct event_node {
    struct event_node *next;
    struct session_event event;
};

#endif
