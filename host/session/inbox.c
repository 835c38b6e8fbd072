/* A path's bytes come without gaps from where it started, so that those before their turn are one
 * run. A sender moves on only when its last move is through, so that there is one run at a time. */
#include "host/session/inbox.h"

#include <string.h>

static size_t min(size_t a, size_t b) {
    return a < b ? a : b;
}

static void deliver(struct session_inbox *b, const char *data, size_t len, bool fin) {
    b->next += len + fin;
    b->ended = b->ended || fin;
    if (b->discard)
        return;
    size_t direct = b->in.len ? 0 : min(len, b->room - b->taken);
    if (direct && data != b->to + b->taken) /* it may have been read there */
        memcpy(b->to + b->taken, data, direct);
    b->taken += direct;
    buffer_append(&b->in, data + direct, len - direct);
}

/* The run's turn may have come; what was received otherwise is not taken again. */
static void join(struct session_inbox *b) {
    if (!b->ahead_path || b->ahead_start > b->next)
        return;
    uint64_t known = b->next - b->ahead_start;
    if (known < b->ahead.len)
        deliver(b, buffer_head(&b->ahead) + known, b->ahead.len - (size_t)known, b->ahead_ended);
    else if (known == b->ahead.len && b->ahead_ended && !b->ended)
        deliver(b, "", 0, true);
    session_inbox_forget(b, b->ahead_path);
}

static void put_ahead(struct session_inbox *b, uint32_t path, uint64_t position, const char *data,
                      size_t len, bool fin) {
    if (b->ahead_path != path || b->ahead_start + b->ahead.len != position)
        session_inbox_forget(b, b->ahead_path);
    if (!b->ahead_path)
        b->ahead_start = position;
    b->ahead_path = path;
    b->ahead_ended = fin;
    buffer_append(&b->ahead, data, len);
}

void session_inbox_put(struct session_inbox *b, uint32_t path, uint64_t position, const void *data,
                       size_t len, bool fin) {
    if (position > b->next) {
        put_ahead(b, path, position, data, len, fin);
        return;
    }
    uint64_t known = b->next - position;
    if (known >= len + fin)
        return;
    size_t skip = known < len ? (size_t)known : len;
    deliver(b, (const char *)data + skip, len - skip, fin);
    join(b);
}

void session_inbox_forget(struct session_inbox *b, uint32_t path) {
    if (!path || b->ahead_path != path)
        return;
    b->ahead_path = 0;
    b->ahead_ended = false;
    buffer_fini(&b->ahead);
}

void session_inbox_discard(struct session_inbox *b) {
    b->discard = true;
    buffer_fini(&b->in);
}

void session_inbox_fini(struct session_inbox *b) {
    buffer_fini(&b->in);
    buffer_fini(&b->ahead);
}
