/* The datagrams of a reliable link: bytes <-> struct. docs/protocol.md has the picture. */
#ifndef P2PD_HOST_RELIABLE_CODEC_H
#define P2PD_HOST_RELIABLE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/reliable/options.h"

#define RELIABLE_HEADER_SIZE 16   /* what every datagram has */
#define RELIABLE_DATA_HEADER 4    /* before the data of one that has some */
#define RELIABLE_RANGES_MAX 32    /* of one acknowledgement */
#define RELIABLE_REASON_MAX 120   /* bytes, of a reset */
#define RELIABLE_ACK_DELAY_S 1e-5 /* the unit of its delay */

enum reliable_flag {
    RELIABLE_DIALER = 0x01,    /* from the side that dialled */
    RELIABLE_ELICITING = 0x02, /* its number is to be acknowledged */
    RELIABLE_ACK = 0x04,
    RELIABLE_OPEN = 0x08,
    RELIABLE_FIN = 0x10,
    RELIABLE_RESET = 0x20,
    RELIABLE_DATA = 0x80,
};

/* Runs of numbers, the highest first: `count` of them end at `last`. */
struct reliable_run {
    uint32_t last;
    uint16_t count;
};

/* Numbers and positions are the low 32 bits; see reliable_expand(). */
struct reliable_packet {
    uint8_t flags;
    uint8_t id[RELIABLE_ID_SIZE];
    uint32_t number; /* of this packet, or, without RELIABLE_ELICITING, the next one's */
    uint16_t back;   /* numbers below number - back are of no interest any more */
    struct {
        uint16_t delay;      /* since the highest number was received; see RELIABLE_ACK_DELAY_S */
        uint32_t cumulative; /* all before this position was received */
        uint32_t window;     /* and so much from there may be sent */
        int runs;
        struct reliable_run run[RELIABLE_RANGES_MAX];
    } ack;
    uint32_t position; /* of the data's first byte */
    uint16_t code;     /* of a reset: an errno as on Linux */
    const uint8_t *data;
    size_t len; /* of the data, or of a reset's reason */
};

/* 0, or -EBADMSG: not of this protocol, or broken. `data` points into what was decoded. */
int reliable_decode(struct reliable_packet *p, const void *datagram, size_t len);

/* The bytes that are there besides the data. */
size_t reliable_overhead(const struct reliable_packet *p);

/* The length of the datagram, or -EMSGSIZE. */
ssize_t reliable_encode(const struct reliable_packet *p, void *datagram, size_t max);

/* The number nearest to `base` that ends in these 32 bits. */
uint64_t reliable_expand(uint64_t base, uint32_t low);

#endif
