#include "host/turn/simplex_pair.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/loop.h"

#define HEADER_SIZE 2
#define CHUNK_MAX 65533
#define ALIVE 65534
#define SEEN 65535
#define PULSES 3              /* that a peer which is there may miss */
#define AHEAD_MAX (64 * 1024) /* bytes that are read for their sake before somebody wants them */
#define PATIENCE_S 30.0       /* without progress */
#define READ_MAX (64 * 1024)

struct simplex_pair {
    struct transport base;
    struct transport *source, *sink;
    struct buffer in;  /* read from source and not used */
    struct buffer out; /* not yet taken by sink */
    size_t left;       /* of the present chunk, still to come */
    int error;         /* -errno: nothing is read or written any more */
    int write_error;   /* the same, of the sink alone */
    int read_error;    /* what reading ahead has met */
    int wanted;        /* by the stream */
    bool ended;        /* the peer's mark has come */
    bool shut;         /* the local one is in `out`, or has left */
    bool seen;         /* the peer has acknowledged it */
    bool leaving;      /* there is no reader or writer any more */
    ev_timer timer;    /* there is something to read */
    ev_timer pulse;
    double silence; /* seconds after which the peer has vanished */
    double heard;   /* when something was last read */
    void (*on_end)(void *arg);
    void *arg;
};

static char scratch[READ_MAX];

static struct simplex_pair *self(struct transport *t) {
    return (struct simplex_pair *)t;
}

/* -- chunks -------------------------------------------------------------------------------- */

struct bytes {
    const char *data;
    size_t len;
};

static void put_chunk(struct simplex_pair *t, size_t length, const void *data, size_t len) {
    const char head[HEADER_SIZE] = {(char)(length >> 8), (char)length};
    buffer_append(&t->out, head, sizeof head);
    if (len)
        buffer_append(&t->out, data, len);
}

/* Takes a length, if it is there; marks do what they say. */
static bool open_chunk(struct simplex_pair *t, struct bytes *from) {
    if (from->len < HEADER_SIZE)
        return false;
    size_t length = (size_t)(uint8_t)from->data[0] << 8 | (uint8_t)from->data[1];
    from->data += HEADER_SIZE;
    from->len -= HEADER_SIZE;
    if (length == ALIVE)
        return true;
    if (length == SEEN)
        t->seen = true;
    else if (length && t->ended)
        t->error = -EPROTO;
    else if (length)
        t->left = length;
    else if (!t->ended)
        put_chunk(t, SEEN, NULL, 0);
    t->ended = t->ended || length == 0;
    return true;
}

/* Moves what chunks carry from `from` to data: how many bytes. */
static size_t take(struct simplex_pair *t, struct bytes *from, char *data, size_t len) {
    size_t total = 0;
    while (total < len && t->error != -EPROTO && (t->left ? from->len > 0 : open_chunk(t, from))) {
        size_t n = len - total < t->left ? len - total : t->left;
        n = n < from->len ? n : from->len;
        memcpy(data + total, from->data, n);
        from->data += n;
        from->len -= n;
        t->left -= n;
        total += n;
    }
    return total;
}

static size_t take_buffered(struct simplex_pair *t, char *data, size_t len) {
    if (!t->in.len)
        return 0;
    struct bytes from = {buffer_head(&t->in), t->in.len};
    size_t n = take(t, &from, data, len);
    buffer_consume(&t->in, t->in.len - from.len);
    return n;
}

/* Reads once from below into `scratch`. */
static ssize_t read_source(struct simplex_pair *t) {
    if (t->read_error)
        return t->read_error;
    ssize_t n = t->source->ops->read(t->source, scratch, sizeof scratch);
    if (n > 0)
        t->heard = loop_now();
    return n ? n : -ECONNRESET;
}

/* Reads once from below: bytes for `data`, 0 when none of it is for there, -errno. */
static ssize_t take_new(struct simplex_pair *t, char *data, size_t len) {
    ssize_t n = read_source(t);
    if (n < 0)
        return n;
    if (t->in.len) { /* half a length */
        buffer_append(&t->in, scratch, (size_t)n);
        return (ssize_t)take_buffered(t, data, len);
    }
    struct bytes from = {scratch, (size_t)n};
    size_t taken = take(t, &from, data, len);
    if (from.len)
        buffer_append(&t->in, from.data, from.len);
    return (ssize_t)taken;
}

