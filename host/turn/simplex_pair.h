/*
 * A simplex pair: one transport over two, one for each direction, whose ends are marks in it.
 *
 * TURN servers relay TCP connections (RFC 6062), but not well: when one side ends its half both
 * sides are reset, and what is on its way is lost; and bytes both ways at once may stop one way for
 * ever (coturn, when its queues of both directions are full). So each direction has a connection of
 * its own, on which the bytes travel in chunks: a length (two bytes, big-endian) and so many bytes.
 * The length 0xfffe is a sign of life, every 10 s: the server does not tell when the peer vanishes.
 * The length 0 ends the direction, 0xffff says that the end of the other one has come, and nobody
 * hangs up before that. An end without the mark is an error: nobody takes a server that has died
 * for a peer that has finished.
 */
#ifndef P2PD_HOST_TURN_SIMPLEX_PAIR_H
#define P2PD_HOST_TURN_SIMPLEX_PAIR_H

#include "host/transport.h"

#define SIMPLEX_PAIR_PULSE_S 10.0

struct simplex_pair_options {
    struct transport *in, *out;
    struct buffer early;       /* read from `in` and not used */
    double pulse;              /* seconds between signs of life, the same on both sides */
    void (*on_end)(void *arg); /* called once, as the last thing */
    void *arg;
};

/* Takes both over. Never NULL. It leaves when both ends are acknowledged, or after 30 s without
 * progress. */
struct transport *simplex_pair_transport(const struct simplex_pair_options *options);

/* It fails with -errno from here on. Only for a simplex pair. */
void simplex_pair_fail(struct transport *t, int error);

#endif
