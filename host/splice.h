/*
 * Copies bytes between streams, both ways, without anybody above looking at them: pipe:link() of
 * Lua. The streams stay their owners'; while they are spliced nobody else reads or writes them.
 * Loop thread only.
 */
#ifndef P2PD_HOST_SPLICE_H
#define P2PD_HOST_SPLICE_H

#include <stdbool.h>
#include <stdint.h>

#include "host/stream.h"

#define SPLICE_REASON_MAX 160

/* One direction. At the end of `from` the sending half of `to` is ended. */
struct splice_half {
    struct stream *from, *to;
    uint64_t bytes; /* that `to` has taken */
    bool ended;     /* orderly: all that `from` had has gone to `to`, and its end */
    bool done;      /* ended, or failed */
    int pipe[2];    /* what the kernel's splice(2) goes through; {0, 0}: not made */
    size_t piped;   /* bytes that are in it */
};

struct splice {
    struct splice_half halves[2];
    struct splice_end {
        struct stream *stream;
        void (*on_event)(struct stream *, int events);
        void *owner;
    } ends[4]; /* the streams, each once, and what they were before */
    int count;
    bool first_ends_all; /* the end of the first half is the end */
    bool over;
    int err; /* -errno of what went wrong first, or 0 */
    char reason[SPLICE_REASON_MAX];
    void (*on_over)(void *owner);
    void *owner;
};

/* Begins to copy between what is in `halves`. on_over(owner) comes once, perhaps from within this
 * call; the streams are their owners' again then. */
void splice_start(struct splice *s);

/* Ends it at once; the streams are as they are. Can be called twice, and on a zeroed one. */
void splice_stop(struct splice *s);

/* Whether a stream is spliced now. */
bool splice_has(const struct stream *stream);

#endif
