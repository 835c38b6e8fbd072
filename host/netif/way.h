/* Which way the kernel would take to somewhere. No packet is sent. */
#ifndef P2PD_HOST_NETIF_WAY_H
#define P2PD_HOST_NETIF_WAY_H

#include "host/inet.h"

/* Our address on the way to `to`, as a socket of this process would get it: rules, marks and
 * metrics count. 0 or -errno. */
int netif_source(const struct inet_addr *to, struct inet_addr *source);

/* The index of the interface by which packets from `source` leave to `to`, or -errno. */
int netif_interface(const struct inet_addr *to, const struct inet_addr *source);

#endif