static int flush(struct simplex_pair *t) {
    int error = t->error ? t->error : t->write_error;
    while (t->out.len && !error) {
        ssize_t n = t->sink->ops->write(t->sink, buffer_head(&t->out), t->out.len);
        if (n == -EAGAIN)
            return -EAGAIN;
        if (n < 0)
            error = t->write_error = (int)n;
        else
            buffer_consume(&t->out, (size_t)n);
    }
    buffer_fini(&t->out);
    return error;
}

/* -- readiness ----------------------------------------------------------------------------- */

static bool has_input(const struct simplex_pair *t) {
    return t->error || t->read_error || t->ended || t->in.len >= HEADER_SIZE ||
           (t->left && t->in.len);
}

static void update_needs(struct simplex_pair *t) {
    bool read = (t->wanted & EV_READ) && !t->error && !t->read_error && !t->ended;
    bool write = (t->wanted & EV_WRITE) && !t->error && !t->write_error;
    t->source->ops->want(t->source, read ? EV_READ : 0);
    t->sink->ops->want(t->sink, write || t->out.len ? EV_WRITE : 0);
    bool due = ((t->wanted & EV_READ) && has_input(t)) || (t->wanted && t->error) ||
               ((t->wanted & EV_WRITE) && t->write_error);
    if (due && !ev_is_active(&t->timer)) {
        ev_timer_set(&t->timer, 0, 0);
        ev_timer_start(loop_get(), &t->timer);
    }
}

/* The stream may free us when it is told. */
static void tell(struct simplex_pair *t, int events) {
    if (!t->leaving)
        events = t->error ? t->wanted : events & t->wanted;
    if (events)
        t->base.on_ready(&t->base, events);
    else
        update_needs(t);
}

static void on_source(struct transport *source, int events) {
    (void)events;
    tell(source->owner, EV_READ);
}

static void on_sink(struct transport *sink, int events) {
    (void)events;
    struct simplex_pair *t = sink->owner;
    tell(t, flush(t) == -EAGAIN && !t->leaving ? 0 : EV_WRITE);
}

static void on_kick(struct ev_loop *l, ev_timer *w, int events) {
    (void)l, (void)events;
    struct simplex_pair *t = w->data;
    tell(t, EV_READ | (t->write_error ? EV_WRITE : 0));
}

/* -- signs of life ------------------------------------------------------------------------- */

/* Who has more unread than this can't be told whether the peer is there. */
static bool read_ahead(struct simplex_pair *t) {
    ssize_t n = 0;
    while (t->in.len < AHEAD_MAX && (n = read_source(t)) > 0)
        buffer_append(&t->in, scratch, (size_t)n);
    t->read_error = n < 0 && n != -EAGAIN ? (int)n : 0;
    return t->in.len < AHEAD_MAX;
}

static void on_pulse(struct ev_loop *l, ev_timer *w, int events) {
    (void)l, (void)events;
    struct simplex_pair *t = w->data;
    if (!t->out.len)
        put_chunk(t, ALIVE, NULL, 0);
    flush(t);
    bool heard_all = t->silence > 0 && read_ahead(t);
    if (heard_all && !t->read_error && loop_now() - t->heard >= t->silence)
        t->error = t->error ? t->error : -ETIMEDOUT;
    update_needs(t);
}

static void simplex_pair_set_silence(struct transport *base, double seconds) {
    struct simplex_pair *t = self(base);
    transport_set_silence(t->source, seconds);
    transport_set_silence(t->sink, seconds);
    t->silence = fmax(seconds - t->pulse.repeat, PULSES * t->pulse.repeat);
    t->heard = loop_now();
}

static const char *simplex_pair_reason(const struct transport *base) {
    const struct simplex_pair *t = (const struct simplex_pair *)base;
    const char *reason = transport_reason(t->source);
    if (t->error == -ETIMEDOUT)
        return "the peer vanished";
    return reason ? reason : transport_reason(t->sink);
}

/* -- the end ------------------------------------------------------------------------------- */

static void put_end(struct simplex_pair *t) {
    t->shut = true;
    put_chunk(t, 0, NULL, 0);
}

static bool is_over(const struct simplex_pair *t) {
    return t->error || t->write_error || (t->ended && t->seen && !t->out.len);
}

/* What comes is thrown away; only marks count. */
static void discard(struct simplex_pair *t) {
    static char nowhere[READ_MAX];
    ssize_t n;
    while (take_buffered(t, nowhere, sizeof nowhere) > 0)
        continue;
    do
        n = is_over(t) ? -EAGAIN : take_new(t, nowhere, sizeof nowhere);
    while (n > 0);
    if (n < 0 && n != -EAGAIN)
        t->error = (int)n;
}

