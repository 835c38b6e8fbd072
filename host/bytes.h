/* Numbers in network byte order, wherever in memory they begin. */
#ifndef P2PD_HOST_BYTES_H
#define P2PD_HOST_BYTES_H

#include <stdint.h>

static inline uint16_t bytes_get16(const uint8_t *p) {
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t bytes_get32(const uint8_t *p) {
    return (uint32_t)bytes_get16(p) << 16 | bytes_get16(p + 2);
}

static inline void bytes_put16(uint8_t *p, unsigned value) {
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void bytes_put32(uint8_t *p, uint32_t value) {
    bytes_put16(p, value >> 16);
    bytes_put16(p + 2, value & 0xffff);
}

#endif
