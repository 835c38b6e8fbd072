/*
 * NAT64: a prefix of IPv6 addresses by which a network of IPv6 alone leads to IPv4 ones (RFC 6146).
 *
 * The prefix that the machine's network has is one for the whole process, as its routes are. It is
 * found by asking for a name that has no IPv6 address (RFC 7050) when an IPv4 address turns out not
 * to be reachable; from then on a socket of IPv6 may be told IPv4 addresses.
 */
#ifndef P2PD_HOST_NAT64_H
#define P2PD_HOST_NAT64_H

#include "host/inet.h"

struct nat64_prefix {
    struct in6_addr ip;
    int bits; /* 32, 40, 48, 56, 64 or 96 */
};

/* -- the codec (RFC 6052 §2.2): pure -------------------------------------------------------- */

/* The IPv6 address that stands for v4, with its port. */
void nat64_embed(const struct nat64_prefix *prefix, const struct inet_addr *v4,
                 struct inet_addr *v6);

/* The IPv4 address that v6 stands for, with its port. False when it does not have the prefix. */
bool nat64_extract(const struct nat64_prefix *prefix, const struct inet_addr *v6,
                   struct inet_addr *v4);

/* The prefix of an address that was made for ipv4only.arpa (RFC 7050 §3). False when none fits. */
bool nat64_find(const struct inet_addr *made, struct nat64_prefix *prefix);

/* -- the network's prefix: any thread ------------------------------------------------------- */

#define NAT64_KEEP_S 60 /* for which a prefix is believed, or that there is none */
#define NAT64_RETRY_S 3 /* until a resolver that could not be asked is asked again */

void nat64_use(const struct nat64_prefix *prefix); /* NULL: there is none */
void nat64_forget(void);                           /* not known any more whether there is one */
bool nat64_prefix(struct nat64_prefix *prefix);

/* Whether somebody should look for the prefix: the address is IPv4 out in the internet, there is no
 * way to it, and what is known is old. Does not wait. */
bool nat64_is_wanted(const struct inet_addr *v4);

/* Looks for the prefix with the resolver: waits, so on a worker thread; side by side only one asks.
 */
void nat64_discover(void);

/* Whether an IPv4 address cannot be reached as it is, but by the prefix: then *v6 is what stands
 * for it. */
bool nat64_stands_for(const struct inet_addr *v4, struct inet_addr *v6);

/* For a socket of IPv6: an IPv4 address in the internet becomes the IPv6 one that stands for it.
 * False when nothing was changed. */
bool nat64_translate(struct inet_addr *addr, int family);

/* The opposite. */
bool nat64_translate_back(struct inet_addr *addr);

#endif
