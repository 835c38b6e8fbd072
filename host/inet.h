/* Socket addresses: text to bytes and back, and what kind of address one is. */
#ifndef P2PD_HOST_INET_H
#define P2PD_HOST_INET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define INET_TEXT_MAX 96 /* "[fe80::1%interface-name]:65535" and its NUL */

struct inet_addr {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

/* A numeric IPv4 or IPv6 address ("fe80::1%eth0" has a scope) and a port. 0 or -EINVAL. */
int inet_parse(struct inet_addr *addr, const char *ip, int port);

/* The address part alone, and "ip:port" or "[ip]:port". buf holds INET_TEXT_MAX; returns buf. */
char *inet_ip(const struct inet_addr *addr, char *buf);
char *inet_format(const struct inet_addr *addr, char *buf);

int inet_port(const struct inet_addr *addr);
void inet_set_port(struct inet_addr *addr, int port);
bool inet_equal(const struct inet_addr *a, const struct inet_addr *b); /* address and port */

/* The broadcast address of the subnet of `prefix` bits that `member` is in (RFC 919), or its first
 * address, which many take for the same (RFC 1122 §3.3.6): IPv4 alone, and no subnet of one or two
 * addresses (RFC 3021) has one. */
bool inet_is_subnet_broadcast(const struct inet_addr *addr, const struct inet_addr *member,
                              int prefix);

/* The IPv4 address in an IPv6 one, to which packets for it may be taken in the end: IPv4-mapped and
 * -compatible (RFC 4291), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP
 * (RFC 5214). False when there is none; `v4` has port 0. */
bool inet_embedded(const struct inet_addr *addr, struct inet_addr *v4);

/* Same family and the same first `prefix` bits; false when there are not so many. */
bool inet_same_subnet(const struct inet_addr *a, const struct inet_addr *b, int prefix);

enum inet_class {
    INET_UNSPECIFIED, /* 0.0.0.0/8, :: */
    INET_LOOPBACK,
    INET_LINK_LOCAL,
    INET_PRIVATE, /* RFC 1918, RFC 4193 */
    INET_SHARED,  /* RFC 6598: between a carrier's NAT and its customers */
    INET_MULTICAST,
    INET_BROADCAST, /* 255.255.255.255 */
    INET_RESERVED,  /* documentation, benchmarking, 240/4 and other ranges nobody routes (RFC 6890)
                     */
    INET_GLOBAL,
};

/* An IPv6 address that leads to an IPv4 one, see inet_embedded(), is of that one's class when this
 * is not global; a mapped one always. */
enum inet_class inet_classify(const struct inet_addr *addr);
const char *inet_class_name(enum inet_class class); /* "loopback", "link-local", ... */
const char *inet_family_name(int family);           /* AF_INET: "ipv4"; AF_INET6: "ipv6" */

#endif
