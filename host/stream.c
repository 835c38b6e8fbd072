/*
 * Buffers and orderly ends for any transport. Writes go straight to the transport; only a remainder
 * that fits STREAM_QUEUE_MAX is copied and drained behind the caller's back, so a large write costs
 * no copy and a slow peer no memory. A closed stream lingers until its queue is out. One whose peer
 * takes its leave in bytes (TLS) also waits for the kernel's queue: what the peer sends to a socket
 * that is closed already would reset the connection, and lose what is still on its way.
 */
#include "host/stream.h"

#include <errno.h>
#include <stdlib.h>

#include "host/loop.h"
#include "host/tcp.h"

#define STREAM_BURST_MAX (1024 * 1024) /* bytes read in a row: others want to run too */
#define STREAM_LINGER_S 10.0           /* for a queue to drain after close */
#define STREAM_DISCARD_S 1.0           /* for input that nobody will read: else the peer is reset */
#define STREAM_ASK_S 0.02              /* until the kernel is asked what it has left, and later */
#define STREAM_ASK_MAX_S 0.5

static char scratch[STREAM_READ_MAX];
static int lingering;

int stream_lingering(void) {
    return lingering;
}

void stream_linger(int change) {
    lingering += change;
}

static void update_wants(struct stream *s) {
    int events = (s->reading ? EV_READ : 0) | (s->out.len || s->blocked ? EV_WRITE : 0);
    s->transport->ops->want(s->transport, events);
}

static void drain(struct stream *s) {
    while (s->out.len) {
        ssize_t n = s->transport->ops->write(s->transport, buffer_head(&s->out), s->out.len);
        if (n == -EAGAIN)
            return;
        if (n < 0) {
            s->write_error = (int)n;
            buffer_fini(&s->out);
            return;
        }
        buffer_consume(&s->out, (size_t)n);
    }
    if (s->shut)
        s->transport->ops->shutdown(s->transport);
}

static void on_ready(struct transport *t, int events) {
    struct stream *s = t->owner;
    int told = 0;
    if (events & EV_WRITE) {
        drain(s);
        if (s->blocked && s->out.len == 0) {
            s->blocked = false;
            told |= EV_WRITE;
        }
    }
    if ((events & EV_READ) && s->reading) {
        s->reading = false;
        s->burst = 0;
        told |= EV_READ;
    }
    update_wants(s);
    if (told && s->on_event)
        s->on_event(s, told);
}

static void adopt(struct stream *s, struct transport *transport) {
    s->transport = transport;
    transport->owner = s;
    transport->on_ready = on_ready;
}

struct stream *stream_new(struct transport *transport) {
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    adopt(s, transport);
    return s;
}

int stream_wrap(struct stream *s,
                struct transport *(*wrap)(struct transport *, struct buffer, void *), void *arg) {
    if (s->read_error || s->write_error)
        return s->read_error ? s->read_error : s->write_error;
    if (s->shut || s->out.len)
        return s->shut ? -EPIPE : -EBUSY;
    struct buffer early = s->in;
    s->in = (struct buffer){0};
    s->ended = s->reading = s->blocked = s->likely = false;
    s->transport->ops->want(s->transport, 0);
    adopt(s, wrap(s->transport, early, arg));
    return 0;
}

ssize_t stream_peek(struct stream *s, const char **data, size_t max) {
    *data = scratch;
    if (s->ended || s->read_error)
        return s->read_error;
    size_t room = max < sizeof scratch ? max : sizeof scratch;
    ssize_t n = s->transport->ops->read(s->transport, scratch, room);
    s->ended = n == 0;
    if (n > 0) {
        s->bytes_in += (uint64_t)n;
        s->burst += (size_t)n;
    } else if (n != -EAGAIN) {
        s->read_error = (int)n;
    }
    s->likely = n == (ssize_t)room && s->burst < STREAM_BURST_MAX;
    return n;
}

ssize_t stream_fill(struct stream *s) {
    const char *data;
    ssize_t n = stream_peek(s, &data, STREAM_READ_MAX);
    if (n > 0)
        buffer_append(&s->in, data, (size_t)n);
    return n;
}

void stream_want_read(struct stream *s) {
    s->reading = true;
    update_wants(s);
}

void stream_want_write(struct stream *s) {
    s->blocked = true;
    update_wants(s);
}

/* How many of `rest` bytes, which the transport has just refused, wait in `out`: all or none, but
 * always what it insists on. */
static size_t queueable(const struct stream *s, size_t rest) {
    if (s->out.len + rest <= STREAM_QUEUE_MAX)
        return rest;
    if (s->out.len)
        return 0;
    return rest < s->transport->sticky ? rest : s->transport->sticky;
}

