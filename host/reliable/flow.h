/*
 * The two ends of what a reliable link carries: a stream of bytes, or messages. Positions count
 * bytes or messages from 0; the end (FIN) is one position after the last.
 */
#ifndef P2PD_FLOW_H
#define P2PD_FLOW_H

#include <sys/types.h>

#include "host/buffer.h"
#include "host/reliable/ranges.h"

#define FLOW_WINDOW (192 * 1024) /* bytes that the receiver of a stream keeps for its reader */
#define FLOW_MESSAGES 128        /* messages that wait on either side */
#define FLOW_RANGES_MAX 1024     /* gaps in what has come */

struct flow_message {
    char *data; /* NULL: acknowledged */
    size_t len;
};

/* What is to be sent until it is acknowledged. */
struct outflow {
    bool messages;
    bool shut;                 /* the end is at `end` */
    bool hungry;               /* a write was refused: there is more than we have */
    char *ring;                /* NULL while empty */
    struct flow_message *list; /* the same for messages */
    uint64_t acked;            /* all before has come, as the peer says */
    uint64_t next;             /* nothing from here on has been sent */
    uint64_t end;              /* nothing from here on is known */
    uint64_t limit;            /* up to which the peer takes it */
    struct ranges lost;        /* to be sent again */
};

struct flow_chunk {
    uint64_t position;
    size_t len;     /* bytes */
    uint64_t units; /* positions, with the end's */
    bool fin;
};

/* Bytes of a stream, as far as the peer takes them and `ceiling` permits: how many, or -EAGAIN. */
ssize_t outflow_write(struct outflow *o, const void *data, size_t len, uint64_t ceiling);

/* One message: 0 or -EAGAIN. */
int outflow_post(struct outflow *o, const void *data, size_t len);

/* What to send next, of `max` bytes at most; false: nothing. `alone`: nothing else is on its way.
 */
bool outflow_next(struct outflow *o, size_t max, bool alone, struct flow_chunk *chunk);
void outflow_copy(const struct outflow *o, const struct flow_chunk *chunk, void *data);
void outflow_sent(struct outflow *o, const struct flow_chunk *chunk);

/* These positions have to be sent again, or have come. */
void outflow_lost(struct outflow *o, uint64_t from, uint64_t to);
void outflow_came(struct outflow *o, uint64_t from, uint64_t to);

/* All before `acked` has come, and the peer takes up to `limit`. */
void outflow_advance(struct outflow *o, uint64_t acked, uint64_t limit);

bool outflow_is_done(const struct outflow *o); /* the end has come, too */
void outflow_fini(struct outflow *o);

/* What has come until it is read. */
struct inflow {
    bool messages;
    char *ring;          /* NULL while empty */
    struct buffer queue; /* of messages: each as its length and its bytes */
    uint64_t read;       /* bytes or messages that were read */
    uint64_t next;       /* all before has come */
    uint64_t fin;        /* where the end is; UINT64_MAX: unknown */
    struct ranges early; /* what has come beyond `next` */
};

#define INFLOW_INIT(is_messages)                                                                   \
    (struct inflow) {                                                                              \
        .messages = (is_messages), .fin = UINT64_MAX                                               \
    }

/* 1: something new; 0: it was there before; -ENOBUFS: no place for it (as if it had not come);
 * -EPROTO: no honest peer sends this. */
int inflow_add(struct inflow *i, uint64_t position, const void *data, size_t len, bool fin);

/* What the peer is told: all before has come; and up to where there is room. */
uint64_t inflow_cumulative(const struct inflow *i);
uint64_t inflow_limit(const struct inflow *i);

bool inflow_is_readable(const struct inflow *i); /* a read gives bytes, a message or the end */
bool inflow_is_done(const struct inflow *i);     /* all has come, and the end */

/* Bytes of a stream, 0 at the end, -EAGAIN. */
ssize_t inflow_read(struct inflow *i, void *data, size_t len);

/* The oldest message: its length, with *data valid until inflow_drop(); -EPIPE at the end; -EAGAIN.
 */
ssize_t inflow_message(const struct inflow *i, const char **data);
void inflow_drop(struct inflow *i);

void inflow_fini(struct inflow *i);

#endif
