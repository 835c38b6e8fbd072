/*
 * Datagrams to one peer and back, whatever carries them: a UDP socket, a channel of a TURN server.
 * They may be lost, duplicated and reordered, never changed or mixed with anybody else's.
 */
#ifndef P2PD_HOST_DATAGRAMS_H
#define P2PD_HOST_DATAGRAMS_H

#include <stdbool.h>
#include <stddef.h>

#define DATAGRAMS_SIZE_MAX 2048 /* bytes of the largest datagram that any carrier delivers */

/* The maker fills in ops and size_max; the owner sets what it wants to hear (all but
 * on_datagram may be NULL), then calls receive(),
 * and calls free exactly once. Loop thread only; nothing here blocks, and no op calls back. */
struct datagrams;
struct datagrams_ops {
    /* Copies one into a batch that leaves with flush() at the latest. 0; -EAGAIN: taken if there
     * was room, else dropped, and no more is welcome until on_room; -EMSGSIZE: longer than
     * size_max; -errno: the carrier is gone. */
    int (*send)(struct datagrams *, const void *, size_t);
    void (*flush)(struct datagrams *);            /* after the last of a burst */
    void (*receive)(struct datagrams *, bool on); /* whether on_datagram is called at all */
    void (*free)(struct datagrams *);             /* what has not left is dropped */
};

struct datagrams {
    const struct datagrams_ops *ops;
    size_t size_max; /* of one datagram, the carrier's own headers not counted */
    void *owner;
    /* One has come; it must not free the carrier. The bytes are valid during the call. */
    void (*on_datagram)(struct datagrams *, const void *, size_t);
    void (*on_pause)(struct datagrams *); /* after on_datagram: no more is at hand */
    /* What the network says about the peer (-ECONNREFUSED, ...); the carrier goes on. */
    void (*on_trouble)(struct datagrams *, int err);
    void (*on_room)(struct datagrams *);                          /* after -EAGAIN: send again */
    void (*on_end)(struct datagrams *, int err, const char *why); /* nothing will come or leave */
};

#endif
