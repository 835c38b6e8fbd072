#include "host/turn/peer.h"

#include <math.h>
#include <stdlib.h>

struct turn_peer *turn_peer_find(struct turn_peer *list, const struct inet_addr *addr) {
    while (list && !inet_equal(&list->addr, addr))
        list = list->next;
    return list;
}

struct turn_peer *turn_peer_by_channel(struct turn_peer *list, uint16_t channel) {
    while (list && list->channel != channel)
        list = list->next;
    return list;
}

bool turn_peer_admits(const struct turn_peer *list, const struct inet_addr *addr) {
    struct inet_addr same = *addr;
    for (; list; list = list->next) {
        inet_set_port(&same, inet_port(&list->addr));
        if (list->ready && inet_equal(&same, &list->addr))
            return true;
    }
    return false;
}

struct turn_peer *turn_peer_add(struct turn_peer **list, const struct inet_addr *addr,
                                uint16_t channel) {
    struct turn_peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        abort();
    peer->addr = *addr;
    peer->channel = channel;
    peer->renew = INFINITY;
    while (*list)
        list = &(*list)->next;
    return *list = peer;
}

void turn_peer_remove(struct turn_peer **list, struct turn_peer *peer) {
    while (*list != peer)
        list = &(*list)->next;
    *list = peer->next;
    free(peer);
}

void turn_peer_clear(struct turn_peer **list) {
    while (*list)
        turn_peer_remove(list, *list);
}
