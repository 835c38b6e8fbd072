/* A UDP socket that talks to one peer, as a carrier of datagrams. */
#ifndef P2PD_HOST_DATAGRAMS_UDP_H
#define P2PD_HOST_DATAGRAMS_UDP_H

#include "host/datagrams.h"
#include "host/udp.h"

/* Takes the open socket over and connects it to the peer, so that nobody else's datagrams come in;
 * `u` is closed then. NULL, and errno, when it cannot be connected: `u` stays as it was. */
struct datagrams *udp_datagrams(struct udp *u, const struct inet_addr *peer);

#endif
