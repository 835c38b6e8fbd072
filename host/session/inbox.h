/* What was received: in order, for the reader, and what a new path has brought before its turn. */
#ifndef P2PD_HOST_SESSION_INBOX_H
#define P2PD_HOST_SESSION_INBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "host/buffer.h"

struct session_inbox {
    uint64_t next; /* positions below it have come */
    bool ended;    /* the end was the last of them */
    bool discard;  /* nobody will read */
    struct buffer in;
    char *to; /* where the reader wants the next bytes, while `in` is empty */
    size_t room;
    size_t taken;         /* bytes there */
    uint32_t ahead_path;  /* whose bytes wait for their turn; 0: nobody's */
    uint64_t ahead_start; /* the position of the first of them */
    bool ahead_ended;
    struct buffer ahead;
};

/* Bytes of a path, and perhaps the end after them. */
void session_inbox_put(struct session_inbox *b, uint32_t path, uint64_t position, const void *data,
                       size_t len, bool fin);

/* The path begins anew, or is gone: what it brought before its turn is dropped. */
void session_inbox_forget(struct session_inbox *b, uint32_t path);

void session_inbox_discard(struct session_inbox *b);
void session_inbox_fini(struct session_inbox *b);

#endif
