/* A frame is sent from where it is kept: what is written is copied once. A frame that no path has
 * begun to send is filled up. */
#include "host/session/keep.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 116 /* bytes of data for which a frame has room at least */

static size_t weight(const struct session_chunk *c) {
    return sizeof *c + SESSION_DATA_HEADER + c->room;
}

static uint64_t chunk_end(const struct session_chunk *c) {
    return c->position + c->len + c->fin;
}

/* Full frames come and go by the thousand: those that were used last are used again first, while
 * the cache has them and the kernel has not taken their pages. They are for all sessions, and few
 * stay when one has nothing to keep any more. */
#define SPARE_MAX 256
#define SPARE_IDLE 32 /* what an acknowledged stretch leaves, so that the next one finds it */

static struct session_chunk *spare;
static int spare_count;

static struct session_chunk *allocate(size_t room) {
    struct session_chunk *c = room == SESSION_DATA_MAX ? spare : NULL;
    if (c) {
        spare = c->next;
        spare_count--;
    } else if (!(c = malloc(sizeof *c + SESSION_DATA_HEADER + room))) {
        abort();
    }
    return c;
}

static void release(struct session_chunk *c) {
    if (c->room < SESSION_DATA_MAX || spare_count == SPARE_MAX) {
        free(c);
        return;
    }
    c->next = spare;
    spare = c;
    spare_count++;
}

static void trim_spare(void) {
    while (spare_count > SPARE_IDLE) {
        struct session_chunk *c = spare;
        spare = c->next;
        spare_count--;
        free(c);
    }
}

static size_t min(size_t a, size_t b) {
    return a < b ? a : b;
}

static struct session_chunk *add(struct session_keep *k, size_t len) {
    size_t room = min(len < ROOM_MIN ? ROOM_MIN : len, SESSION_DATA_MAX);
    struct session_chunk *c = allocate(room);
    *c = (struct session_chunk){.position = k->end, .room = room, .refs = 1};
    if (k->last)
        k->last->next = c;
    else
        k->first = c;
    k->last = c;
    k->unsent = k->unsent ? k->unsent : c;
    k->held += weight(c);
    return c;
}

/* The last frame, if more can be put into it. */
static struct session_chunk *open_chunk(const struct session_keep *k) {
    struct session_chunk *c = k->last;
    return c && !c->sealed && c->len < SESSION_DATA_MAX ? c : NULL;
}

/* Only for the last one: whoever points to it is the list. */
static struct session_chunk *widen(struct session_keep *k, struct session_chunk *c, size_t len) {
    if (c->room - c->len >= len || c->room == SESSION_DATA_MAX)
        return c;
    size_t wanted = c->len + len > 2 * c->room ? c->len + len : 2 * c->room;
    size_t room = min(wanted, SESSION_DATA_MAX);
    struct session_chunk *before = k->first == c ? NULL : k->first;
    while (before && before->next != c)
        before = before->next;
    bool next = k->unsent == c;
    k->held -= weight(c);
    c = realloc(c, sizeof *c + SESSION_DATA_HEADER + room);
    if (!c)
        abort();
    c->room = room;
    k->held += weight(c);
    *(before ? &before->next : &k->first) = c;
    k->last = c;
    k->unsent = next ? c : k->unsent;
    return c;
}

size_t session_keep_append(struct session_keep *k, const void *data, size_t len) {
    struct session_chunk *c = open_chunk(k);
    c = c ? widen(k, c, len) : add(k, len);
    size_t n = min(len, c->room - c->len);
    memcpy(c->frame + SESSION_DATA_HEADER + c->len, data, n);
    c->len += n;
    k->end += n;
    return n;
}

void session_keep_finish(struct session_keep *k) {
    struct session_chunk *c = open_chunk(k);
    c = c ? c : add(k, 0);
    c->fin = true;
    k->end++;
}

static void seal(struct session_keep *k, struct session_chunk *c, size_t spacing) {
    bool ask = chunk_end(c) - k->asked >= spacing || c->fin;
    struct session_frame f = {.type = SESSION_DATA,
                              .flags = (ask ? SESSION_ASK : 0) | (c->fin ? SESSION_FIN : 0),
                              .length = 8 + c->len,
                              .position = c->position};
    if (ask)
        k->asked = chunk_end(c);
    session_frame_encode(&f, c->frame);
    c->sealed = true;
}

bool session_keep_is_partial(const struct session_keep *k) {
    const struct session_chunk *c = k->unsent;
    return c && !c->next && !c->sealed && !c->fin && c->len < SESSION_DATA_MAX;
}

struct session_chunk *session_keep_next(struct session_keep *k, size_t spacing) {
    struct session_chunk *c = k->unsent;
    if (!c)
        return NULL;
    if (!c->sealed)
        seal(k, c, spacing);
    c->refs++;
    k->unsent = c->next;
    return c;
}

size_t session_chunk_size(const struct session_chunk *c) {
    return SESSION_DATA_HEADER + c->len;
}

void session_chunk_unref(struct session_chunk *c) {
    if (c && --c->refs == 0)
        release(c);
}

uint64_t session_keep_sent(const struct session_keep *k) {
    return k->unsent ? k->unsent->position : k->end;
}

static void drop_first(struct session_keep *k) {
    struct session_chunk *c = k->first;
    k->first = c->next;
    if (k->last == c)
        k->last = NULL;
    if (k->unsent == c)
        k->unsent = c->next;
    k->held -= weight(c);
    session_chunk_unref(c);
}

void session_keep_ack(struct session_keep *k, uint64_t position) {
    k->acked = position > k->acked ? position : k->acked;
    while (k->first && chunk_end(k->first) <= k->acked)
        drop_first(k);
    if (!k->first)
        trim_spare();
}

void session_keep_rewind(struct session_keep *k, uint64_t position) {
    struct session_chunk *c = k->first;
    while (c && chunk_end(c) <= position)
        c = c->next;
    k->unsent = c;
}

void session_keep_fini(struct session_keep *k) {
    while (k->first)
        drop_first(k);
    trim_spare();
}