ssize_t stream_write(struct stream *s, const void *data, size_t len) {
    if (s->write_error)
        return s->write_error;
    if (s->shut)
        return -EPIPE;
    size_t taken = 0;
    while (s->out.len == 0 && taken < len) {
        ssize_t n = s->transport->ops->write(s->transport, (const char *)data + taken, len - taken);
        if (n == -EAGAIN)
            break;
        if (n < 0)
            return s->write_error = (int)n;
        taken += (size_t)n;
    }
    size_t queued = queueable(s, len - taken);
    if (queued) {
        buffer_append(&s->out, (const char *)data + taken, queued);
        taken += queued;
    }
    s->bytes_out += taken;
    s->blocked = s->blocked || taken < len;
    if (s->out.len || s->blocked)
        update_wants(s);
    return (ssize_t)taken;
}

int stream_shutdown(struct stream *s) {
    if (s->shut || s->write_error)
        return s->write_error;
    s->shut = true;
    if (s->blocked && s->on_event)
        s->on_event(s, EV_WRITE); /* whoever waits to write learns that it is too late */
    s->blocked = false;
    return s->out.len ? 0 : s->transport->ops->shutdown(s->transport);
}

int stream_detach(struct stream *s) {
    if (s->in.len || s->out.len)
        return -EBUSY;
    int fd = s->transport->ops->detach(s->transport);
    if (fd >= 0)
        stream_abort(s);
    return fd;
}

struct transport *stream_take(struct stream *s) {
    if (s->in.len || s->out.len || s->shut || s->ended || s->read_error || s->write_error)
        return NULL;
    struct transport *transport = s->transport;
    transport->ops->want(transport, 0);
    free(s);
    return transport;
}

void stream_abort(struct stream *s) {
    s->transport->ops->free(s->transport);
    buffer_fini(&s->in);
    buffer_fini(&s->out);
    free(s);
}

static void end_lingering(struct stream *s) {
    ev_timer_stop(loop_get(), &s->linger);
    lingering--;
    stream_abort(s);
}

/* Bytes that the peer's kernel does not have yet, as far as they matter. */
static int on_its_way(const struct stream *s) {
    bool matters = s->transport->takes_leave && s->bytes_out && !s->ended && !s->read_error;
    return matters ? tcp_unacknowledged(s->transport->ops->fd(s->transport)) : 0;
}

/* True when nothing is left that a plain close would destroy. */
static bool is_spent(struct stream *s) {
    if (s->out.len || s->transport->ending || on_its_way(s))
        return false;
    if (s->transport->resets && !s->ended && s->bytes_out) {
        const char *data;
        ssize_t n = stream_peek(s, &data, STREAM_READ_MAX);
        if (n > 0)
            return false;
    }
    return true;
}

static void on_lingering(struct transport *t, int events) {
    struct stream *s = t->owner;
    if (events & EV_WRITE)
        drain(s);
    if (s->out.len || s->transport->ending) {
        update_wants(s);
        return;
    }
    if (!s->transport->resets) {
        end_lingering(s);
        return;
    }
    const char *data;
    ssize_t n = stream_peek(s, &data, STREAM_READ_MAX);
    int left = on_its_way(s);
    bool discarding = s->reading || left;
    if (left && s->linger.repeat == 0) {
        s->linger.repeat = STREAM_ASK_S;
        ev_timer_again(loop_get(), &s->linger);
    }
    if (n > 0 || (n == -EAGAIN && discarding))
        stream_want_read(s);
    else
        end_lingering(s);
}

/* Asks less and less often, as long as the peer takes anything. */
static void on_linger_over(struct ev_loop *l, ev_timer *w, int events) {
    (void)events;
    struct stream *s = w->data;
    int left = s->out.len || s->transport->ending ? 0 : on_its_way(s);
    bool late = ev_now(l) - s->progress > STREAM_LINGER_S && left >= s->left;
    if (!left || late) {
        end_lingering(s);
        return;
    }
    if (left < s->left)
        s->progress = ev_now(l);
    s->left = left;
    double wait = w->repeat * 2 < STREAM_ASK_MAX_S ? w->repeat * 2 : STREAM_ASK_MAX_S;
    w->repeat = w->repeat ? wait : STREAM_ASK_S;
    ev_timer_again(l, w);
}

void stream_close(struct stream *s) {
    s->on_event = NULL;
    s->owner = NULL;
    s->reading = s->blocked = false;
    buffer_fini(&s->in);
    if (s->transport->takes_leave)
        stream_shutdown(s);
    if (s->write_error || is_spent(s)) {
        stream_abort(s);
        return;
    }
    bool queued = s->out.len > 0 || s->transport->ending;
    stream_shutdown(s);
    s->transport->on_ready = on_lingering;
    s->reading = !queued;
    s->left = on_its_way(s);
    double first = s->left ? STREAM_ASK_S : STREAM_DISCARD_S;
    ev_timer_init(&s->linger, on_linger_over, queued ? STREAM_LINGER_S : first, 0);
    s->linger.data = s;
    ev_now_update(loop_get());
    s->progress = ev_now(loop_get());
    ev_timer_start(loop_get(), &s->linger);
    lingering++;
    update_wants(s);
}
