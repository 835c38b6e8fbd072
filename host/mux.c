/*
 * What fills a record of TLS leaves at once; smaller things, and grants, with what comes after them
 * or at the loop's next turn. Whoever is told of something may give his stream, or the mux, up at
 * that moment: it is freed when no call is on the stack.
 */
#include "host/mux.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/loop.h"

#define READ_MAX (64 * 1024)
#define READS_MAX 4           /* in a row: others want to run too */
#define TOLD_MAX 4            /* events that a reader who was told may let pass */
#define DIRECT_MIN 4096       /* bytes of a frame that are worth a read of their own */
#define SEND_UNIT (16 * 1024) /* a record of TLS; what is less waits for what comes after it */
#define STREAM_PATIENCE_S                                                                          \
    300.0 /* for a peer that does not read what a closed stream has written                        \
           */

struct mux {
    struct transport *lower; /* NULL: it is gone */
    struct mux_machine *machine;
    void (*on_event)(void *owner); /* NULL: the handle is given up */
    void *owner;
    ev_timer turn;
    bool blocked; /* the lower transport takes no more now */
    int told;     /* > 0: a reader was told of bytes still below, and how many events ago */
    int ends;     /* streams that somebody has */
    int depth;    /* calls that are on the stack */
};

/* A stream, as what carries one. */
struct end {
    struct transport base;
    struct mux *mux;
    struct mux_stream *stream;
    int wanted;
    bool left;
};

static struct end *self(struct transport *t) {
    return (struct end *)t;
}

/* -- the connection ------------------------------------------------------------------------- */

static void want(struct mux *mux) {
    mux->lower->ops->want(mux->lower, EV_READ | (mux->blocked ? EV_WRITE : 0));
}

static void fail(struct mux *mux, int err) {
    const char *reason = err ? transport_reason(mux->lower) : "the connection has ended";
    mm_fail(mux->machine, err, reason ? reason : strerror(-err));
}

static void send(struct mux *mux, size_t unit) {
    const uint8_t *data;
    size_t len;
    while (mux->lower && !mux->blocked && (len = mm_poll(mux->machine, &data) / unit * unit)) {
        ssize_t n = mux->lower->ops->write(mux->lower, data, len);
        if (n >= 0) {
            mm_sent(mux->machine, (size_t)n);
        } else if (n == -EAGAIN) {
            mux->blocked = true;
            want(mux);
        } else {
            fail(mux, (int)n);
            return;
        }
    }
}

static void flush(struct mux *mux) {
    send(mux, 1);
}

static void arm(struct mux *mux) {
    if (ev_is_active(&mux->turn))
        return;
    ev_timer_set(&mux->turn, 0, 0);
    ev_timer_start(loop_get(), &mux->turn);
}

/* -- telling -------------------------------------------------------------------------------- */

static void notify(struct mux_stream *s) {
    struct end *e = ms_owner(s);
    int events = e ? e->wanted & ms_events(s) : 0;
    if (e && (e->wanted & EV_WRITE) && !(events & EV_WRITE))
        ms_want(s, EV_WRITE); /* it may send again, but not before others have */
    if (events && e->base.on_ready)
        e->base.on_ready(&e->base, events);
}

/* Who waits to write has his turn; then all of whom something is different. */
static void tell(struct mux *mux) {
    struct mux_stream *s;
    const uint8_t *data;
    flush(mux);
    while (!mux->blocked && !mm_poll(mux->machine, &data) && (s = mm_next_writer(mux->machine))) {
        notify(s);
        flush(mux);
    }
    while ((s = mm_next_stirred(mux->machine)))
        notify(s);
}

static bool is_over(const struct mux *mux) {
    return mm_error(mux->machine) || (!mux->on_event && mux->ends == 0);
}

