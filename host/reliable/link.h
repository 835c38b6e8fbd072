/* A reliable link on the loop: the machine of host/reliable.h, its carrier of datagrams, a timer.
 */
#ifndef P2PD_HOST_RELIABLE_LINK_H
#define P2PD_HOST_RELIABLE_LINK_H

#include "host/datagrams.h"
#include "host/reliable.h"
#include "host/transport.h"

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

/* What there is to tell of it: its state in a word, and its facts as those of a transport. */
const char *reliable_link_state(const struct reliable_link *l);
void reliable_link_describe(const struct reliable_link *l, transport_tell tell, void *arg);

/* For a link that was not made a transport: gives it up, and tells the peer. */
void reliable_link_abort(struct reliable_link *l);

#endif
