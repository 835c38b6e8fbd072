/* A reliable link on the loop: the machine, the carrier of its datagrams, and a timer. */
#ifndef P2PD_RELIABLE_LINK_H
#define P2PD_RELIABLE_LINK_H

#include "host/datagrams.h"
#include "host/reliable.h"
#include "host/stream.h"

struct reliable_link;

/* Takes the carrier over; never NULL. on_change: the machine may have something to tell; it must
 * not give the link up. Loop thread only. */
struct reliable_link *reliable_link_new(const struct reliable_options *options,
                                        struct datagrams *carrier,
                                        void (*on_change)(struct reliable_link *), void *owner);

void *reliable_link_owner(const struct reliable_link *l);

/* To ask it and to use it; reliable_link_touch() after what may let something leave. */
struct reliable *reliable_link_machine(const struct reliable_link *l);
void reliable_link_touch(struct reliable_link *l);

/* The link as what carries a stream, which owns it from then on; on_change is called no more. */
struct transport *reliable_link_transport(struct reliable_link *l);

/* The machine of such a transport, or NULL. */
const struct reliable *reliable_link_of(const struct transport *t);

/* Gives it up, as reliable_leave() does. It goes away, with its carrier, when all is over; until
 * then it counts as a lingering stream. */
void reliable_link_leave(struct reliable_link *l);

#endif
