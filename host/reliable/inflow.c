/* Bytes go to their place in the window at once, whatever order they come in. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/reliable/flow.h"
#include "host/reliable/flow_ring.h"

uint64_t inflow_cumulative(const struct inflow *i) {
    return i->next + (i->next == i->fin ? 1 : 0);
}

uint64_t inflow_limit(const struct inflow *i) {
    return i->read + FLOW_WINDOW;
}

bool inflow_is_done(const struct inflow *i) {
    return i->next == i->fin;
}

bool inflow_is_readable(const struct inflow *i) {
    return i->read < i->next || inflow_is_done(i);
}

/* -- receiving ----------------------------------------------------------------------------- */

static bool is_honest(const struct inflow *i, uint64_t to, bool fin) {
    if (to > inflow_limit(i) || to > i->fin)
        return false;
    uint64_t highest = i->early.count ? i->early.list[i->early.count - 1].to : i->next;
    return !fin || to >= highest || to == i->fin;
}

static void mark(struct inflow *i, uint64_t from, uint64_t to) {
    if (from > i->next) {
        ranges_add(&i->early, from, to);
        return;
    }
    i->next = to > i->next ? to : i->next;
    while (i->early.count && i->early.list[0].from <= i->next) {
        if (i->early.list[0].to > i->next)
            i->next = i->early.list[0].to;
        ranges_cut(&i->early, i->next);
    }
}

static bool is_known(const struct inflow *i, uint64_t from, uint64_t to) {
    if (to <= i->next)
        return true;
    for (int n = 0; n < i->early.count; n++)
        if (i->early.list[n].from <= from && to <= i->early.list[n].to)
            return true;
    return false;
}

static void store(struct inflow *i, uint64_t position, const char *data, size_t len) {
    size_t old = position < i->next ? (size_t)(i->next - position) : 0;
    flow_ring_put(&i->ring, position + old, data + old, len - old);
}

int inflow_add(struct inflow *i, uint64_t position, const void *data, size_t len, bool fin) {
    uint64_t to = position + len;
    bool ended = fin && i->fin == UINT64_MAX;
    if (!is_honest(i, to, fin))
        return -EPROTO;
    if (ended)
        i->fin = to;
    if (len == 0 || is_known(i, position, to))
        return ended;
    if (position > i->next && i->early.count >= FLOW_RANGES_MAX)
        return -ENOBUFS;
    store(i, position, data, len);
    mark(i, position, to);
    return 1;
}

/* -- reading ------------------------------------------------------------------------------- */

ssize_t inflow_read(struct inflow *i, void *data, size_t len) {
    size_t n = (size_t)(i->next - i->read);
    if (n == 0)
        return inflow_is_done(i) ? 0 : -EAGAIN;
    n = n < len ? n : len;
    flow_ring_get(i->ring, i->read, data, n);
    i->read += n;
    if (i->read == i->next && !i->early.count) {
        free(i->ring);
        i->ring = NULL;
    }
    return (ssize_t)n;
}

void inflow_fini(struct inflow *i) {
    free(i->ring);
    i->ring = NULL;
    ranges_fini(&i->early);
}
