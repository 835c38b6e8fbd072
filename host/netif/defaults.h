/* Default routes of the main table, by interface. */
#ifndef P2PD_HOST_NETIF_DEFAULTS_H
#define P2PD_HOST_NETIF_DEFAULTS_H

#include "host/netif/table.h"

/* Fills in default4 and default6. fd: from netlink_open(). 0 or -errno. */
int netif_find_defaults(struct netif_table *t, int fd);

#endif
