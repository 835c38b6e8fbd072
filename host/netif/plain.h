/* Interfaces where netlink is denied, as a service unit or Android may do. */
#ifndef P2PD_HOST_NETIF_PLAIN_H
#define P2PD_HOST_NETIF_PLAIN_H

#include "host/netif/table.h"

/* What ioctls, /proc/net and the source addresses of connected sockets tell. 0 or -errno. */
int netif_list_plain(struct netif_table *t);

#endif
