/*
 * What carries the bytes of a stream: a descriptor, TLS over another transport, a reliable link
 * over datagrams, a simplex pair. The maker fills in ops; the owner (a stream, or the transport on
 * top) ends it, once, by transport_leave() or transport_abort(). Loop thread only; nothing blocks.
 */
#ifndef P2PD_HOST_TRANSPORT_H
#define P2PD_HOST_TRANSPORT_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/buffer.h"

struct transport;

/* One thing that a transport tells of itself, such as tls.cipher. */
struct transport_fact {
    const char *layer, *name;
    enum { FACT_TEXT, FACT_COUNT, FACT_NUMBER, FACT_FLAG } kind;
    union {
        const char *text; /* valid during the call; NULL: there is none */
        uint64_t count;
        double number;
        bool flag;
    };
};

typedef void (*transport_tell)(void *arg, const struct transport_fact *fact);

struct transport_ops {
    ssize_t (*read)(struct transport *, void *, size_t); /* bytes, 0 at the end, -EAGAIN, -errno */
    ssize_t (*write)(struct transport *, const void *, size_t); /* bytes, -EAGAIN, -errno */
    /* Two pieces as if they were one; bytes of both. No op: they are to be joined. */
    ssize_t (*write_pair)(struct transport *, const void *head, size_t head_len, const void *data,
                          size_t len);
    int (*shutdown)(struct transport *);          /* no more writes: the peer reads the end */
    void (*want)(struct transport *, int events); /* EV_READ | EV_WRITE, replaces the former wish */
    int (*fd)(const struct transport *);          /* the descriptor, or -1 */
    int (*detach)(struct transport *);            /* gives the descriptor away, or -errno */

    size_t (*unsent)(const struct transport *); /* bytes written and not known to be acknowledged */
    double (*rtt)(const struct transport *);    /* seconds, < 0: unknown */

    /* From now on a peer of which nothing is heard for so many seconds (1 or more), although it
     * should be, is given up: reads and writes fail with -ETIMEDOUT. No op: it is not noticed. */
    void (*set_silence)(struct transport *, double seconds);

    /* Why the last read or write failed, in words; NULL (or no op): its errno says it. */
    const char *(*reason)(const struct transport *);

    /* Tells its facts, and those of the transports below. No op: there are none. */
    void (*describe)(const struct transport *, transport_tell, void *arg);

    /* The next step of an orderly end: ends our half, if that has not been done, and sees to it
     * that the peer gets everything; what is received is thrown away. 0 or -errno: it is over;
     * -EAGAIN: ask again when on_ready() is called, or after some time. */
    int (*leave)(struct transport *);

    /* Whether both sides have all by now, and what is left to do is a courtesy. No op: not before
     * leave() is over. */
    bool (*settled)(const struct transport *);

    /* Tells the peer that the connection is broken off; leave() then says when that is done. No op:
     * there is nothing to be done before free(). */
    void (*abort)(struct transport *);

    void (*free)(struct transport *); /* at once */
};

struct transport {
    const struct transport_ops *ops;
    void (*on_ready)(struct transport *, int events); /* set by the owner */
    void *owner;           /* the stream, or the transport on top of it */
    double patience;       /* seconds without progress after which leaving is given up */
    size_t retry_bytes;    /* after -EAGAIN the next write begins with so many of the same bytes */
    bool peer_answers_end; /* set by the owner: our end is answered by bytes, see fd.c */
    bool more;             /* set by the owner: the next write follows at once, see fd.c */
};

/* The one way to leave: writes what is left in `out`, ends our half with `shut`, and takes steps
 * of leave() until it is over. Takes both over; returns at once. */
void transport_leave(struct transport *t, struct buffer out, bool shut);

/* Ends it without regard to what was written, and tells the peer where the transport can. */
void transport_abort(struct transport *t);

/* The same with one by which nothing more has to arrive. */
void transport_leave_settled(struct transport *t, struct buffer out);

/* How many are on their way out; and of them, those that a process has to wait for before it ends.
 */
int transport_leaving(void);
int transport_unsettled(void);

/* The ops that may be missing. */
void transport_set_silence(struct transport *t, double seconds);
const char *transport_reason(const struct transport *t);
void transport_describe(const struct transport *t, transport_tell tell, void *arg);

/* For transports that have no descriptor to give: -EOPNOTSUPP. */
int transport_no_detach(struct transport *t);

#endif
