/* The machine's network interfaces, and which of them lead to the rest of the world. */
#ifndef P2PD_HOST_NETIF_H
#define P2PD_HOST_NETIF_H

#include "host/netif/table.h"

/* All interfaces as they are now, by index: how many, or -errno. *list is the caller's:
 * netif_free(). */
int netif_list(struct netif **list);
void netif_free(struct netif *list, int n);

/* The interface on whose subnets the address is (our own addresses are), or NULL. */
const struct netif *netif_on_link(const struct netif *list, int n, const struct inet_addr *addr);

#endif