/* The connection leaves with what is still to be sent. */
static void let_go(struct mux *mux) {
    struct buffer out = {0};
    const uint8_t *data;
    size_t len = mm_poll(mux->machine, &data);
    int err = mm_error(mux->machine);
    struct transport *lower = mux->lower;
    mux->lower = NULL;
    if (err && err != -EPROTO && err != -EPIPE) {
        transport_abort(lower);
        return;
    }
    if (len)
        buffer_append(&out, data, len);
    transport_leave(lower, out, true);
}

static void destroy(struct mux *mux) {
    ev_timer_stop(loop_get(), &mux->turn);
    mm_free(mux->machine);
    free(mux);
}

static void enter(struct mux *mux) {
    mux->depth++;
}

static void leave(struct mux *mux) {
    if (mux->depth == 1) {
        tell(mux);
        if (mux->on_event)
            mux->on_event(mux->owner);
        if (mux->lower && is_over(mux))
            let_go(mux);
    }
    if (--mux->depth == 0 && !mux->lower && !mux->on_event && mux->ends == 0)
        destroy(mux);
}

static void on_turn(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct mux *mux = w->data;
    enter(mux);
    leave(mux);
}

static char scratch[READ_MAX];

/* How many bytes were read. */
static size_t read_lower(struct mux *mux, size_t max) {
    ssize_t n = mux->lower->ops->read(mux->lower, scratch, max);
    if (n > 0)
        mm_feed(mux->machine, scratch, (size_t)n, loop_now());
    else if (n != -EAGAIN)
        fail(mux, (int)n);
    return n > 0 ? (size_t)n : 0;
}

/* Reads up to a frame's bytes: the stream that they are for, when its reader is to take them from
 * below. A small frame is read with what comes after it. */
static struct mux_stream *find_reader(struct mux *mux) {
    if (!mux->lower || mm_error(mux->machine))
        return NULL;
    size_t count, missing = mm_header_left(mux->machine);
    if (missing)
        read_lower(mux, missing);
    struct mux_stream *s = mm_next_reader(mux->machine, &count);
    return !missing || count >= DIRECT_MIN ? s : NULL;
}

/* A reader that waits is told, and reads. When he has not after some events, we do. */
static bool tell_reader(struct mux *mux) {
    if (mux->told && mux->told < TOLD_MAX) {
        mux->told++;
        return true;
    }
    struct mux_stream *s = mux->told ? NULL : find_reader(mux);
    struct end *e = s ? ms_owner(s) : NULL;
    mux->told = e && (e->wanted & EV_READ) && e->base.on_ready;
    if (mux->told)
        e->base.on_ready(&e->base, EV_READ);
    return mux->told;
}

static void drain(struct mux *mux) {
    for (int i = 0; i < READS_MAX && !mm_error(mux->machine); i++) {
        size_t n = read_lower(mux, sizeof scratch);
        flush(mux);
        if (n < sizeof scratch)
            return;
    }
}

static void on_lower(struct transport *t, int events) {
    struct mux *mux = t->owner;
    enter(mux);
    if (events & EV_WRITE)
        mux->blocked = false;
    if ((events & EV_READ) && !tell_reader(mux) && !mm_error(mux->machine))
        drain(mux);
    if (mux->lower)
        want(mux);
    leave(mux);
}

/* -- a stream as a transport ------------------------------------------------------------------ */

/* The bytes that come next, when they are this one's. */
static size_t read_direct(struct end *e, char *data, size_t len) {
    struct mux *mux = e->mux;
    size_t total = 0, count;
    while (total < len && find_reader(mux) == e->stream) {
        mm_next_reader(mux->machine, &count);
        size_t max = count < len - total ? count : len - total;
        ssize_t n = mux->lower->ops->read(mux->lower, data + total, max);
        if (n > 0) {
            mm_passed(mux->machine, (size_t)n, loop_now());
            total += (size_t)n;
        } else {
            if (n != -EAGAIN)
                fail(mux, (int)n);
            break;
        }
    }
    return total;
}

