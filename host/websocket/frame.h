/* WebSocket frames (RFC 6455 §5): heads, masks, and what a close frame says. Pure. */
#ifndef P2PD_HOST_WEBSOCKET_FRAME_H
#define P2PD_HOST_WEBSOCKET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD_MAX 14     /* RFC 6455 §5.2 */
#define FRAME_CONTROL_MAX 125 /* bytes of a control frame's payload, RFC 6455 §5.5 */

enum frame_opcode {
    FRAME_CONTINUATION = 0,
    FRAME_TEXT = 1,
    FRAME_BINARY = 2,
    FRAME_CLOSE = 8,
    FRAME_PING = 9,
    FRAME_PONG = 10,
};

/* RFC 6455 §7.4.1 */
enum frame_close_code {
    CLOSE_NORMAL = 1000,
    CLOSE_PROTOCOL_ERROR = 1002,
    CLOSE_UNSUPPORTED = 1003,
    CLOSE_NOT_UTF8 = 1007,
};

struct frame_head {
    enum frame_opcode opcode;
    bool final;
    uint64_t length; /* of the payload */
    uint8_t mask[4];
    size_t size; /* of the head */
};

/* The head that `data` begins with, which has to be masked, or must not be. 1; 0: there is more to
 * come of it; -EPROTO: *fault says why. */
int frame_read_head(const uint8_t *data, size_t len, bool masked, struct frame_head *head,
                    const char **fault);

/* Makes the head of a final frame; `mask` is NULL for none. Its size. */
size_t frame_write_head(uint8_t to[FRAME_HEAD_MAX], enum frame_opcode opcode, uint64_t length,
                        const uint8_t mask[4]);

/* Copies bytes that are `offset` bytes behind the payload's beginning, and masks or unmasks them;
 * to where they are, or elsewhere. */
void frame_mask(char *to, const char *from, size_t len, const uint8_t mask[4], uint64_t offset);

/* The code that answers a close frame: the peer's own, or what is wrong with its payload. */
int frame_answer_close(const uint8_t *payload, size_t len);

#endif
