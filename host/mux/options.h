/* What a mux is told and tells. */
#ifndef P2PD_HOST_MUX_OPTIONS_H
#define P2PD_HOST_MUX_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUX_WINDOW_FIRST (256 * 1024)     /* bytes, by the specification */
#define MUX_WINDOW_MAX (16 * 1024 * 1024) /* of one stream: 1 Gbit/s at 130 ms */
#define MUX_MEMORY_MAX (64 * 1024 * 1024) /* unread bytes of all streams */
#define MUX_BACKLOG 256                   /* streams that are not accepted yet, of either side */
#define MUX_STREAMS_MAX 65536
#define MUX_FRAME_MAX (64 * 1024)  /* a frame and what is queued before it, while nobody waits */
#define MUX_DIRECT_MIN (8 * 1024)  /* bytes of a frame that are worth a way of their own */
#define MUX_FRAME_FAIR (16 * 1024) /* the same, while somebody does */

struct mux_options {
    bool client;     /* whose streams have odd numbers; the other side is the server */
    int backlog;     /* of the peer's; 0 in these: the numbers above */
    int streams_max; /* that the peer may have open at a time */
    size_t window_max, memory_max;
    double (*rtt)(void *arg); /* seconds, < 0: unknown */
    /* Writes what is queued and a frame's bytes at once: how many bytes of both were taken. NULL:
     * bytes only leave by mm_poll(). */
    size_t (*write)(void *arg, const void *queued, size_t queued_len, const void *data, size_t len);
    void *arg;
};

struct mux_info {
    int streams;       /* that somebody here has */
    int peers_streams; /* of them, those that the peer has opened */
    uint64_t opened, accepted, refused;
    size_t unread;  /* bytes */
    size_t window;  /* the largest that a stream was given */
    bool gone_away; /* the peer takes no more streams */
};

#endif
