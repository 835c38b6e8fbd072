/*
 * A frame is written whole into a buffer, which then leaves as fast as the transport below takes
 * it. Frames are read as they come: the bytes of one are handed on before its end is there. No more
 * is read from below than what is wanted, so that little is left to be kept: the beginning of a
 * head. Pings are answered, and the peer's close frame is the end of what can be read. Who breaks
 * the rules is told so by a close frame of ours.
 *
 * Where a read has left bytes here that came from below, nobody below will tell of them: a zero
 * timer does.
 */
#include "host/websocket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "host/loop.h"
#include "host/websocket/frame.h"

#define WRITE_MAX ((size_t)64 * 1024) /* payload bytes of a frame of ours */
#define READ_MAX ((size_t)64 * 1024)  /* bytes from below at once */
#define KEPT_MAX 256                  /* of a frame that is not all there: a control frame's */
#define QUEUE_MAX (64 * 1024) /* answers to pings that wait; more is a peer that does not read */
#define REASON_MAX (FRAME_CONTROL_MAX - 2)

struct websocket {
    struct transport base, *lower;
    struct buffer in, out; /* raw: left of what came from below, and to go there */
    bool is_client;
    uint64_t left, at; /* payload bytes of the present data frame: to be read, and read so far */
    uint8_t mask[4];   /* its mask */
    bool in_message;   /* the last data frame was not the final one */
    int wanted;        /* by the owner */
    int error;         /* -errno */
    const char *reason;
    bool ended;  /* the peer has sent a close frame */
    bool closed; /* so have we */
    bool more;   /* `in` may have something to be read */
    bool leaving;
    ev_timer kick;
    ev_timer silence; /* looks twice in as long as the peer may be silent */
    bool heard, pinged;
    int end_code; /* of our close frame */
    char end_reason[REASON_MAX + 1];
};

static struct websocket *self(struct transport *t) {
    return (struct websocket *)t;
}

/* -- out ----------------------------------------------------------------------------------- */

static void put_frame(struct websocket *w, enum frame_opcode opcode, const void *data, size_t len) {
    uint8_t head[FRAME_HEAD_MAX], mask[4];
    if (w->is_client && getrandom(mask, sizeof mask, 0) < 0)
        abort();
    size_t n = frame_write_head(head, opcode, len, w->is_client ? mask : NULL);
    buffer_append(&w->out, head, n);
    buffer_append(&w->out, data, len);
    char *masked = w->out.data + w->out.head + w->out.len - len;
    if (w->is_client)
        frame_mask(masked, masked, len, mask, 0);
}

/* Once. */
static void put_close(struct websocket *w, int code, const char *reason) {
    uint8_t payload[FRAME_CONTROL_MAX] = {(uint8_t)(code >> 8), (uint8_t)code};
    size_t len = strnlen(reason, REASON_MAX);
    memcpy(payload + 2, reason, len);
    if (!w->closed)
        put_frame(w, FRAME_CLOSE, payload, 2 + len);
    w->closed = true;
}

/* 0 when nothing waits any more, -EAGAIN, -errno. */
static int flush(struct websocket *w) {
    while (w->out.len) {
        ssize_t n = w->lower->ops->write(w->lower, buffer_head(&w->out), w->out.len);
        if (n < 0)
            return (int)n;
        buffer_consume(&w->out, (size_t)n);
    }
    return 0;
}

static void update_wants(struct websocket *w) {
    bool kicked = w->more && (w->wanted & EV_READ);
    if (kicked && !ev_is_active(&w->kick)) {
        ev_timer_set(&w->kick, 0, 0);
        ev_timer_start(loop_get(), &w->kick);
    } else if (!kicked) {
        ev_timer_stop(loop_get(), &w->kick);
    }
    w->lower->ops->want(w->lower, w->wanted | (w->out.len ? EV_WRITE : 0));
}

static ssize_t ws_write(struct transport *base, const void *data, size_t len) {
    struct websocket *w = self(base);
    if (w->error || w->closed)
        return w->error ? w->error : -EPIPE;
    int err = flush(w);
    if (err)
        return err;
    size_t n = len < WRITE_MAX ? len : WRITE_MAX;
    put_frame(w, FRAME_BINARY, data, n);
    err = flush(w);
    if (err && err != -EAGAIN)
        return err;
    update_wants(w);
    return (ssize_t)n;
}

/* -- in ------------------------------------------------------------------------------------ */

static int fail(struct websocket *w, int code, const char *reason) {
    put_close(w, code, reason);
    w->reason = reason;
    return w->error = -EPROTO;
}

/* Bytes from below, of which those that were used are taken off. */
struct raw {
    char *data;
    size_t len;
};

