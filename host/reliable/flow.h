/*
 * The two ends of the stream that a reliable link carries: what is to be sent until it is
 * acknowledged, and what was received until it is read. Positions count bytes from 0; the end (FIN)
 * is one position after the last byte.
 */
#ifndef P2PD_HOST_RELIABLE_FLOW_H
#define P2PD_HOST_RELIABLE_FLOW_H

#include <sys/types.h>

#include "host/reliable/ranges.h"

#define FLOW_WINDOW (192 * 1024) /* bytes that the receiver of a stream keeps for its reader */
#define FLOW_RANGES_MAX 1024     /* gaps in what was received */

/* What is to be sent until it is acknowledged. */
struct outflow {
    bool shut;          /* the end is at `end` */
    bool writer_waits;  /* a write was refused: there is more to come */
    char *ring;         /* NULL while empty */
    uint64_t acked;     /* all before is acknowledged */
    uint64_t next;      /* nothing from here on has been sent */
    uint64_t end;       /* nothing from here on is known */
    uint64_t limit;     /* up to which the peer takes it */
    struct ranges lost; /* to be sent again */
};

struct flow_chunk {
    uint64_t position;
    size_t len;     /* bytes */
    uint64_t units; /* positions, with the end's */
    bool fin;
};

/* As far as the peer takes them and `ceiling` permits: how many bytes, or -EAGAIN. */
ssize_t outflow_write(struct outflow *o, const void *data, size_t len, uint64_t ceiling);

/* What to send next, of `max` bytes at most; false: nothing. `alone`: nothing else is in flight. */
bool outflow_next(struct outflow *o, size_t max, bool alone, struct flow_chunk *chunk);
void outflow_copy(const struct outflow *o, const struct flow_chunk *chunk, void *data);
void outflow_sent(struct outflow *o, const struct flow_chunk *chunk);

/* These positions have to be sent again. */
void outflow_lost(struct outflow *o, uint64_t from, uint64_t to);

/* All before `acked` is acknowledged, and the peer takes up to `limit`: whether that is more. */
bool outflow_advance(struct outflow *o, uint64_t acked, uint64_t limit);

/* Whether the writer has more than the peer takes. */
bool outflow_is_blocked(const struct outflow *o);
bool outflow_is_done(const struct outflow *o); /* the end is acknowledged, too */
void outflow_fini(struct outflow *o);

/* What was received until it is read. */
struct inflow {
    char *ring;          /* NULL while empty */
    uint64_t read;       /* bytes that were read */
    uint64_t next;       /* all before was received */
    uint64_t fin;        /* where the end is; UINT64_MAX: unknown */
    struct ranges early; /* what was received beyond `next` */
};

#define INFLOW_INIT                                                                                \
    (struct inflow) {                                                                              \
        .fin = UINT64_MAX                                                                          \
    }

/* 1: something new; 0: a duplicate; -ENOBUFS: no place for it (as if it had not been received);
 * -EPROTO: no honest peer sends this. */
int inflow_add(struct inflow *i, uint64_t position, const void *data, size_t len, bool fin);

/* What the peer is told: all before was received; and up to where there is room. */
uint64_t inflow_cumulative(const struct inflow *i);
uint64_t inflow_limit(const struct inflow *i);

bool inflow_is_readable(const struct inflow *i); /* a read gives bytes or the end */
bool inflow_is_done(const struct inflow *i);     /* all was received, and the end */

/* Bytes, 0 at the end, -EAGAIN. */
ssize_t inflow_read(struct inflow *i, void *data, size_t len);

void inflow_fini(struct inflow *i);

#endif