static ssize_t end_read(struct transport *t, void *data, size_t len) {
    struct end *e = self(t);
    e->mux->told = 0;
    ssize_t n = ms_read(e->stream, data, len, loop_now());
    if (n == -EAGAIN) {
        size_t got = read_direct(e, data, len);
        n = got ? (ssize_t)got : ms_read(e->stream, data, len, loop_now());
        arm(e->mux);
    }
    if (n > 0)
        arm(e->mux);
    return n;
}

static ssize_t end_write(struct transport *t, const void *data, size_t len) {
    struct end *e = self(t);
    ssize_t n = ms_write(e->stream, data, len);
    if (n > 0) {
        send(e->mux, SEND_UNIT);
        arm(e->mux);
    }
    return n;
}

static int end_shutdown(struct transport *t) {
    struct end *e = self(t);
    int err = ms_shutdown(e->stream);
    arm(e->mux);
    return err;
}

static void end_want(struct transport *t, int events) {
    struct end *e = self(t);
    e->wanted = events;
    if (!events)
        return;
    ms_want(e->stream, events);
    if (mm_has_stirred(e->mux->machine))
        arm(e->mux);
}

static int end_fd(const struct transport *t) {
    (void)t;
    return -1;
}

/* Bytes of the connection up to the stream's last one that are not known to have arrived. */
static size_t end_unsent(const struct transport *t) {
    const struct end *e = (const struct end *)t;
    const struct transport *lower = e->mux->lower;
    uint64_t position = mm_position(e->mux->machine), last = ms_end(e->stream);
    last = last == UINT64_MAX ? position + 1 : last;
    size_t below = lower ? lower->ops->unsent(lower) : 0;
    uint64_t arrived = position > below ? position - below : 0;
    return lower && last > arrived ? (size_t)(last - arrived) : 0;
}

static double end_rtt(const struct transport *t) {
    return mux_rtt(((const struct end *)t)->mux);
}

static const char *end_reason(const struct transport *t) {
    return ms_reason(((const struct end *)t)->stream);
}

static void end_describe(const struct transport *t, transport_tell tell_one, void *arg) {
    const struct end *e = (const struct end *)t;
    struct mux_info info;
    mux_info(e->mux, &info);
    const struct transport_fact facts[] = {
        {"mux", "stream", FACT_COUNT, {.count = ms_number(e->stream)}},
        {"mux", "window", FACT_COUNT, {.count = ms_window(e->stream)}},
        {"mux", "streams", FACT_COUNT, {.count = (uint64_t)info.streams}},
    };
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        tell_one(arg, &facts[i]);
    if (e->mux->lower)
        transport_describe(e->mux->lower, tell_one, arg);
}

/* What has left through the connection is its to deliver. */
static int end_leave(struct transport *t) {
    struct end *e = self(t);
    if (!e->left) {
        e->left = true;
        ms_shutdown(e->stream);
        flush(e->mux);
    }
    ms_ignore(e->stream);
    arm(e->mux);
    bool out = ms_end(e->stream) <= mm_position(e->mux->machine);
    return ms_error(e->stream) || !e->mux->lower || out ? 0 : -EAGAIN;
}

static void end_abort(struct transport *t) {
    struct end *e = self(t);
    e->left = true;
    ms_reset(e->stream);
    arm(e->mux);
}

static void end_free(struct transport *t) {
    struct end *e = self(t);
    struct mux *mux = e->mux;
    enter(mux);
    ms_set_owner(e->stream, NULL);
    ms_free(e->stream);
    mux->ends--;
    free(e);
    leave(mux);
}

static const struct transport_ops OPS = {
    .read = end_read,
    .write = end_write,
    .shutdown = end_shutdown,
    .want = end_want,
    .fd = end_fd,
    .detach = transport_no_detach,
    .unsent = end_unsent,
    .rtt = end_rtt,
    .reason = end_reason,
    .describe = end_describe,
    .leave = end_leave,
    .abort = end_abort,
    .free = end_free,
};