static void use(struct raw *raw, size_t n) {
    raw->data += n;
    raw->len -= n;
}

static int take_control(struct websocket *w, const struct frame_head *head, struct raw *raw) {
    size_t len = (size_t)head->length;
    if (raw->len < head->size + len)
        return 0;
    char *payload = raw->data + head->size;
    frame_mask(payload, payload, len, head->mask, 0);
    if (head->opcode == FRAME_PING && !w->closed && w->out.len < QUEUE_MAX)
        put_frame(w, FRAME_PONG, payload, len);
    if (head->opcode == FRAME_CLOSE) {
        put_close(w, frame_answer_close((const uint8_t *)payload, len), "");
        w->ended = true;
    }
    use(raw, head->size + len);
    return 1;
}

static int begin_data(struct websocket *w, const struct frame_head *head, struct raw *raw) {
    bool continues = head->opcode == FRAME_CONTINUATION;
    if (head->opcode == FRAME_TEXT)
        return fail(w, CLOSE_UNSUPPORTED, "text is not taken: send binary messages");
    if (continues != w->in_message)
        return fail(w, CLOSE_PROTOCOL_ERROR,
                    continues ? "nothing to continue" : "the last message has no end");
    use(raw, head->size);
    w->in_message = !head->final;
    w->left = head->length;
    w->at = 0;
    memcpy(w->mask, head->mask, sizeof w->mask);
    return 1;
}

/* The next frame's head: 1 when there is something to be read or to go on with, 0, -errno. */
static int next_frame(struct websocket *w, struct raw *raw) {
    struct frame_head head;
    const char *fault;
    int known = frame_read_head((const uint8_t *)raw->data, raw->len, !w->is_client, &head, &fault);
    if (known < 0)
        return fail(w, CLOSE_PROTOCOL_ERROR, fault);
    if (known == 0)
        return 0;
    return head.opcode >= FRAME_CLOSE ? take_control(w, &head, raw) : begin_data(w, &head, raw);
}

static size_t take(struct websocket *w, struct raw *raw, char *data, size_t len) {
    size_t n = raw->len < len ? raw->len : len;
    n = w->left < n ? (size_t)w->left : n;
    if (!n)
        return 0;
    frame_mask(data, raw->data, n, w->mask, w->at);
    use(raw, n);
    w->at += n;
    w->left -= n;
    return n;
}

/* What there is of payloads. */
static size_t unpack(struct websocket *w, struct raw *raw, char *data, size_t len) {
    size_t total = 0;
    while (total < len && !w->ended && !w->error) {
        size_t n = take(w, raw, data + total, len - total);
        total += n;
        if (n == 0 && (w->left > 0 || next_frame(w, raw) <= 0))
            break;
    }
    return total;
}

static size_t unpack_kept(struct websocket *w, char *data, size_t len) {
    struct raw raw = {w->in.data + w->in.head, w->in.len};
    size_t n = w->in.len ? unpack(w, &raw, data, len) : 0;
    if (raw.len < w->in.len)
        buffer_consume(&w->in, w->in.len - raw.len);
    return n;
}

/* Reads from below behind what is kept, and keeps what is left. *n: bytes of payloads. */
static ssize_t unpack_new(struct websocket *w, char *data, size_t len, size_t *n) {
    static char scratch[KEPT_MAX + READ_MAX];
    size_t kept = w->in.len, most = len < READ_MAX ? len : READ_MAX;
    if (kept)
        memcpy(scratch, buffer_head(&w->in), kept);
    ssize_t got = w->lower->ops->read(w->lower, scratch + kept, most);
    if (got <= 0)
        return got;
    struct raw raw = {scratch, kept + (size_t)got};
    w->heard = true;
    *n = unpack(w, &raw, data, len);
    buffer_fini(&w->in);
    buffer_append(&w->in, raw.data, raw.len);
    return got;
}

static ssize_t read_some(struct websocket *w, char *data, size_t len) {
    for (;;) {
        size_t n = unpack_kept(w, data, len);
        ssize_t got = 1;
        if (!n && !w->ended && !w->error)
            got = unpack_new(w, data, len, &n);
        w->more = n > 0 && w->in.len > 0;
        if (n || w->ended || w->error)
            return n ? (ssize_t)n : w->error;
        if (got <= 0)
            return got;
    }
}

static ssize_t ws_read(struct transport *base, void *data, size_t len) {
    struct websocket *w = self(base);
    size_t queued = w->out.len;
    ssize_t n = read_some(w, data, len);
    if (w->out.len > queued && flush(w) == -EAGAIN)
        update_wants(w);
    return n;
}

/* -- silence ------------------------------------------------------------------------------- */

