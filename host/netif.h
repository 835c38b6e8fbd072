/* The machine's network interfaces, and which of them lead to the rest of the world. */
#ifndef P2PD_HOST_NETIF_H
#define P2PD_HOST_NETIF_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "host/inet.h"

struct netif_addr {
    struct inet_addr addr; /* a link-local IPv6 one has its scope */
    int prefix;            /* bits */
};

struct netif_default {
    bool present;
    uint32_t metric;          /* of the best default route through the interface: the lowest wins */
    struct inet_addr gateway; /* its next hop; zeroed when the route names none */
};

struct netif {
    char name[IF_NAMESIZE];
    unsigned index;
    bool up; /* switched on, and the link has a carrier */
    bool loopback, point_to_point;
    int mtu; /* bytes, 0 when unknown */
    struct netif_default default4, default6;
    struct netif_addr *addrs;
    int naddrs;
};

/* All interfaces as they are now, by index: how many, or -errno. *list is the caller's:
 * netif_free(). */
int netif_list(struct netif **list);
void netif_free(struct netif *list, int n);

/* The interface on whose subnets the address is (our own addresses are), or NULL. */
const struct netif *netif_on_link(const struct netif *list, int n, const struct inet_addr *addr);

#endif
