/* Of exactly one window, so that a stalled reader costs that much and no more. */
#include "host/reliable/flow_ring.h"

#include <stdlib.h>
#include <string.h>

#include "host/reliable/flow.h"

static size_t until_wrap(size_t at, size_t len) {
    return len < FLOW_WINDOW - at ? len : FLOW_WINDOW - at;
}

void flow_ring_put(char **ring, uint64_t position, const void *data, size_t len) {
    if (!*ring && !(*ring = malloc(FLOW_WINDOW)))
        abort();
    size_t at = position % FLOW_WINDOW, first = until_wrap(at, len);
    memcpy(*ring + at, data, first);
    memcpy(*ring, (const char *)data + first, len - first);
}

void flow_ring_get(const char *ring, uint64_t position, void *data, size_t len) {
    size_t at = position % FLOW_WINDOW, first = until_wrap(at, len);
    memcpy(data, ring + at, first);
    memcpy((char *)data + first, ring, len - first);
}
