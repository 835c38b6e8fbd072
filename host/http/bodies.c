/*
 * A request's body and its answer's, as a transport. The library brings pieces of the one and asks
 * for pieces of the other in its own turns; a queue for each is between its turns and the
 * transport's owner. A queue that is full, or empty, suspends the request until the owner has done
 * something about it.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "host/http/inside.h"
#include "host/http/request.h"
#include "host/loop.h"

#define QUEUE_MAX ((size_t)64 * 1024) /* bytes that wait of either */
#define ENOUGH (QUEUE_MAX * 3 / 4)    /* to be worth somebody's turn, though more is there */
#define PATIENCE_S 30.0               /* of an answer whose end waits for a slow client */

static struct http_request *request_of(struct transport *t) {
    return (struct http_request *)((char *)t - offsetof(struct http_request, bodies));
}

/* -- what the library brings and asks for ----------------------------------------------------- */

void http_bodies_tell(struct http_request *r, int events) {
    int told = events & r->bodies_wanted;
    if (told)
        r->bodies.on_ready(&r->bodies, told);
}

/* The library reads a little at a time. What is there already comes in its next turn: it is told of
 * with that, since whoever sends it on does so best in large pieces. */
static bool has_more(const struct http_request *r) {
    int bytes = 0;
    return ioctl(http_request_fd(r), FIONREAD, &bytes) == 0 && bytes > 0;
}

enum MHD_Result http_bodies_take(struct http_request *r, const char *data, size_t *len) {
    size_t room = QUEUE_MAX - r->in.len;
    size_t taken = *len < room ? *len : room;
    buffer_append(&r->in, data, taken);
    *len -= taken;
    if (r->in.len >= ENOUGH || !has_more(r))
        http_bodies_tell(r, EV_READ);
    if (r->in.len >= QUEUE_MAX)
        http_request_suspend(r);
    return MHD_YES;
}

ssize_t http_bodies_give(void *cls, uint64_t position, char *to, size_t max) {
    (void)position;
    struct http_request *r = cls;
    if (r->out.len == 0 && r->out_ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (r->out.len == 0 && (r->out_broken || r->gone))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (r->out.len == 0) {
        http_request_suspend(r);
        return 0;
    }
    size_t n = max < r->out.len ? max : r->out.len;
    memcpy(to, buffer_head(&r->out), n);
    buffer_consume(&r->out, n);
    if (r->out.len < QUEUE_MAX / 2)
        http_bodies_tell(r, EV_WRITE);
    return (ssize_t)n;
}

/* -- the transport ---------------------------------------------------------------------------- */

static void want_body(struct http_request *r) {
    r->wanted = true;
    if (r->held)
        http_request_resume(r);
}

static ssize_t bodies_read(struct transport *t, void *data, size_t len) {
    struct http_request *r = request_of(t);
    want_body(r);
    if (r->in.len == 0)
        return r->in_ended ? 0 : r->gone ? -EPIPE : -EAGAIN;
    size_t n = len < r->in.len ? len : r->in.len;
    memcpy(data, buffer_head(&r->in), n);
    buffer_consume(&r->in, n);
    if (!r->in_ended)
        http_request_resume(r);
    return (ssize_t)n;
}

static ssize_t bodies_write(struct transport *t, const void *data, size_t len) {
    struct http_request *r = request_of(t);
    if (r->kind != ANSWER_PIECES || r->out_ended)
        return -EINVAL;
    if (r->gone)
        return -EPIPE;
    size_t room = r->out.len < QUEUE_MAX ? QUEUE_MAX - r->out.len : 0;
    size_t n = len < room ? len : room;
    if (n == 0)
        return -EAGAIN;
    buffer_append(&r->out, data, n);
    http_request_resume(r);
    return (ssize_t)n;
}

static int bodies_shutdown(struct transport *t) {
    struct http_request *r = request_of(t);
    if (r->kind != ANSWER_PIECES)
        return -EINVAL;
    r->out_ended = true;
    http_request_resume(r);
    return r->gone ? -EPIPE : 0;
}

static int events_there(const struct http_request *r) {
    bool readable = r->in.len || r->in_ended || r->gone;
    bool writable = r->out.len < QUEUE_MAX / 2 || r->gone;
    return (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0);
}

static void on_kick(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct http_request *r = w->data;
    http_bodies_tell(r, events_there(r));
}

static void bodies_want(struct transport *t, int events) {
    struct http_request *r = request_of(t);
    r->bodies_wanted = events;
    if (events & EV_READ)
        want_body(r);
    if (!(events & events_there(r))) {
        ev_timer_stop(loop_get(), &r->bodies_kick);
    } else if (!ev_is_active(&r->bodies_kick)) {
        ev_timer_set(&r->bodies_kick, 0, 0);
        ev_timer_start(loop_get(), &r->bodies_kick);
    }
}

static int bodies_fd(const struct transport *t) {
    (void)t;
    return -1;
}

static size_t bodies_unsent(const struct transport *t) {
    return request_of((struct transport *)t)->out.len;
}

static double bodies_rtt(const struct transport *t) {
    (void)t;
    return -1;
}

static const char *bodies_reason(const struct transport *t) {
    return request_of((struct transport *)t)->gone ? "the client has hung up" : NULL;
}

/* The library sends the rest by itself. */
static int bodies_leave(struct transport *t) {
    (void)t;
    return 0;
}

/* An answer whose end nobody has told of is broken off. */
static void bodies_free(struct transport *t) {
    struct http_request *r = request_of(t);
    ev_timer_stop(loop_get(), &r->bodies_kick);
    r->bodies_wanted = 0;
    r->out_broken = true;
    http_request_resume(r);
    http_request_unref(r);
}

static const struct transport_ops OPS = {
    .read = bodies_read,
    .write = bodies_write,
    .shutdown = bodies_shutdown,
    .want = bodies_want,
    .fd = bodies_fd,
    .detach = transport_no_detach,
    .unsent = bodies_unsent,
    .rtt = bodies_rtt,
    .reason = bodies_reason,
    .leave = bodies_leave,
    .free = bodies_free,
};

struct transport *http_request_bodies(struct http_request *r) {
    r->references++;
    r->bodies.ops = &OPS;
    r->bodies.patience = PATIENCE_S;
    ev_init(&r->bodies_kick, on_kick);
    r->bodies_kick.data = r;
    return &r->bodies;
}
