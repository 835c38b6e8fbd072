/* The permissions and channels of one allocation, and when each has to be renewed. */
#ifndef P2PD_HOST_TURN_PEER_H
#define P2PD_HOST_TURN_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "host/inet.h"

struct turn_peer {
    struct turn_peer *next;
    struct inet_addr addr; /* port 0: a permission, of every port */
    uint16_t channel;      /* 0: a permission */
    bool asked;            /* the server has been */
    bool ready;            /* it has agreed */
    double renew;          /* when to ask again; INFINITY: not known yet */
};

/* The entry of exactly that address and port, or NULL. */
struct turn_peer *turn_peer_find(struct turn_peer *list, const struct inet_addr *addr);
struct turn_peer *turn_peer_by_channel(struct turn_peer *list, uint16_t channel);

/* Whether some ready entry lets that address in, whatever its port. */
bool turn_peer_admits(const struct turn_peer *list, const struct inet_addr *addr);

/* A new entry at the end of the list. */
struct turn_peer *turn_peer_add(struct turn_peer **list, const struct inet_addr *addr,
                                uint16_t channel);

void turn_peer_remove(struct turn_peer **list, struct turn_peer *peer);
void turn_peer_clear(struct turn_peer **list);

#endif
