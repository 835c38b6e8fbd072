/* A set of numbers as ranges in ascending order, none of which touch. Zeroed is empty. */
#ifndef P2PD_HOST_RELIABLE_RANGES_H
#define P2PD_HOST_RELIABLE_RANGES_H

#include <stdbool.h>
#include <stdint.h>

struct range {
    uint64_t from, to; /* [from, to) */
};

struct ranges {
    struct range *list;
    int count, room;
};

/* Adds [from, to); aborts when out of memory. */
void ranges_add(struct ranges *r, uint64_t from, uint64_t to);

/* Takes everything below `floor` out. */
void ranges_cut(struct ranges *r, uint64_t floor);

void ranges_fini(struct ranges *r);

#endif
