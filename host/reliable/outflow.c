/*
 * Bytes are cut into datagrams when they leave, not when they are written, so that what was lost
 * can be sent again in other pieces when the path takes less.
 */
#include <errno.h>
#include <stdlib.h>

#include "host/reliable/flow.h"
#include "host/reliable/flow_ring.h"

static uint64_t lesser(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* -- writing ------------------------------------------------------------------------------- */

ssize_t outflow_write(struct outflow *o, const void *data, size_t len, uint64_t ceiling) {
    uint64_t most = lesser(lesser(o->limit, o->acked + FLOW_WINDOW), ceiling);
    if (len == 0)
        return 0;
    o->writer_waits = most <= o->end;
    if (o->writer_waits)
        return -EAGAIN;
    size_t n = (size_t)lesser(len, most - o->end);
    flow_ring_put(&o->ring, o->end, data, n);
    o->end += n;
    return (ssize_t)n;
}

/* -- sending ------------------------------------------------------------------------------- */

static uint64_t total(const struct outflow *o) {
    return o->end + (o->shut ? 1 : 0);
}

/* Up to where something new may be sent; the end needs no room. */
static uint64_t sendable(const struct outflow *o) {
    return o->limit >= o->end ? total(o) : o->limit;
}

static void set_chunk(const struct outflow *o, struct range r, size_t max,
                      struct flow_chunk *chunk) {
    uint64_t to = lesser(r.to, r.from + max);
    chunk->fin = o->shut && to == o->end && r.to > o->end;
    chunk->fin = chunk->fin || to > o->end;
    chunk->position = r.from;
    chunk->len = (size_t)(lesser(to, o->end) - r.from);
    chunk->units = chunk->len + (chunk->fin ? 1 : 0);
}

/* A short piece waits while the writer has more, or the peer will have room for more. */
static bool is_worth_it(const struct outflow *o, size_t max, bool alone,
                        const struct flow_chunk *chunk) {
    bool more = o->writer_waits || chunk->position + chunk->len < o->end;
    return chunk->len == max || chunk->fin || alone || !more;
}

bool outflow_next(struct outflow *o, size_t max, bool alone, struct flow_chunk *chunk) {
    if (o->lost.count) {
        set_chunk(o, o->lost.list[0], max, chunk);
        return true;
    }
    if (o->next >= sendable(o))
        return false;
    set_chunk(o, (struct range){o->next, sendable(o)}, max, chunk);
    return is_worth_it(o, max, alone, chunk);
}

void outflow_copy(const struct outflow *o, const struct flow_chunk *chunk, void *data) {
    if (chunk->len)
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

/* -- acknowledgements----------------------------------------------------------------------- */

static void give_back(struct outflow *o) {
    free(o->ring);
    o->ring = NULL;
}

bool outflow_advance(struct outflow *o, uint64_t acked, uint64_t limit) {
    bool more = limit > o->limit;
    if (more)
        o->limit = limit;
    if (acked <= o->acked || acked > o->next)
        return more;
    o->acked = acked;
    ranges_cut(&o->lost, acked);
    if (o->acked >= o->end)
        give_back(o);
    return more;
}

bool outflow_is_blocked(const struct outflow *o) {
    return o->writer_waits && o->end >= o->limit;
}

bool outflow_is_done(const struct outflow *o) {
    return o->shut && o->acked > o->end;
}

void outflow_fini(struct outflow *o) {
    give_back(o);
    ranges_fini(&o->lost);
}
