/* NAT-PMP (RFC 6886) by libnatpmp, which is loaded when it is used and unloaded afterwards. */
#ifndef P2PD_HOST_GATEWAY_NATPMP_H
#define P2PD_HOST_GATEWAY_NATPMP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define NATPMP_MESSAGE_MAX 120

struct natpmp {
    struct in_addr gateway;
    double timeout;          /* seconds */
    bool map;                /* a TCP mapping, else the external address is asked for */
    uint16_t internal, port; /* of a mapping: the local port, and the external one that is wished */
    uint32_t lifetime;       /* seconds; 0 removes the mapping */

    /* what came of it */
    int error; /* 0, or -errno: -ELIBACC (no library), -ETIMEDOUT, -EACCES (the gateway refuses) */
    char message[NATPMP_MESSAGE_MAX];
    struct in_addr external;
    uint32_t epoch; /* seconds since the gateway lost its mappings */
    /* port and lifetime are what the gateway gives */
};

/* Asks and waits for the answer; touches nothing but *n. */
void natpmp_ask(struct natpmp *n);

#endif
