/* Two carriers of which each delivers what is sent by the other one, in memory: for scripts that
 * carry datagrams by their own means. */
#ifndef P2PD_HOST_DATAGRAMS_PAIR_H
#define P2PD_HOST_DATAGRAMS_PAIR_H

#include "host/datagrams.h"

/* When one is freed the other one's on_end is called, with -EPIPE. */
void datagram_pair(size_t size_max, struct datagrams *ends[2]);

#endif
