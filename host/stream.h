/* An ordered byte stream: a transport with a buffer for each direction. */
#ifndef P2PD_HOST_STREAM_H
#define P2PD_HOST_STREAM_H

#include "host/transport.h"

#define STREAM_QUEUE_MAX (64 * 1024) /* bytes that wait in user space while the peer is slow */
#define STREAM_READ_MAX (64 * 1024)  /* bytes of one read: larger strings would cost a mmap each */

struct stream {
    struct transport *transport;
    struct buffer in, out;
    uint64_t bytes_in, bytes_out;
    int read_error;  /* -errno of the first failed read: later reads say it again */
    int write_error; /* -errno of the first failed write: nothing is queued or sent after it */
    bool ended;      /* the peer has ended its sending half */
    bool shut;       /* the local half is ended, once `out` is drained */
    bool blocked;    /* a writer waits for room */
    bool reading;    /* a reader waits for bytes */
    bool unqueued;   /* a write is over when the transport has all of it */
    bool likely;     /* the last read took all it could: there is probably more */
    size_t burst;    /* bytes read since a reader last waited */
    void (*on_event)(struct stream *, int events); /* EV_READ: read again; EV_WRITE: write again */
    void (*on_gone)(struct stream *);              /* it is about to be freed; NULL: never mind */
    void *owner;
};

/* Takes the transport over. Never NULL. */
struct stream *stream_new(struct transport *transport);

/* Puts another transport between the stream and its own. wrap() takes over the bytes that were read
 * and not used (`early`), and never fails. 0, or why not: -EBUSY while output is queued (see
 * stream_want_write()), -EPIPE after a shutdown, or the error that a read or write has met. */
int stream_wrap(struct stream *s,
                struct transport *(*wrap)(struct transport *lower, struct buffer early, void *arg),
                void *arg);

/* Frees the stream and gives its transport away; NULL, and nothing freed, when anything has been
 * read or written that is still in the buffers, or has failed. */
struct transport *stream_take(struct stream *s);

/* Frees the stream alone: its transport, and what was read, belong to somebody else already. */
void stream_disown(struct stream *s);

/* Reads once from the transport into `in`: bytes, 0 at the end, -EAGAIN, -errno. */
ssize_t stream_fill(struct stream *s);

/* Like stream_fill(), but to where the caller wants them; only while `in` is empty. */
ssize_t stream_read(struct stream *s, void *data, size_t len);

/* Like stream_read(), but leaves the bytes in *data, valid until the next call; only while `in` is
 * empty. */
ssize_t stream_peek(struct stream *s, const char **data, size_t max);

/* Asks for one on_event(EV_READ). */
void stream_want_read(struct stream *s);

/* Asks for one on_event(EV_WRITE), once nothing is queued. */
void stream_want_write(struct stream *s);

/* Sends or queues: how many bytes were taken, or -errno. Fewer than len: wait for
 * on_event(EV_WRITE). */
ssize_t stream_write(struct stream *s, const void *data, size_t len);

/* Queues bytes behind what is queued, whatever the bounds. */
void stream_queue(struct stream *s, const void *data, size_t len);

/* Copies what one read of `from` gives to `to`, and queues there what it does not take at once; for
 * when nothing is queued. Bytes, 0 at the end of `from`, -EAGAIN: it has none; -errno: *failed is
 * the one of which. */
ssize_t stream_copy(struct stream *from, struct stream *to, const struct stream **failed);

/* Ends the local half after what is queued. 0 or -errno. */
int stream_shutdown(struct stream *s);

/* Frees the stream and gives its descriptor away; -EBUSY, and nothing freed, while bytes are
 * buffered. */
int stream_detach(struct stream *s);

/* Frees the stream; its transport leaves with what is queued, see transport_leave(). */
void stream_close(struct stream *s);

/* Frees the stream and drops what is queued; its transport is aborted. */
void stream_abort(struct stream *s);

#endif