/* A peer whose bytes nobody wants now may well be there. */
static void on_silence(struct ev_loop *l, ev_timer *timer, int events) {
    (void)l, (void)events;
    struct websocket *w = timer->data;
    if (w->heard || !(w->wanted & EV_READ)) {
        w->heard = w->pinged = false;
    } else if (!w->pinged) {
        w->pinged = true;
        if (!w->closed)
            put_frame(w, FRAME_PING, NULL, 0);
        flush(w);
        update_wants(w);
    } else {
        w->reason = "the WebSocket's other end vanished";
        w->error = -ETIMEDOUT;
        ev_timer_stop(l, timer);
        w->base.on_ready(&w->base, w->wanted);
    }
}

static void ws_set_silence(struct transport *base, double seconds) {
    struct websocket *w = self(base);
    ev_timer_stop(loop_get(), &w->silence);
    w->heard = w->pinged = false;
    ev_timer_set(&w->silence, seconds / 2, seconds / 2);
    ev_timer_start(loop_get(), &w->silence);
}

/* -- the rest ------------------------------------------------------------------------------ */

static void on_events(struct websocket *w, int events) {
    if ((events & EV_WRITE) && flush(w) == -EAGAIN)
        events &= ~EV_WRITE;
    int tell = events & (w->wanted | (w->leaving ? EV_READ | EV_WRITE : 0));
    if (tell)
        w->base.on_ready(&w->base, tell);
    else
        update_wants(w);
}

static void on_lower(struct transport *lower, int events) {
    on_events(lower->owner, events);
}

static void on_kick(struct ev_loop *l, ev_timer *timer, int events) {
    (void)l, (void)events;
    on_events(timer->data, EV_READ);
}

static void ws_want(struct transport *base, int events) {
    struct websocket *w = self(base);
    w->wanted = events;
    update_wants(w);
}

static int ws_shutdown(struct transport *base) {
    struct websocket *w = self(base);
    if (w->error)
        return w->error;
    put_close(w, w->end_code, w->end_reason);
    int err = flush(w);
    update_wants(w);
    return err == -EAGAIN ? 0 : err;
}

static int ws_leave(struct transport *base) {
    struct websocket *w = self(base);
    if (w->error && !w->closed)
        return 0;
    w->leaving = true;
    put_close(w, w->end_code, w->end_reason);
    int err = flush(w);
    if (err == -EAGAIN)
        update_wants(w);
    w->lower->peer_answers_end = !w->ended;
    return err ? err : w->lower->ops->leave(w->lower);
}

static int ws_fd(const struct transport *base) {
    const struct transport *lower = ((const struct websocket *)base)->lower;
    return lower->ops->fd(lower);
}

static size_t ws_unsent(const struct transport *base) {
    const struct websocket *w = (const struct websocket *)base;
    return w->out.len + w->lower->ops->unsent(w->lower);
}

static double ws_rtt(const struct transport *base) {
    const struct transport *lower = ((const struct websocket *)base)->lower;
    return lower->ops->rtt(lower);
}

static const char *ws_reason(const struct transport *base) {
    const struct websocket *w = (const struct websocket *)base;
    return w->reason ? w->reason : transport_reason(w->lower);
}

static void ws_free(struct transport *base) {
    struct websocket *w = self(base);
    ev_timer_stop(loop_get(), &w->kick);
    ev_timer_stop(loop_get(), &w->silence);
    transport_abort(w->lower);
    buffer_fini(&w->in);
    buffer_fini(&w->out);
    free(w);
}

static const struct transport_ops OPS = {
    .read = ws_read,
    .write = ws_write,
    .shutdown = ws_shutdown,
    .want = ws_want,
    .fd = ws_fd,
    .detach = transport_no_detach,
    .unsent = ws_unsent,
    .rtt = ws_rtt,
    .set_silence = ws_set_silence,
    .reason = ws_reason,
    .leave = ws_leave,
    .free = ws_free,
};

struct transport *websocket_transport(struct transport *lower, struct buffer early,
                                      enum websocket_role role) {
    struct websocket *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->base = (struct transport){.ops = &OPS, .patience = lower->patience};
    w->lower = lower;
    w->is_client = role == WEBSOCKET_CLIENT;
    w->end_code = CLOSE_NORMAL;
    w->in = early;
    w->more = early.len > 0;
    lower->owner = w;
    lower->on_ready = on_lower;
    ev_init(&w->kick, on_kick);
    ev_init(&w->silence, on_silence);
    w->kick.data = w->silence.data = w;
    return &w->base;
}

int websocket_end_with(struct transport *t, int code, const char *reason) {
    if (t->ops != &OPS)
        return -EINVAL;
    struct websocket *w = self(t);
    w->end_code = code;
    strncpy(w->end_reason, reason, REASON_MAX);
    return 0;
}
