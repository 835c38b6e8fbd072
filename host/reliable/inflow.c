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
    return i->read + (i->messages ? FLOW_MESSAGES : FLOW_WINDOW);
}

bool inflow_is_done(const struct inflow *i) {
    return i->next == i->fin;
}

bool inflow_is_readable(const struct inflow *i) {
    return i->queue.len || (!i->messages && i->read < i->next) || inflow_is_done(i);
}

/* -- what comes ---------------------------------------------------------------------------- */

static bool is_honest(const struct inflow *i, uint64_t from, uint64_t to, bool fin) {
    if (to > inflow_limit(i) || to > i->fin)
        return false;
    uint64_t highest = i->early.count ? i->early.list[i->early.count - 1].to : i->next;
    return !fin || (i->messages ? from >= highest : to >= highest) || to == i->fin;
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
    if (i->messages) {
        buffer_append(&i->queue, &len, sizeof len);
        buffer_append(&i->queue, data, len);
        return;
    }
    size_t old = position < i->next ? (size_t)(i->next - position) : 0;
    flow_ring_put(&i->ring, position + old, data + old, len - old);
}

int inflow_add(struct inflow *i, uint64_t position, const void *data, size_t len, bool fin) {
    uint64_t units = i->messages ? (fin ? 0 : 1) : len, to = position + units;
    bool ended = fin && i->fin == UINT64_MAX;
    if (!is_honest(i, position, to, fin) || (fin && i->messages && len))
        return -EPROTO;
    if (ended)
        i->fin = to;
    if (units == 0 || is_known(i, position, to))
        return ended;
    if (position > i->next && i->early.count >= FLOW_RANGES_MAX)
        return -ENOBUFS;
    store(i, position, data, len);
    mark(i, position, to);
    return 1;
}

/* -- what is read -------------------------------------------------------------------------- */

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

ssize_t inflow_message(const struct inflow *i, const char **data) {
    size_t len;
    if (!i->queue.len)
        return inflow_is_done(i) ? -EPIPE : -EAGAIN;
    memcpy(&len, buffer_head(&i->queue), sizeof len);
    *data = buffer_head(&i->queue) + sizeof len;
    return (ssize_t)len;
}

void inflow_drop(struct inflow *i) {
    const char *data;
    ssize_t len = inflow_message(i, &data);
    if (len < 0)
        return;
    buffer_consume(&i->queue, sizeof(size_t) + (size_t)len);
    i->read++;
}

void inflow_fini(struct inflow *i) {
    free(i->ring);
    i->ring = NULL;
    buffer_fini(&i->queue);
    ranges_fini(&i->early);
}
