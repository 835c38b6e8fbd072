/*
 * Nothing is buffered but what a stream has queued: an end is read from only while the other one
 * takes everything. What the broker sends is acknowledged at once, since most brokers leave Nagle's
 * algorithm on: they hold the second of two messages back until then.
 */
#include "host/mqtt/tunnel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "host/tcp.h"

#define CHUNK (16 * 1024) /* bytes */
#define HEAD_MAX 4096
#define CHUNKS_MAX 16 /* in a row: others want to run too */

struct mqtt_tunnel {
    struct stream *near, *far;
    struct buffer head; /* what came from the far end first */
    bool wants_head;
    void (*on_room)(void *owner);
    void *owner;
    int error;
    char reason[160];
};

static void keep_head(struct mqtt_tunnel *t, const struct stream *from, const char *data,
                      size_t n) {
    if (from != t->far || !t->wants_head)
        return;
    size_t room = HEAD_MAX - t->head.len;
    buffer_append(&t->head, data, n < room ? n : room);
}

/* How many bytes went over; it goes on by itself until `from` has ended or failed. */
static size_t move(struct mqtt_tunnel *t, struct stream *from, struct stream *to) {
    const char *data;
    ssize_t n = -EAGAIN;
    size_t moved = 0;
    for (int i = 0; i < CHUNKS_MAX && to->out.len == 0; i++) {
        n = stream_peek(from, &data, CHUNK);
        if (n <= 0)
            break;
        moved += (size_t)n;
        keep_head(t, from, data, (size_t)n);
        stream_write(to, data, (size_t)n);
    }
    if (to->out.len)
        stream_want_write(to);
    else if (n > 0 || n == -EAGAIN)
        stream_want_read(from);
    return moved;
}

static void far_is_over(struct mqtt_tunnel *t, int error) {
    if (t->error)
        return;
    const char *words = transport_reason(t->far->transport);
    t->error = error;
    snprintf(t->reason, sizeof t->reason, "%s",
             words               ? words
             : error == -ENODATA ? "the broker closed the connection"
                                 : strerror(-error));
    stream_shutdown(t->near); /* behind what came before: paho notices, and tells its user */
}

static void inward(struct mqtt_tunnel *t) {
    struct stream *far = t->far;
    if (t->error)
        return;
    move(t, far, t->near);
    tcp_acknowledge(far->transport->ops->fd(far->transport));
    if (far->read_error || far->ended)
        far_is_over(t, far->read_error ? far->read_error : -ENODATA);
}

static void outward(struct mqtt_tunnel *t) {
    size_t moved = move(t, t->near, t->far);
    if (t->far->write_error)
        far_is_over(t, t->far->write_error);
    if (moved)
        t->on_room(t->owner);
}

static void on_near(struct stream *s, int events) {
    if (events & EV_WRITE)
        inward(s->owner);
    if (events & EV_READ)
        outward(s->owner);
}

static void on_far(struct stream *s, int events) {
    if (events & EV_READ)
        inward(s->owner);
    if (events & EV_WRITE)
        outward(s->owner);
}

struct mqtt_tunnel *mqtt_tunnel_new(struct stream *near, struct stream *far,
                                    void (*on_room)(void *owner), void *owner) {
    struct mqtt_tunnel *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->near = near;
    t->far = far;
    t->on_room = on_room;
    t->wants_head = true;
    t->owner = owner;
    near->owner = far->owner = t;
    near->on_event = on_near;
    far->on_event = on_far;
    stream_want_read(near);
    stream_want_read(far);
    return t;
}

int mqtt_tunnel_fd(const struct mqtt_tunnel *t) {
    return t->far->transport->ops->fd(t->far->transport);
}

size_t mqtt_tunnel_waiting(const struct mqtt_tunnel *t) {
    int waiting = 0;
    return ioctl(t->near->transport->ops->fd(t->near->transport), FIONREAD, &waiting) < 0
               ? 0
               : (size_t)waiting;
}

const char *mqtt_tunnel_head(const struct mqtt_tunnel *t, size_t *len) {
    *len = t->head.len;
    return buffer_head(&t->head);
}

void mqtt_tunnel_forget_head(struct mqtt_tunnel *t) {
    t->wants_head = false;
    buffer_fini(&t->head);
}

void mqtt_tunnel_insert(struct mqtt_tunnel *t, const void *packet, size_t len) {
    if (mqtt_tunnel_waiting(t) == 0 && t->far->out.len == 0 && !t->error)
        stream_write(t->far, packet, len);
}

int mqtt_tunnel_error(const struct mqtt_tunnel *t) {
    return t->error;
}

const char *mqtt_tunnel_reason(const struct mqtt_tunnel *t) {
    return t->error ? t->reason : NULL;
}

/* Its writer is gone, so all that the near end has to say can be read now. */
static void take_rest(struct stream *near, struct stream *far) {
    const char *data;
    for (ssize_t n; (n = stream_peek(near, &data, CHUNK)) > 0;) {
        ssize_t taken = stream_write(far, data, (size_t)n);
        if (taken >= 0 && taken < n)
            buffer_append(&far->out, data + taken, (size_t)(n - taken));
    }
}

bool mqtt_tunnel_is_idle(const struct mqtt_tunnel *t) {
    const struct transport *far = t->far->transport;
    return mqtt_tunnel_waiting(t) == 0 && t->far->out.len == 0 && far->ops->unsent(far) == 0;
}

void mqtt_tunnel_close(struct mqtt_tunnel *t, bool orderly) {
    take_rest(t->near, t->far);
    stream_abort(t->near);
    if (orderly && !t->error)
        stream_close(t->far);
    else
        stream_abort(t->far);
    buffer_fini(&t->head);
    free(t);
}
