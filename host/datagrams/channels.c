/* A list is enough: a client has few channels at a time, mostly one. */
#include "host/datagrams/channels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/bytes.h"

struct channel {
    struct datagrams base;
    struct channels *all; /* NULL: the way is closed */
    struct channel *next;
    uint16_t number;
    bool receiving;
};

static struct channel *self(struct datagrams *d) {
    return (struct channel *)d;
}

/* -- a carrier ----------------------------------------------------------------------------- */

static int channel_send(struct datagrams *d, const void *data, size_t len) {
    struct channel *c = self(d);
    uint8_t frame[DATAGRAMS_SIZE_MAX];
    if (!c->all)
        return -EPIPE;
    if (len > c->base.size_max)
        return -EMSGSIZE;
    bytes_put16(frame, c->number);
    bytes_put16(frame + 2, (unsigned)len);
    memcpy(frame + CHANNEL_HEADER, data, len);
    return c->all->way->ops->send(c->all->way, frame, len + CHANNEL_HEADER);
}

static void channel_flush(struct datagrams *d) {
    const struct channel *c = self(d);
    if (c->all)
        c->all->way->ops->flush(c->all->way);
}

static void channel_receive(struct datagrams *d, bool on) {
    struct channel *c = self(d);
    c->receiving = on;
    if (on && c->all)
        c->all->way->ops->receive(c->all->way, true);
}

static void take_out(struct channel *c) {
    struct channel **at = &c->all->first;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    if (!c->all->first && c->all->on_idle)
        c->all->on_idle(c->all);
}

static void channel_free(struct datagrams *d) {
    struct channel *c = self(d);
    if (c->all)
        take_out(c);
    free(c);
}

static const struct datagrams_ops OPS = {channel_send, channel_flush, channel_receive,
                                         channel_free};

/* -- all of them --------------------------------------------------------------------------- */

static struct channel *find(const struct channels *all, uint16_t number) {
    struct channel *c = all->first;
    while (c && c->number != number)
        c = c->next;
    return c;
}

struct datagrams *channels_open(struct channels *all, uint16_t number) {
    if (find(all, number))
        return NULL;
    struct channel *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->base = (struct datagrams){.ops = &OPS, .size_max = all->way->size_max - CHANNEL_HEADER};
    c->all = all;
    c->number = number;
    c->next = all->first;
    all->first = c;
    return &c->base;
}

/* Over UDP there may be padding after the data (RFC 8656 §12.5). */
bool channels_deliver(struct channels *all, const void *data, size_t len) {
    const uint8_t *frame = data;
    if (!all->first || len < CHANNEL_HEADER)
        return false;
    struct channel *c = find(all, bytes_get16(frame));
    size_t inside = bytes_get16(frame + 2);
    if (!c || inside > len - CHANNEL_HEADER)
        return false;
    if (c->receiving)
        c->base.on_datagram(&c->base, frame + CHANNEL_HEADER, inside);
    return true;
}

void channels_pause(struct channels *all) {
    struct channel *next;
    for (struct channel *c = all->first; c; c = next) {
        next = c->next;
        if (c->base.on_pause)
            c->base.on_pause(&c->base);
    }
}

void channels_room(struct channels *all) {
    struct channel *next;
    for (struct channel *c = all->first; c; c = next) {
        next = c->next;
        if (c->base.on_room)
            c->base.on_room(&c->base);
    }
}

void channels_end(struct channels *all, int err, const char *why) {
    struct channel *next;
    for (struct channel *c = all->first; c; c = next) {
        next = c->next;
        c->all = NULL;
        if (c->base.on_end)
            c->base.on_end(&c->base, err, why);
    }
    all->first = NULL;
}
