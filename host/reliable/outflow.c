/*
 * Bytes are cut into datagrams when they leave, not when they are written, so that what was lost
 * can be sent again in other pieces when the path takes less.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/reliable/flow.h"
#include "host/reliable/flow_ring.h"

static uint64_t lesser(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static struct flow_message *slot(const struct outflow *o, uint64_t number) {
    return &o->list[number % FLOW_MESSAGES];
}

/* -- what is written ----------------------------------------------------------------------- */

ssize_t outflow_write(struct outflow *o, const void *data, size_t len, uint64_t ceiling) {
    uint64_t most = lesser(lesser(o->limit, o->acked + FLOW_WINDOW), ceiling);
    if (len == 0)
        return 0;
    o->hungry = most <= o->end;
    if (o->hungry)
        return -EAGAIN;
    size_t n = (size_t)lesser(len, most - o->end);
    flow_ring_put(&o->ring, o->end, data, n);
    o->end += n;
    return (ssize_t)n;
}

int outflow_post(struct outflow *o, const void *data, size_t len) {
    o->hungry = o->end - o->acked >= FLOW_MESSAGES;
    if (o->hungry)
        return -EAGAIN;
    if (!o->list && !(o->list = calloc(FLOW_MESSAGES, sizeof *o->list)))
        abort();
    struct flow_message *m = slot(o, o->end++);
    *m = (struct flow_message){malloc(len ? len : 1), len};
    if (!m->data)
        abort();
    if (len)
        memcpy(m->data, data, len);
    return 0;
}

/* -- what is sent -------------------------------------------------------------------------- */

static uint64_t total(const struct outflow *o) {
    return o->end + (o->shut ? 1 : 0);
}

/* Up to where something new may be sent; the end needs no room. */
static uint64_t sendable(const struct outflow *o) {
    return o->limit >= o->end ? total(o) : o->limit;
}

static void set_stream(const struct outflow *o, struct range r, size_t max,
                       struct flow_chunk *chunk) {
    uint64_t to = lesser(r.to, r.from + max);
    chunk->fin = o->shut && to == o->end && r.to > o->end;
    chunk->fin = chunk->fin || to > o->end;
    chunk->position = r.from;
    chunk->len = (size_t)(lesser(to, o->end) - r.from);
    chunk->units = chunk->len + (chunk->fin ? 1 : 0);
}

static void set_message(const struct outflow *o, uint64_t number, struct flow_chunk *chunk) {
    bool fin = number == o->end;
    *chunk = (struct flow_chunk){number, fin ? 0 : slot(o, number)->len, 1, fin};
}

/* What was lost comes first; messages that have come meanwhile are passed over. */
static bool lost_next(struct outflow *o, size_t max, struct flow_chunk *chunk) {
    while (o->messages && o->lost.count) {
        uint64_t number = o->lost.list[0].from;
        if (number == o->end || slot(o, number)->data)
            break;
        ranges_cut(&o->lost, number + 1);
    }
    if (!o->lost.count)
        return false;
    if (o->messages)
        set_message(o, o->lost.list[0].from, chunk);
    else
        set_stream(o, o->lost.list[0], max, chunk);
    return true;
}

/* A short piece waits while the writer has more, or the peer will have room for more. */
static bool is_worth_it(const struct outflow *o, size_t max, bool alone,
                        const struct flow_chunk *chunk) {
    bool more = o->hungry || chunk->position + chunk->len < o->end;
    return chunk->len == max || chunk->fin || alone || !more;
}

bool outflow_next(struct outflow *o, size_t max, bool alone, struct flow_chunk *chunk) {
    if (lost_next(o, max, chunk))
        return true;
    if (o->next >= sendable(o))
        return false;
    if (o->messages)
        set_message(o, o->next, chunk);
    else
        set_stream(o, (struct range){o->next, sendable(o)}, max, chunk);
    return o->messages || is_worth_it(o, max, alone, chunk);
}

void outflow_copy(const struct outflow *o, const struct flow_chunk *chunk, void *data) {
    if (chunk->len && o->messages)
        memcpy(data, slot(o, chunk->position)->data, chunk->len);
    else if (chunk->len)
        flow_ring_get(o->ring, chunk->position, data, chunk->len);
}

void outflow_sent(struct outflow *o, const struct flow_chunk *chunk) {
    uint64_t to = chunk->position + chunk->units;
    ranges_cut(&o->lost, to);
    o->next = to > o->next ? to : o->next;
}

void outflow_lost(struct outflow *o, uint64_t from, uint64_t to) {
    ranges_add(&o->lost, from > o->acked ? from : o->acked, to);
}

/* -- what has come ------------------------------------------------------------------------- */

static void forget(struct outflow *o, uint64_t number) {
    if (number >= o->end)
        return;
    free(slot(o, number)->data);
    slot(o, number)->data = NULL;
}

void outflow_came(struct outflow *o, uint64_t from, uint64_t to) {
    for (uint64_t n = from > o->acked ? from : o->acked; o->messages && n < to; n++)
        forget(o, n);
}

static void give_back(struct outflow *o) {
    free(o->ring);
    free(o->list);
    o->ring = NULL;
    o->list = NULL;
}

void outflow_advance(struct outflow *o, uint64_t acked, uint64_t limit) {
    if (limit > o->limit)
        o->limit = limit;
    if (acked <= o->acked || acked > o->next)
        return;
    outflow_came(o, o->acked, acked);
    o->acked = acked;
    ranges_cut(&o->lost, acked);
    if (o->acked >= o->end)
        give_back(o);
}

bool outflow_is_done(const struct outflow *o) {
    return o->shut && o->acked > o->end;
}

void outflow_fini(struct outflow *o) {
    for (uint64_t n = o->acked; o->list && n < o->end; n++)
        forget(o, n);
    give_back(o);
    ranges_fini(&o->lost);
}
