/* What was written and is not acknowledged: a list of DATA frames, ready to be sent and sent again.
 */
#ifndef P2PD_HOST_SESSION_KEEP_H
#define P2PD_HOST_SESSION_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/session/codec.h"

struct session_chunk {
    struct session_chunk *next;
    uint64_t position; /* of its first byte */
    size_t len, room;  /* data bytes */
    int refs;          /* the list's, and one for each path that is writing it */
    bool sealed;       /* the header stands; nothing is appended any more */
    bool fin;
    uint8_t frame[]; /* header and data */
};

struct session_keep {
    struct session_chunk *first, *last;
    struct session_chunk *unsent; /* the first that no path has begun to send, or is to again */
    uint64_t acked;               /* positions below it are not kept */
    uint64_t end;                 /* where the next byte goes */
    uint64_t asked;               /* an acknowledgement up to here was asked for */
    size_t held;                  /* bytes of memory */
};

/* Takes at most len bytes into one frame: how many. */
size_t session_keep_append(struct session_keep *k, const void *data, size_t len);

/* The end takes one position. */
void session_keep_finish(struct session_keep *k);

/* Is the next frame to send one that more may be put into? */
bool session_keep_is_partial(const struct session_keep *k);

/* The next frame to send; its header is written now. An acknowledgement is asked for after each
 * `spacing` positions. The caller gets a reference; NULL: there is none. */
struct session_chunk *session_keep_next(struct session_keep *k, size_t spacing);
size_t session_chunk_size(const struct session_chunk *c); /* of the frame */
void session_chunk_unref(struct session_chunk *c);        /* NULL is fine */

uint64_t session_keep_sent(const struct session_keep *k); /* the position of `unsent`, or the end */
void session_keep_ack(struct session_keep *k, uint64_t position);
void session_keep_rewind(struct session_keep *k, uint64_t position); /* `unsent` is what has it */
void session_keep_fini(struct session_keep *k);

#endif
