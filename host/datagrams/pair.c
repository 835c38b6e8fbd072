/* Delivered at the loop's next turn: nobody is called back from where he sends. */
#include "host/datagrams/pair.h"

#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>

#include "host/buffer.h"
#include "host/loop.h"

#define WAITING_MAX (64 * 1024) /* bytes; then the sender waits */

struct end {
    struct datagrams base;
    struct end *other; /* NULL: freed */
    struct buffer in;  /* each as its length and its bytes */
    ev_timer turn;
    bool receiving;
    bool blocked; /* the other one had no room */
    bool ended;   /* our owner knows that the other one is gone */
};

static struct end *self(struct datagrams *d) {
    return (struct end *)d;
}

static void wake(struct end *e) {
    bool due = e->receiving && (e->in.len || (!e->other && !e->ended));
    if (!due || ev_is_active(&e->turn))
        return;
    ev_timer_set(&e->turn, 0, 0);
    ev_timer_start(loop_get(), &e->turn);
}

static int end_send(struct datagrams *d, const void *data, size_t len) {
    struct end *e = self(d), *to = e->other;
    if (!to)
        return -EPIPE;
    if (len > e->base.size_max)
        return -EMSGSIZE;
    e->blocked = to->in.len + sizeof len + len > WAITING_MAX;
    if (e->blocked)
        return -EAGAIN;
    buffer_append(&to->in, &len, sizeof len);
    buffer_append(&to->in, data, len);
    wake(to);
    return 0;
}

static void end_flush(struct datagrams *d) {
    (void)d;
}

static void end_receive(struct datagrams *d, bool on) {
    self(d)->receiving = on;
    wake(self(d));
}

/* What comes while it delivers waits for the next turn. */
static void deliver(struct end *e) {
    size_t len;
    struct buffer batch = e->in;
    e->in = (struct buffer){0};
    while (batch.len) {
        memcpy(&len, buffer_head(&batch), sizeof len);
        e->base.on_datagram(&e->base, buffer_head(&batch) + sizeof len, len);
        buffer_consume(&batch, sizeof len + len);
    }
}

static void on_turn(struct ev_loop *l, ev_timer *w, int events) {
    (void)l, (void)events;
    struct end *e = w->data, *other = e->other;
    deliver(e);
    bool room = other && other->blocked;
    if (room)
        other->blocked = false;
    if (!other && !e->ended) {
        e->ended = true;
        e->base.on_end(&e->base, -EPIPE, "the other end is closed");
    } else if (e->base.on_pause) {
        e->base.on_pause(&e->base);
    }
    if (room && other->base.on_room)
        other->base.on_room(&other->base);
}

static void end_free(struct datagrams *d) {
    struct end *e = self(d);
    ev_timer_stop(loop_get(), &e->turn);
    if (e->other) {
        e->other->other = NULL;
        wake(e->other);
    }
    buffer_fini(&e->in);
    free(e);
}

static const struct datagrams_ops OPS = {end_send, end_flush, end_receive, end_free};

static struct end *new_end(size_t size_max) {
    struct end *e = calloc(1, sizeof *e);
    if (!e)
        abort();
    e->base = (struct datagrams){.ops = &OPS, .size_max = size_max};
    ev_init(&e->turn, on_turn);
    e->turn.data = e;
    return e;
}

void datagram_pair(size_t size_max, struct datagrams *ends[2]) {
    struct end *a = new_end(size_max), *b = new_end(size_max);
    a->other = b;
    b->other = a;
    ends[0] = &a->base;
    ends[1] = &b->base;
}