static int simplex_pair_leave(struct transport *base) {
    struct simplex_pair *t = self(base);
    t->leaving = true;
    ev_timer_stop(loop_get(), &t->timer);
    ev_timer_stop(loop_get(), &t->pulse);
    if (!t->shut)
        put_end(t);
    discard(t);
    flush(t);
    if (is_over(t))
        return 0;
    t->source->ops->want(t->source, EV_READ);
    t->sink->ops->want(t->sink, t->out.len ? EV_WRITE : 0);
    return -EAGAIN;
}

static void simplex_pair_free(struct transport *base) {
    struct simplex_pair *t = self(base);
    ev_timer_stop(loop_get(), &t->timer);
    ev_timer_stop(loop_get(), &t->pulse);
    transport_abort(t->source);
    transport_abort(t->sink);
    buffer_fini(&t->in);
    buffer_fini(&t->out);
    t->on_end(t->arg);
    free(t);
}

/* -- the transport ------------------------------------------------------------------------- */

static ssize_t simplex_pair_read(struct transport *base, void *data, size_t len) {
    struct simplex_pair *t = self(base);
    ssize_t n = (ssize_t)take_buffered(t, data, len);
    while (n == 0 && !t->ended && !t->error) {
        n = take_new(t, data, len);
        if (n == -EAGAIN)
            return n;
        if (n < 0)
            t->error = (int)n;
    }
    if (t->out.len) /* the peer's end has come, and is answered */
        flush(t);
    if (n > 0 || t->ended)
        return n > 0 ? n : 0;
    return t->error;
}

static ssize_t simplex_pair_write(struct transport *base, const void *data, size_t len) {
    struct simplex_pair *t = self(base);
    int error = t->shut ? -EPIPE : flush(t);
    if (error || !len)
        return error;
    size_t n = len < CHUNK_MAX ? len : CHUNK_MAX;
    put_chunk(t, n, data, n);
    error = flush(t);
    if (error == -EAGAIN)
        update_needs(t);
    return error && error != -EAGAIN ? error : (ssize_t)n;
}

static int simplex_pair_shutdown(struct transport *base) {
    struct simplex_pair *t = self(base);
    if (t->shut)
        return t->error ? t->error : t->write_error;
    put_end(t);
    int error = flush(t);
    update_needs(t);
    return error == -EAGAIN ? 0 : error;
}

static void simplex_pair_want(struct transport *base, int events) {
    struct simplex_pair *t = self(base);
    t->wanted = events;
    update_needs(t);
}

static int simplex_pair_fd(const struct transport *base) {
    const struct transport *sink = ((const struct simplex_pair *)base)->sink;
    return sink->ops->fd(sink);
}

static size_t simplex_pair_unsent(const struct transport *base) {
    const struct simplex_pair *t = (const struct simplex_pair *)base;
    return t->out.len + t->sink->ops->unsent(t->sink);
}

static double simplex_pair_rtt(const struct transport *base) {
    const struct transport *sink = ((const struct simplex_pair *)base)->sink;
    return sink->ops->rtt(sink);
}

static const struct transport_ops OPS = {
    .read = simplex_pair_read,
    .write = simplex_pair_write,
    .shutdown = simplex_pair_shutdown,
    .want = simplex_pair_want,
    .fd = simplex_pair_fd,
    .detach = transport_no_detach,
    .unsent = simplex_pair_unsent,
    .rtt = simplex_pair_rtt,
    .set_silence = simplex_pair_set_silence,
    .reason = simplex_pair_reason,
    .leave = simplex_pair_leave,
    .free = simplex_pair_free,
};

struct transport *simplex_pair_transport(const struct simplex_pair_options *options) {
    struct simplex_pair *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->base = (struct transport){.ops = &OPS, .patience = PATIENCE_S};
    t->source = options->in;
    t->sink = options->out;
    t->in = options->early;
    t->on_end = options->on_end;
    t->arg = options->arg;
    t->source->owner = t->sink->owner = t;
    t->source->on_ready = on_source;
    t->sink->on_ready = on_sink;
    ev_init(&t->timer, on_kick);
    t->timer.data = t;
    ev_timer_init(&t->pulse, on_pulse, options->pulse, options->pulse);
    t->pulse.data = t;
    ev_timer_start(loop_get(), &t->pulse);
    return &t->base;
}

void simplex_pair_fail(struct transport *base, int error) {
    struct simplex_pair *t = self(base);
    t->error = t->error ? t->error : error;
    if (t->leaving)
        tell(t, EV_READ);
    else
        update_needs(t);
}
