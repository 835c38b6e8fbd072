/*
 * The frames of yamux: bytes <-> struct, big-endian, 12 bytes and for DATA the bytes that follow.
 * https://github.com/hashicorp/yamux/blob/master/spec.md, with the clarifications of
 * https://github.com/libp2p/specs/tree/master/yamux
 */
#ifndef P2PD_HOST_MUX_FRAME_H
#define P2PD_HOST_MUX_FRAME_H

#include <stdint.h>

#define MUX_VERSION 0
#define MUX_HEADER 12 /* bytes */

enum mux_type {
    MUX_DATA = 0,    /* length: of the bytes that follow */
    MUX_WINDOW = 1,  /* length: how many bytes more may be sent */
    MUX_PING = 2,    /* length: any number, which the answer repeats */
    MUX_GO_AWAY = 3, /* length: one of mux_end_code */
};

enum mux_flag {
    MUX_SYN = 1, /* the stream begins; PING: asks */
    MUX_ACK = 2, /* it is taken; PING: answers */
    MUX_FIN = 4, /* the sender's half ends */
    MUX_RST = 8, /* the stream is over */
};

enum mux_end_code { MUX_END_NORMAL = 0, MUX_END_PROTOCOL = 1, MUX_END_INTERNAL = 2 };

struct mux_frame {
    uint8_t type;
    uint16_t flags;
    uint32_t stream; /* 0: the connection */
    uint32_t length;
};

/* 0; -EBADMSG for another version or an unknown type. */
int mux_frame_decode(struct mux_frame *f, const uint8_t header[MUX_HEADER]);
void mux_frame_encode(const struct mux_frame *f, uint8_t header[MUX_HEADER]);

#endif
