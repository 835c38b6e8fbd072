/* Two carriers of which each delivers what the other one was given: for whoever carries datagrams
 * himself, such as a script. */
#ifndef P2PD_DATAGRAM_PAIR_H
#define P2PD_DATAGRAM_PAIR_H

#include "host/datagrams.h"

/* When one is freed the other one's on_end is called, with -EPIPE. */
void datagram_pair(size_t size_max, struct datagrams *ends[2]);

#endif
