/* The frames of a session: bytes <-> struct. docs/protocol.md has the picture. */
#ifndef P2PD_HOST_SESSION_CODEC_H
#define P2PD_HOST_SESSION_CODEC_H

#include <stddef.h>
#include <stdint.h>

#define SESSION_VERSION 1
#define SESSION_HEADER 4        /* type, flags, length of the body */
#define SESSION_FRAME_MAX 16384 /* bytes, header included: one TLS record */
#define SESSION_DATA_HEADER 12  /* what DATA has before its bytes, header included */
#define SESSION_DATA_MAX (SESSION_FRAME_MAX - SESSION_DATA_HEADER)
#define SESSION_REASON_MAX 120 /* bytes */
#define SESSION_CONTROL_MAX (SESSION_HEADER + 2 + SESSION_REASON_MAX)

enum session_type {
    SESSION_HELLO = 1, /* the first on every path */
    SESSION_DATA = 2,
    SESSION_START = 3, /* data on this path goes on from `position` */
    SESSION_MARK = 4,  /* no more data on this path: from `position` it goes by another one */
    SESSION_ACK = 5,
    SESSION_AGAIN = 6, /* what would have come from `position` is lost with its path */
    SESSION_USE = 7,   /* from the initiator: use this path */
    SESSION_PING = 8,
    SESSION_PONG = 9,
    SESSION_DROP = 10, /* this path ends */
    SESSION_BYE = 11,  /* both halves have ended, and all is delivered */
    SESSION_RESET = 12,
    SESSION_OPTIONAL = 128, /* types from here on are skipped when they are not known */
};

enum session_flag {
    SESSION_INITIATOR = 1, /* of HELLO */
    SESSION_ASK = 1,       /* of DATA: acknowledge it at once */
    SESSION_FIN = 2,       /* of DATA: the end, which takes one position, is after its bytes */
};

struct session_frame {
    uint8_t type, flags;
    size_t length;     /* of the body */
    uint8_t version;   /* HELLO */
    uint32_t path;     /* HELLO: the sender's number of this path */
    uint64_t position; /* HELLO, ACK, BYE: all before it was received; PING, PONG: a token */
    uint64_t limit;    /* HELLO, ACK: positions below it may be sent */
    uint16_t code;     /* DROP, RESET: an errno as on Linux; 0: none */
    const char *text;  /* DROP, RESET: why; not terminated */
    size_t text_len;
};

/* How many bytes have to be there before the frame can be decoded: of DATA what comes before its
 * bytes, of an optional type the header alone, else the whole frame. `header` has SESSION_HEADER
 * bytes. -EBADMSG for what no session sends. */
int session_frame_need(const uint8_t *header);

/* From as many bytes as session_frame_need() has said. 0 or -EBADMSG; text points into `data`. */
int session_frame_decode(struct session_frame *f, const uint8_t *data);

/* Writes a frame, of DATA (whose `length` is to be set) what comes before its bytes; how many
 * bytes, at most SESSION_CONTROL_MAX. */
size_t session_frame_encode(const struct session_frame *f, uint8_t *data);

#endif
