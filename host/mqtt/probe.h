/* Where a broker is: its name's addresses, and the first of them that accepts a TCP connection. */
#ifndef P2PD_MQTT_PROBE_H
#define P2PD_MQTT_PROBE_H

#include <ev.h>

#include "host/inet.h"

/* The name's addresses, IPv4 first as paho has it: how many (1 to max), or getaddrinfo()'s error,
 * which is negative. Blocks, unless flags has AI_NUMERICHOST. Any thread. */
int mqtt_resolve(const char *host, int port, int flags, struct inet_addr *addrs, int max);

struct mqtt_probe {
    ev_io io; /* active while a connect() is out */
    const struct inet_addr *addrs;
    int count, at;
    void (*on_done)(struct mqtt_probe *, int result); /* 0: addrs[at] answered; the last -errno */
};

/* Tries one address after the other; the addresses stay the caller's. May call on_done at once. */
void mqtt_probe_start(struct mqtt_probe *p, const struct inet_addr *addrs, int count,
                      void (*on_done)(struct mqtt_probe *, int result));
void mqtt_probe_stop(struct mqtt_probe *p);

#endif
