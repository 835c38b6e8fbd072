/* Loss detection (RFC 9002 §6.1) and the path's datagram size. */
#ifndef P2PD_HOST_RELIABLE_LOSS_H
#define P2PD_HOST_RELIABLE_LOSS_H

#include "host/reliable/machine.h"

/* Declares lost what is by now, and plans the next look (r->loss_due). */
void loss_detect(struct reliable *r, double now);

/* Whether the packet was one of the largest that are sent now. */
bool loss_is_full(const struct reliable *r, const struct sent_packet *p);

#endif