static struct transport *make_end(struct mux *mux, struct mux_stream *stream) {
    struct end *e = calloc(1, sizeof *e);
    if (!e)
        abort();
    *e = (struct end){{.ops = &OPS, .patience = STREAM_PATIENCE_S}, mux, stream, 0, false};
    ms_set_owner(stream, e);
    mux->ends++;
    arm(mux);
    return &e->base;
}

/* -- the handle ----------------------------------------------------------------------------- */

static size_t write_below(void *arg, const void *queued, size_t queued_len, const void *data,
                          size_t len) {
    struct mux *mux = arg;
    struct transport *lower = mux->lower;
    if (!lower || mux->blocked || !lower->ops->write_pair)
        return 0;
    ssize_t n = lower->ops->write_pair(lower, queued, queued_len, data, len);
    if (n == -EAGAIN) {
        mux->blocked = true;
        want(mux);
    } else if (n < 0) {
        fail(mux, (int)n);
    }
    return n > 0 ? (size_t)n : 0;
}

static double rtt_below(void *arg) {
    const struct mux *mux = arg;
    return mux->lower ? mux->lower->ops->rtt(mux->lower) : -1;
}

struct mux *mux_new(struct transport *lower, struct buffer early, const struct mux_options *options,
                    void (*on_event)(void *), void *owner) {
    struct mux *mux = calloc(1, sizeof *mux);
    if (!mux)
        abort();
    struct mux_options o = *options;
    o.rtt = rtt_below;
    o.write = lower->ops->write_pair ? write_below : NULL;
    o.arg = mux;
    *mux =
        (struct mux){.lower = lower, .machine = mm_new(&o), .on_event = on_event, .owner = owner};
    ev_init(&mux->turn, on_turn);
    mux->turn.data = mux;
    lower->owner = mux;
    lower->on_ready = on_lower;
    mm_feed(mux->machine, early.len ? buffer_head(&early) : "", early.len, loop_now());
    buffer_fini(&early);
    want(mux);
    arm(mux);
    return mux;
}

struct transport *mux_open(struct mux *mux, int *err) {
    struct mux_stream *stream = mm_open(mux->machine, err);
    return stream ? make_end(mux, stream) : NULL;
}

struct transport *mux_accept(struct mux *mux) {
    struct mux_stream *stream = mm_accept(mux->machine);
    return stream ? make_end(mux, stream) : NULL;
}

bool mux_has_accept(const struct mux *mux) {
    return mm_has_accept(mux->machine);
}

uint32_t mux_ping(struct mux *mux) {
    uint32_t number = mm_ping(mux->machine, loop_now());
    arm(mux);
    return number;
}

double mux_pong(const struct mux *mux, uint32_t number) {
    return mm_pong(mux->machine, number);
}

void mux_go_away(struct mux *mux) {
    mm_go_away(mux->machine);
    arm(mux);
}

int mux_error(const struct mux *mux) {
    return mm_error(mux->machine);
}

const char *mux_reason(const struct mux *mux) {
    return mm_reason(mux->machine);
}

void mux_info(const struct mux *mux, struct mux_info *info) {
    mm_info(mux->machine, info);
}

double mux_rtt(const struct mux *mux) {
    return mm_rtt(mux->machine);
}

static void give_up(struct mux *mux) {
    mux->on_event = NULL;
    for (struct mux_stream *s; (s = mm_accept(mux->machine));)
        ms_free(s);
}

void mux_close(struct mux *mux) {
    enter(mux);
    give_up(mux);
    mm_go_away(mux->machine);
    leave(mux);
}

void mux_abort(struct mux *mux) {
    enter(mux);
    give_up(mux);
    mm_fail(mux->machine, -ECONNABORTED, "the connection was given up");
    leave(mux);
}
