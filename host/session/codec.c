/* Every type has a fixed body, but for DATA's bytes and the text of a reason. */
#include "host/session/codec.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define HELLO_SIZE 24
#define REASON_SIZE 2 /* its code */

struct layout {
    size_t least, most; /* bytes of the body */
    uint8_t flags;      /* that it may have */
};

static const struct layout LAYOUTS[] = {
    [SESSION_HELLO] = {HELLO_SIZE, HELLO_SIZE, SESSION_INITIATOR},
    [SESSION_DATA] = {8, SESSION_FRAME_MAX - SESSION_HEADER, SESSION_ASK | SESSION_FIN},
    [SESSION_START] = {8, 8, 0},
    [SESSION_MARK] = {8, 8, 0},
    [SESSION_ACK] = {16, 16, 0},
    [SESSION_AGAIN] = {8, 8, 0},
    [SESSION_USE] = {0, 0, 0},
    [SESSION_PING] = {8, 8, 0},
    [SESSION_PONG] = {8, 8, 0},
    [SESSION_DROP] = {REASON_SIZE, REASON_SIZE + SESSION_REASON_MAX, 0},
    [SESSION_BYE] = {8, 8, 0},
    [SESSION_RESET] = {REASON_SIZE, REASON_SIZE + SESSION_REASON_MAX, 0},
};

static uint64_t get(const uint8_t *p, int size) {
    uint64_t n = 0;
    for (int i = 0; i < size; i++)
        n = n << 8 | p[i];
    return n;
}

static void put(uint8_t *p, uint64_t n, int size) {
    for (int i = size - 1; i >= 0; i--, n >>= 8)
        p[i] = (uint8_t)n;
}

static bool has_reason(uint8_t type) {
    return type == SESSION_DROP || type == SESSION_RESET;
}

int session_frame_need(const uint8_t *header) {
    uint8_t type = header[0];
    size_t length = (size_t)get(header + 2, 2);
    if (length > SESSION_FRAME_MAX - SESSION_HEADER)
        return -EBADMSG;
    if (type >= SESSION_OPTIONAL)
        return SESSION_HEADER;
    if (type < SESSION_HELLO || type > SESSION_RESET)
        return -EBADMSG;
    const struct layout *l = &LAYOUTS[type];
    if (length < l->least || length > l->most || (header[1] & ~l->flags))
        return -EBADMSG;
    return type == SESSION_DATA ? SESSION_DATA_HEADER : (int)(SESSION_HEADER + length);
}

int session_frame_decode(struct session_frame *f, const uint8_t *data) {
    const uint8_t *body = data + SESSION_HEADER;
    *f = (struct session_frame){
        .type = data[0], .flags = data[1], .length = (size_t)get(data + 2, 2)};
    if (f->type >= SESSION_OPTIONAL || f->type == SESSION_USE)
        return 0;
    if (has_reason(f->type)) {
        f->code = (uint16_t)get(body, 2);
        f->text = (const char *)body + REASON_SIZE;
        f->text_len = f->length - REASON_SIZE;
        return 0;
    }
    if (f->type == SESSION_HELLO) {
        f->version = body[0];
        f->path = (uint32_t)get(body + 4, 4);
        f->position = get(body + 8, 8);
        f->limit = get(body + 16, 8);
        return get(body + 1, 3) ? -EBADMSG : 0;
    }
    f->position = get(body, 8);
    if (f->type == SESSION_ACK)
        f->limit = get(body + 8, 8);
    return 0;
}

static size_t body_size(const struct session_frame *f) {
    if (has_reason(f->type))
        return REASON_SIZE + f->text_len;
    return f->type == SESSION_DATA ? f->length : LAYOUTS[f->type].least;
}

size_t session_frame_encode(const struct session_frame *f, uint8_t *data) {
    uint8_t *body = data + SESSION_HEADER;
    size_t size = body_size(f);
    data[0] = f->type;
    data[1] = f->flags;
    put(data + 2, size, 2);
    if (has_reason(f->type)) {
        put(body, f->code, 2);
        memcpy(body + REASON_SIZE, f->text, f->text_len);
        return SESSION_HEADER + size;
    }
    if (f->type == SESSION_HELLO) {
        put(body, (uint64_t)f->version << 24, 4);
        put(body + 4, f->path, 4);
        put(body + 8, f->position, 8);
        put(body + 16, f->limit, 8);
    } else if (size) {
        put(body, f->position, 8);
    }
    if (f->type == SESSION_ACK)
        put(body + 8, f->limit, 8);
    return f->type == SESSION_DATA ? SESSION_DATA_HEADER : SESSION_HEADER + size;
}
