/* Datagram sockets on the loop, non-blocking. What ICMP says about a destination is reported, never
 * fatal. */
#ifndef P2PD_HOST_UDP_H
#define P2PD_HOST_UDP_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "host/inet.h"

#define UDP_DATAGRAM_MAX 65535

struct udp_options {
    struct inet_addr local;
    const char *interface; /* SO_BINDTODEVICE where permitted; NULL: none */
    bool reuse;            /* SO_REUSEADDR and SO_REUSEPORT */
};

/* In place: it must not move while open. Zeroed is closed. Loop thread only. */
struct udp {
    bool open;
    bool translates; /* of IPv6, and told IPv4 addresses (host/nat64.h): it tells them so too */
    int family;
    ev_io io;
    void (*on_ready)(struct udp *); /* set by the owner; there is something to receive */
    void *owner;
};

/* 0 or -errno; an open socket watches nothing yet. IPv6 sockets take no IPv4. */
int udp_open(struct udp *u, const struct udp_options *options);

/* on_ready once, when a datagram or an error waits; false takes the wish back. */
void udp_want(struct udp *u, bool on);

/* Bytes sent, or -errno: of this very datagram, never of one before. -EAGAIN: the buffers are full.
 */
ssize_t udp_sendto(struct udp *u, const void *data, size_t len, const struct inet_addr *to);

/* Bytes (0 is an empty datagram), -EAGAIN, or -errno; an error that ICMP brought has in *peer the
 * address it is about, else peer->len is 0. */
ssize_t udp_recvfrom(struct udp *u, void *data, size_t len, struct inet_addr *peer);

int udp_local(const struct udp *u, struct inet_addr *addr);

void udp_close(struct udp *u); /* may be called twice */

#endif
