#include "host/websocket/frame.h"

#include <errno.h>
#include <string.h>

#define FINAL 0x80
#define RESERVED 0x70
#define MASKED 0x80

/* -- heads ---------------------------------------------------------------------------------- */

static const char *find_fault(uint8_t first, uint8_t second, bool masked) {
    int opcode = first & 0x0f, length = second & 0x7f;
    if (first & RESERVED)
        return "a reserved bit is set";
    if ((opcode > FRAME_BINARY && opcode < FRAME_CLOSE) || opcode > FRAME_PONG)
        return "a reserved opcode";
    if (!(second & MASKED) == masked)
        return masked ? "a frame is not masked" : "a frame is masked";
    if (opcode >= FRAME_CLOSE && !(first & FINAL))
        return "a control frame is fragmented";
    if (opcode >= FRAME_CLOSE && length > FRAME_CONTROL_MAX)
        return "a control frame is too long";
    return NULL;
}

static const char *find_length_fault(uint64_t length, int bytes) {
    if (length >> 63)
        return "a length of more than 63 bits";
    if ((bytes == 2 && length < 126) || (bytes == 8 && length < 0x10000))
        return "a length in more bytes than it needs";
    return NULL;
}

int frame_read_head(const uint8_t *data, size_t len, bool masked, struct frame_head *head,
                    const char **fault) {
    if (len < 2)
        return 0;
    *fault = find_fault(data[0], data[1], masked);
    if (*fault)
        return -EPROTO;
    uint64_t length = data[1] & 0x7f;
    int bytes = length == 127 ? 8 : length == 126 ? 2 : 0;
    head->size = 2 + (size_t)bytes + (masked ? sizeof head->mask : 0);
    if (len < head->size)
        return 0;
    for (int i = 0; i < bytes; i++)
        length = (i ? length << 8 : 0) | data[2 + i];
    *fault = find_length_fault(length, bytes);
    if (*fault)
        return -EPROTO;
    head->opcode = (enum frame_opcode)(data[0] & 0x0f);
    head->final = data[0] & FINAL;
    head->length = length;
    memset(head->mask, 0, sizeof head->mask);
    if (masked)
        memcpy(head->mask, data + 2 + bytes, sizeof head->mask);
    return 1;
}

size_t frame_write_head(uint8_t to[FRAME_HEAD_MAX], enum frame_opcode opcode, uint64_t length,
                        const uint8_t mask[4]) {
    int bytes = length > 0xffff ? 8 : length >= 126 ? 2 : 0;
    to[0] = (uint8_t)(FINAL | opcode);
    to[1] = (uint8_t)((mask ? MASKED : 0) | (bytes == 8 ? 127 : bytes == 2 ? 126 : length));
    size_t n = 2;
    for (int i = bytes - 1; i >= 0; i--)
        to[n++] = (uint8_t)(length >> (8 * i));
    if (mask)
        memcpy(to + n, mask, 4);
    return n + (mask ? 4 : 0);
}

/* -- masks ---------------------------------------------------------------------------------- */

void frame_mask(char *to, const char *from, size_t len, const uint8_t mask[4], uint64_t offset) {
    uint8_t turned[sizeof(uint64_t)];
    uint64_t words[4], by; /* of which the compiler makes one vector */
    size_t i = 0;
    for (size_t k = 0; k < sizeof turned; k++)
        turned[k] = mask[(offset + k) % 4];
    memcpy(&by, turned, sizeof by);
    for (; i + sizeof words <= len; i += sizeof words) {
        memcpy(words, from + i, sizeof words);
        for (int k = 0; k < 4; k++)
            words[k] ^= by;
        memcpy(to + i, words, sizeof words);
    }
    for (; i < len; i++)
        to[i] = (char)(from[i] ^ turned[i % 4]);
}

/* -- close ---------------------------------------------------------------------------------- */

static bool is_code(int code) {
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

/* Bytes of the character that the text begins with, or 0: it is not one (RFC 3629 §4). */
static size_t utf8_character(const uint8_t *text, size_t len) {
    static const struct {
        uint8_t first, last; /* of the first byte */
        uint8_t second_first, second_last;
        size_t bytes;
    } KINDS[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    if (text[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (text[0] < KINDS[i].first || text[0] > KINDS[i].last)
            continue;
        if (len < KINDS[i].bytes || text[1] < KINDS[i].second_first ||
            text[1] > KINDS[i].second_last)
            return 0;
        for (size_t k = 2; k < KINDS[i].bytes; k++)
            if ((text[k] & 0xc0) != 0x80)
                return 0;
        return KINDS[i].bytes;
    }
    return 0;
}

int frame_answer_close(const uint8_t *payload, size_t len) {
    if (len == 0)
        return CLOSE_NORMAL;
    int code = len > 1 ? payload[0] << 8 | payload[1] : 0;
    if (!is_code(code))
        return CLOSE_PROTOCOL_ERROR;
    for (size_t at = 2, n; at < len; at += n) {
        n = utf8_character(payload + at, len - at);
        if (n == 0)
            return CLOSE_NOT_UTF8;
    }
    return code;
}
