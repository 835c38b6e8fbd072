/*
 * A half reads only when its `to` has nothing queued, so that at most one read waits in user space.
 * Between two plain descriptors bytes go through a pipe by splice(2).
 *
 * A failure to read ends both halves: what has come is not all there was. A failure to write leaves
 * the other half to its end: who has stopped reading may still have something to say.
 */
#include "host/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/fd.h"

#define MOVES_MAX 16 /* in a row: others want to run too */
#define SPLICE_BYTES (64 * 1024)

static void on_event(struct stream *stream, int events);
static void on_gone(struct stream *stream);

/* -- the streams --------------------------------------------------------------------------- */

static void take(struct splice *s, struct stream *stream) {
    if (stream->owner == s)
        return;
    s->ends[s->count++] = (struct splice_end){stream, stream->on_event, stream->owner};
    stream->on_event = on_event;
    stream->on_gone = on_gone;
    stream->owner = s;
}

static void give_back(struct splice *s) {
    for (int i = 0; i < s->count; i++) {
        struct splice_end *end = &s->ends[i];
        end->stream->on_event = end->on_event;
        end->stream->owner = end->owner;
        end->stream->on_gone = NULL;
    }
    s->count = 0;
}

bool splice_has(const struct stream *stream) {
    return stream->on_gone == on_gone;
}

/* -- the end ------------------------------------------------------------------------------- */

static void close_pipe(struct splice_half *h) {
    if (!h->pipe[1])
        return;
    close(h->pipe[0]);
    close(h->pipe[1]);
    h->pipe[0] = h->pipe[1] = 0;
}

void splice_stop(struct splice *s) {
    s->over = true;
    give_back(s);
    close_pipe(&s->halves[0]);
    close_pipe(&s->halves[1]);
}

static void finish(struct splice *s) {
    splice_stop(s);
    s->on_over(s->owner);
}

static void on_gone(struct stream *stream) {
    struct splice *s = stream->owner;
    s->err = -ECANCELED;
    snprintf(s->reason, sizeof s->reason, "one of the streams was closed");
    finish(s);
}

static struct splice_half *other(struct splice *s, const struct splice_half *h) {
    return h == &s->halves[0] ? &s->halves[1] : &s->halves[0];
}

static bool is_last(const struct splice *s, const struct splice_half *h) {
    return s->first_ends_all && h == &s->halves[0];
}

static void fail(struct splice *s, struct splice_half *h, const struct stream *stream, int err) {
    bool reading = stream == h->from;
    const char *reason = transport_reason(stream->transport);
    h->done = true;
    if (!s->err) {
        s->err = err;
        snprintf(s->reason, sizeof s->reason, "%s: %s", reading ? "read" : "write",
                 reason ? reason : strerror(-err));
    }
    if (reading || other(s, h)->done || is_last(s, h))
        finish(s);
}

static void end_half(struct splice *s, struct splice_half *h) {
    h->done = h->ended = true;
    stream_shutdown(h->to);
    if (other(s, h)->done || is_last(s, h))
        finish(s);
}

/* -- moving bytes: how many, 0 at the end, -EAGAIN: `from` has none; *failed: where it did ---- */

static ssize_t copy(struct splice_half *h, const struct stream **failed) {
    ssize_t n = stream_copy(h->from, h->to, failed);
    h->bytes += n > 0 ? (uint64_t)n : 0;
    return n;
}

static bool has_pipe(struct splice_half *h) {
    if (!fd_can_splice(h->from->transport) || !fd_can_splice(h->to->transport))
        return false;
    return h->pipe[1] || pipe2(h->pipe, O_CLOEXEC | O_NONBLOCK) == 0;
}

static ssize_t fill_pipe(struct splice_half *h) {
    struct stream *from = h->from;
    if (from->ended || from->read_error)
        return from->read_error;
    ssize_t n = fd_splice_read(from->transport, h->pipe[1], SPLICE_BYTES);
    from->ended = n == 0;
    from->likely = n > 0;
    if (n > 0) {
        from->bytes_in += (uint64_t)n;
        h->piped += (size_t)n;
    } else if (n != -EAGAIN) {
        from->read_error = (int)n;
    }
    return n;
}

/* After -EAGAIN `h->piped` tells which of the two has to become ready. */
static ssize_t move_in_kernel(struct splice_half *h, const struct stream **failed) {
    *failed = h->from;
    ssize_t n = h->piped ? 1 : fill_pipe(h);
    if (n <= 0)
        return n;
    *failed = h->to;
    n = h->to->shut ? -EPIPE : fd_splice_write(h->to->transport, h->pipe[0], h->piped);
    if (n < 0 && n != -EAGAIN)
        h->to->write_error = (int)n;
    if (n <= 0)
        return n;
    h->piped -= (size_t)n;
    h->to->bytes_out += (uint64_t)n;
    h->bytes += (uint64_t)n;
    return n;
}

static ssize_t move(struct splice_half *h, const struct stream **failed) {
    bool in_kernel = h->piped || (!h->from->in.len && has_pipe(h));
    return in_kernel ? move_in_kernel(h, failed) : copy(h, failed);
}

/* Moves what there is, and asks to be woken for more. */
static void pump(struct splice *s, struct splice_half *h) {
    for (int i = 0; i < MOVES_MAX && !h->done && !s->over; i++) {
        if (h->to->out.len || (h->piped && i > 0)) {
            stream_want_write(h->to);
            return;
        }
        const struct stream *failed;
        ssize_t n = move(h, &failed);
        if (n == 0) {
            end_half(s, h);
        } else if (n == -EAGAIN && h->piped) {
            stream_want_write(h->to);
            return;
        } else if (n == -EAGAIN || (n > 0 && !h->from->likely && !h->from->in.len && !h->piped)) {
            break;
        } else if (n < 0) {
            fail(s, h, failed, (int)n);
        }
    }
    if (!h->done && !s->over)
        (h->piped ? stream_want_write : stream_want_read)(h->piped ? h->to : h->from);
}

static void on_event(struct stream *stream, int events) {
    struct splice *s = stream->owner;
    for (int i = 0; i < 2 && !s->over; i++) {
        struct splice_half *h = &s->halves[i];
        if (((events & EV_READ) && h->from == stream) || ((events & EV_WRITE) && h->to == stream))
            pump(s, h);
    }
}

void splice_start(struct splice *s) {
    for (int i = 0; i < 2; i++) {
        take(s, s->halves[i].from);
        take(s, s->halves[i].to);
    }
    for (int i = 0; i < 2 && !s->over; i++)
        pump(s, &s->halves[i]);
}
