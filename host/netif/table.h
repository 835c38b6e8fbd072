/* A table of network interfaces and their addresses, while it is put together. */
#ifndef P2PD_HOST_NETIF_TABLE_H
#define P2PD_HOST_NETIF_TABLE_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "host/inet.h"

#define NETIF_KIND_MAX 16 /* "wireguard" and its NUL */

struct netif_addr {
    struct inet_addr addr; /* a link-local IPv6 one has its scope */
    int prefix;            /* bits */
    bool tentative;        /* duplicate address detection is at it: it can't be bound yet */
    bool failed;           /* somebody else has it */
    bool deprecated;       /* not for new connections (RFC 4862 §5.5.4) */
    bool temporary;        /* RFC 8981 */
};

struct netif_default {
    bool present;
    uint32_t metric;          /* of the best default route through the interface: the lowest wins */
    struct inet_addr gateway; /* its next hop; zeroed when the route names none */
};

struct netif {
    char name[IF_NAMESIZE];
    unsigned index; /* 0: not known */
    bool up;        /* switched on, and the link has a carrier */
    bool loopback, point_to_point;
    bool inner; /* by what it is, it leads nowhere but to this machine: a bridge of containers */
    int mtu;    /* bytes, 0 when unknown */
    char kind[NETIF_KIND_MAX]; /* "veth", "bridge", "tun", ..., "" for hardware */
    unsigned master;           /* index of the bridge that it is a port of, or 0 */
    struct netif_default default4, default6;
    struct netif_addr *addrs;
    int naddrs;
};

struct netif_table {
    struct netif *list;
    int n;
};

/* A new one, zeroed but for its name and index; NULL: no memory. Pointers to others may move. */
struct netif *netif_table_add(struct netif_table *t, const char *name, unsigned index);

void netif_set_flags(struct netif *nif, unsigned flags); /* IFF_ */

/* NULL: there is none. The first one needs the table in the order of the indices. */
struct netif *netif_table_at(const struct netif_table *t, unsigned index);
struct netif *netif_table_find(const struct netif_table *t, const char *name);

/* Whose address it is, whatever its port; NULL: nobody's. */
struct netif *netif_table_owner(const struct netif_table *t, const struct inet_addr *addr);

/* An address of nif's with that many bytes, of the family; NULL: no memory. The scope is set. */
struct netif_addr *netif_add_addr(struct netif *nif, int family, const void *bytes, int prefix);

void netif_set_addr_flags(struct netif_addr *a, unsigned flags); /* IFA_F_ */

void netif_table_sort(struct netif_table *t); /* by index */
void netif_table_clear(struct netif_table *t);

#endif
