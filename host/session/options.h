/* What a session is made with, and what it tells of itself. */
#ifndef P2PD_HOST_SESSION_OPTIONS_H
#define P2PD_HOST_SESSION_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_SILENCE_S 60.0
#define SESSION_KEEP (256 * 1024)           /* bytes kept at first; doubled while that is too few */
#define SESSION_KEEP_MIN (64 * 1024)        /* of keep_max */
#define SESSION_KEEP_MAX (16 * 1024 * 1024) /* 1 Gbit/s at 130 ms */
#define SESSION_KEEP_LIMIT (1 << 30)        /* of keep_max */
#define SESSION_UNSENT_MAX (64 * 1024)      /* bytes that wait for a path that is up */
#define SESSION_PATHS_MAX 16                /* at a time */
#define SESSION_WHY_MAX 200                 /* a reason in words, with what we add to it */

struct session_options {
    bool initiator; /* one of the two is */
    bool prevails,
        yields;      /* when both have begun as the initiator: we remain it, or the other side */
    double silence;  /* seconds after which an idle path without a byte is dead; 0: 60 */
    size_t keep_max; /* bytes that wait for an acknowledgement, or for our reader; 0: 16 MiB */
};

enum session_state {
    SESSION_OPEN,
    SESSION_CLOSING, /* both halves are through; that is being told */
    SESSION_ENDED,   /* as it should */
    SESSION_FAILED,
};

enum session_path_state {
    PATH_LIVE,
    PATH_LEAVING, /* over: what sm_poll() still gives is to leave before it */
    PATH_DEAD,    /* over: nothing leaves any more */
};

enum session_event_type {
    SESSION_UP,    /* a path has answered, and can be used */
    SESSION_MOVED, /* what we send goes by another path */
    SESSION_DOWN,  /* a path is gone */
    SESSION_LOST,  /* no path is left: the session waits */
    SESSION_OVER,  /* ended or failed; the last one */
};

struct session_event {
    enum session_event_type type;
    uint32_t path, remote; /* our number of it, and the peer's; 0: none */
    uint32_t from;         /* MOVED: the path before; 0: there was none */
    double pause;          /* MOVED: seconds for which nothing was heard of the peer; 0: none */
    int code;              /* DOWN, LOST, OVER: -errno; 0: as it should be */
    char reason[SESSION_WHY_MAX];
};

struct session_info {
    enum session_state state;
    uint32_t path;           /* the one that we send by; 0: none */
    uint32_t paths;          /* that are up */
    uint32_t paths_so_far;   /* that were ever attached */
    uint32_t moves;          /* to another path */
    uint32_t resumed;        /* of them, those after a break */
    uint64_t sent, received; /* bytes of the stream */
    uint64_t again;          /* bytes that were sent again */
    uint64_t unacked;        /* bytes of the stream, the end counted as one */
    size_t kept;             /* bytes of memory for what is not acknowledged */
    size_t keep;             /* how many may be */
    size_t unread;           /* bytes that were received and wait for the reader, or for others */
    double rtt;              /* seconds, of the present path; < 0: unknown */
};

#endif
