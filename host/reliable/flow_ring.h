/* The memory behind a stream's window: a position's byte is at the position modulo FLOW_WINDOW. */
#ifndef P2PD_HOST_RELIABLE_FLOW_RING_H
#define P2PD_HOST_RELIABLE_FLOW_RING_H

#include <stddef.h>
#include <stdint.h>

/* *ring is made when it is NULL; aborts when out of memory. */
void flow_ring_put(char **ring, uint64_t position, const void *data, size_t len);
void flow_ring_get(const char *ring, uint64_t position, void *data, size_t len);

#endif
