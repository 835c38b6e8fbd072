/* The first byte's two highest bits, 10, tell it from STUN (00) and ChannelData (01): RFC 7983. */
#include "host/reliable/codec.h"

#include <errno.h>
#include <string.h>

#define MAGIC 0xB1 /* and the version */
#define RESERVED 0x40
#define ACK_SIZE 11
#define RUN_SIZE 4

struct reader {
    const uint8_t *data;
    size_t left;
};

static uint32_t get(struct reader *r, size_t bytes) {
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | r->data[i];
    r->data += bytes;
    r->left -= bytes;
    return value;
}

static uint8_t *put(uint8_t *at, uint32_t value, size_t bytes) {
    for (size_t i = bytes; i-- > 0; value >>= 8)
        at[i] = (uint8_t)value;
    return at + bytes;
}

/* -- bytes to struct ----------------------------------------------------------------------- */

static int decode_runs(struct reliable_packet *p, struct reader *r) {
    uint32_t next = 0;
    if (r->left < (size_t)p->ack.runs * RUN_SIZE + (p->ack.runs ? 4 : 0))
        return -EBADMSG;
    if (p->ack.runs)
        next = get(r, 4);
    for (int i = 0; i < p->ack.runs; i++) {
        uint32_t gap = get(r, 2), count = get(r, 2);
        if (count == 0 || (i > 0 && gap == 0) || (i == 0 && gap != 0))
            return -EBADMSG;
        p->ack.run[i] = (struct reliable_run){next - gap, (uint16_t)count};
        next = next - gap - count;
    }
    return 0;
}

static int decode_ack(struct reliable_packet *p, struct reader *r) {
    if (r->left < ACK_SIZE)
        return -EBADMSG;
    p->ack.delay = (uint16_t)get(r, 2);
    p->ack.cumulative = get(r, 4);
    p->ack.window = get(r, 4);
    p->ack.runs = (int)get(r, 1);
    return p->ack.runs > RELIABLE_RANGES_MAX ? -EBADMSG : decode_runs(p, r);
}

static int decode_body(struct reliable_packet *p, struct reader *r) {
    if (p->flags & RELIABLE_RESET) {
        if (r->left < 2)
            return -EBADMSG;
        p->code = (uint16_t)get(r, 2);
        if (r->left > RELIABLE_REASON_MAX)
            return -EBADMSG;
    } else if (p->flags & RELIABLE_DATA) {
        if (r->left < RELIABLE_DATA_HEADER)
            return -EBADMSG;
        p->position = get(r, 4);
    } else if (r->left) {
        return -EBADMSG;
    }
    p->data = r->data;
    p->len = r->left;
    return 0;
}

/* What says that something is to be acknowledged, and only that, has a number. */
static bool is_consistent(uint8_t flags) {
    if (flags & RESERVED)
        return false;
    if (flags & RELIABLE_RESET)
        return !(flags & (RELIABLE_ELICITING | RELIABLE_DATA | RELIABLE_OPEN | RELIABLE_FIN));
    if ((flags & RELIABLE_FIN) && !(flags & RELIABLE_DATA))
        return false;
    return (flags & RELIABLE_ELICITING) || !(flags & (RELIABLE_DATA | RELIABLE_OPEN));
}

int reliable_decode(struct reliable_packet *p, const void *datagram, size_t len) {
    struct reader r = {datagram, len};
    *p = (struct reliable_packet){0};
    if (len < RELIABLE_HEADER_SIZE || get(&r, 1) != MAGIC)
        return -EBADMSG;
    p->flags = (uint8_t)get(&r, 1);
    memcpy(p->id, r.data, sizeof p->id);
    r.data += sizeof p->id;
    r.left -= sizeof p->id;
    p->number = get(&r, 4);
    p->back = (uint16_t)get(&r, 2);
    if (!is_consistent(p->flags))
        return -EBADMSG;
    int err = p->flags & RELIABLE_ACK ? decode_ack(p, &r) : 0;
    return err ? err : decode_body(p, &r);
}

/* -- struct to bytes ----------------------------------------------------------------------- */

size_t reliable_overhead(const struct reliable_packet *p) {
    size_t size = RELIABLE_HEADER_SIZE;
    if (p->flags & RELIABLE_ACK)
        size += ACK_SIZE + (p->ack.runs ? 4 + (size_t)p->ack.runs * RUN_SIZE : 0);
    if (p->flags & RELIABLE_RESET)
        size += 2;
    if (p->flags & RELIABLE_DATA)
        size += RELIABLE_DATA_HEADER;
    return size;
}

static uint8_t *put_ack(uint8_t *at, const struct reliable_packet *p) {
    at = put(at, p->ack.delay, 2);
    at = put(at, p->ack.cumulative, 4);
    at = put(at, p->ack.window, 4);
    at = put(at, (uint32_t)p->ack.runs, 1);
    if (!p->ack.runs)
        return at;
    uint32_t next = p->ack.run[0].last;
    at = put(at, next, 4);
    for (int i = 0; i < p->ack.runs; i++) {
        const struct reliable_run *run = &p->ack.run[i];
        at = put(at, next - run->last, 2);
        at = put(at, run->count, 2);
        next = run->last - run->count;
    }
    return at;
}

ssize_t reliable_encode(const struct reliable_packet *p, void *datagram, size_t max) {
    uint8_t *at = datagram;
    size_t len = reliable_overhead(p) + p->len;
    if (len > max)
        return -EMSGSIZE;
    at = put(at, MAGIC, 1);
    at = put(at, p->flags, 1);
    memcpy(at, p->id, sizeof p->id);
    at = put(at + sizeof p->id, p->number, 4);
    at = put(at, p->back, 2);
    if (p->flags & RELIABLE_ACK)
        at = put_ack(at, p);
    if (p->flags & RELIABLE_RESET)
        at = put(at, p->code, 2);
    if (p->flags & RELIABLE_DATA)
        at = put(at, p->position, 4);
    if (p->len)
        memcpy(at, p->data, p->len);
    return (ssize_t)len;
}

uint64_t reliable_expand(uint64_t base, uint32_t low) {
    int32_t distance = (int32_t)(low - (uint32_t)base);
    if (distance < 0 && (uint64_t) - (int64_t)distance > base)
        return base + (uint32_t)distance; /* before 0: then it is ahead */
    return base + (uint64_t)(int64_t)distance;
}
