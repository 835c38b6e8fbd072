/*
 * Writes go straight to the transport; only a remainder that fits STREAM_QUEUE_MAX is copied and
 * drained behind the caller's back, so a large write costs no copy and a slow peer no memory.
 */
#include "host/stream.h"

#include <errno.h>
#include <stdlib.h>

#define STREAM_BURST_MAX (1024 * 1024) /* bytes read in a row: others want to run too */

static char scratch[STREAM_READ_MAX];

static void tell_gone(struct stream *s) {
    if (s->on_gone)
        s->on_gone(s);
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

ssize_t stream_read(struct stream *s, void *data, size_t len) {
    if (s->ended || s->read_error)
        return s->read_error;
    ssize_t n = s->transport->ops->read(s->transport, data, len);
    s->ended = n == 0;
    if (n > 0) {
        s->bytes_in += (uint64_t)n;
        s->burst += (size_t)n;
    } else if (n != -EAGAIN) {
        s->read_error = (int)n;
    }
    s->likely = n == (ssize_t)len && s->burst < STREAM_BURST_MAX;
    return n;
}

ssize_t stream_peek(struct stream *s, const char **data, size_t max) {
    *data = scratch;
    return stream_read(s, scratch, max < sizeof scratch ? max : sizeof scratch);
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
    if (s->out.len + rest <= (s->unqueued ? 0 : STREAM_QUEUE_MAX))
        return rest;
    if (s->out.len)
        return 0;
    return rest < s->transport->retry_bytes ? rest : s->transport->retry_bytes;
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

void stream_queue(struct stream *s, const void *data, size_t len) {
    buffer_append(&s->out, data, len);
    s->bytes_out += len;
    update_wants(s);
}

ssize_t stream_copy(struct stream *from, struct stream *to, const struct stream **failed) {
    const char *data = buffer_head(&from->in);
    size_t buffered = from->in.len < STREAM_READ_MAX ? from->in.len : STREAM_READ_MAX;
    ssize_t n = buffered ? (ssize_t)buffered : stream_peek(from, &data, STREAM_READ_MAX);
    *failed = from;
    if (n <= 0)
        return n;
    *failed = to;
    ssize_t taken = stream_write(to, data, (size_t)n);
    if (taken >= 0 && taken < n)
        stream_queue(to, data + taken, (size_t)(n - taken));
    if (buffered)
        buffer_consume(&from->in, buffered);
    return taken < 0 ? taken : n;
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
    tell_gone(s);
    struct transport *transport = s->transport;
    transport->ops->want(transport, 0);
    free(s);
    return transport;
}

void stream_disown(struct stream *s) {
    tell_gone(s);
    buffer_fini(&s->out);
    free(s);
}

static void release(struct stream *s) {
    buffer_fini(&s->in);
    buffer_fini(&s->out);
    free(s);
}

void stream_abort(struct stream *s) {
    tell_gone(s);
    transport_abort(s->transport);
    release(s);
}

void stream_close(struct stream *s) {
    if (s->write_error) {
        stream_abort(s);
        return;
    }
    tell_gone(s);
    transport_leave(s->transport, s->out, s->shut && s->out.len);
    s->out = (struct buffer){0};
    release(s);
}
