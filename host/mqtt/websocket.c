/*
 * A frame is written whole into a buffer, which then leaves as fast as the transport below takes
 * it. Frames are read as they come: the bytes of one are handed on before its end is there. Pings
 * are answered, and an end of the peer's is the end of what can be read.
 *
 * Where a read has left bytes here that came from below, nobody below will tell of them: a zero
 * timer does.
 */
#include "host/mqtt/websocket.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "host/loop.h"

#define WRITE_MAX (16 * 1024)  /* payload bytes of a frame of ours */
#define READ_BYTES (16 * 1024) /* from below, at once */
#define HEAD_MAX 14            /* RFC 6455 §5.2 */
#define CONTROL_MAX 125        /* RFC 6455 §5.5 */
#define QUEUE_MAX (64 * 1024)  /* answers to pings that wait; more is a peer that does not read */

enum { CONTINUATION = 0, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
#define FIN 0x80
#define MASKED 0x80

struct websocket {
    struct transport base, *lower;
    struct buffer in, out; /* raw, from and to below */
    uint64_t left;         /* payload bytes of the present data frame that have not been read */
    int wanted;            /* by the owner */
    int error;             /* -errno */
    const char *reason;
    bool ended;  /* the peer has sent a close frame */
    bool closed; /* so have we */
    bool more;   /* `in` may have something to be read */
    bool leaving;
    ev_timer kick;
};

static struct websocket *self(struct transport *t) {
    return (struct websocket *)t;
}

/* -- the handshake ------------------------------------------------------------------------- */

void websocket_new_key(char key[WEBSOCKET_KEY_SIZE]) {
    unsigned char bytes[16] = {0};
    if (getrandom(bytes, sizeof bytes, 0) < 0)
        abort();
    EVP_EncodeBlock((unsigned char *)key, bytes, sizeof bytes);
}

void websocket_accept_of(const char *key, char accept[WEBSOCKET_ACCEPT_SIZE]) {
    static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 §1.3 */
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[WEBSOCKET_KEY_SIZE + sizeof GUID];
    strcpy(stpcpy(text, key), GUID);
    if (!EVP_Digest(text, strlen(text), digest, NULL, EVP_sha1(), NULL))
        abort();
    EVP_EncodeBlock((unsigned char *)accept, digest, 20);
}

const char *websocket_find_fault(const struct http_answer *answer, const char *key,
                                 const char *protocol) {
    char accept[WEBSOCKET_ACCEPT_SIZE];
    websocket_accept_of(key, accept);
    if (!http_has(answer, "upgrade", "websocket") || !http_has(answer, "connection", "upgrade"))
        return "the answer is no upgrade to a WebSocket";
    if (!http_is(answer, "sec-websocket-accept", accept))
        return "the answer is not to our WebSocket key";
    if (!http_has(answer, "sec-websocket-protocol", protocol))
        return "the server's WebSocket does not speak MQTT";
    return NULL;
}

/* -- out ----------------------------------------------------------------------------------- */

static void put_frame(struct websocket *w, int opcode, const void *data, size_t len) {
    uint8_t head[HEAD_MAX] = {(uint8_t)(FIN | opcode)}, mask[4];
    size_t n = 2;
    if (getrandom(mask, sizeof mask, 0) < 0)
        abort();
    if (len < 126) {
        head[1] = (uint8_t)(MASKED | len);
    } else { /* len <= WRITE_MAX */
        head[1] = MASKED | 126;
        head[n++] = (uint8_t)(len >> 8);
        head[n++] = (uint8_t)len;
    }
    memcpy(head + n, mask, sizeof mask);
    buffer_append(&w->out, head, n + sizeof mask);
    buffer_append(&w->out, data, len);
    size_t at = w->out.head + w->out.len - len;
    for (size_t i = 0; i < len; i++)
        w->out.data[at + i] ^= (char)mask[i % 4];
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
    put_frame(w, BINARY, data, n);
    err = flush(w);
    if (err && err != -EAGAIN)
        return err;
    update_wants(w);
    return (ssize_t)n;
}

static int send_close(struct websocket *w) {
    static const uint8_t NORMAL[] = {1000 >> 8, 1000 & 0xff}; /* RFC 6455 §7.4.1 */
    if (!w->closed)
        put_frame(w, CLOSE, NORMAL, sizeof NORMAL);
    w->closed = true;
    return flush(w);
}

/* -- in ------------------------------------------------------------------------------------ */

static int fail(struct websocket *w, int error, const char *reason) {
    w->reason = reason;
    return w->error = error;
}

struct frame {
    int opcode;
    size_t head;
    uint64_t len;
};

/* The frame that `in` begins with: 1, 0 when its head is not all there, -EPROTO. */
static int parse_head(struct websocket *w, struct frame *f) {
    const uint8_t *p = (const uint8_t *)buffer_head(&w->in);
    if (w->in.len < 2)
        return 0;
    f->opcode = p[0] & 0x0f;
    f->len = p[1] & 0x7f;
    int bytes = f->len == 127 ? 8 : f->len == 126 ? 2 : 0;
    f->head = 2 + (size_t)bytes;
    if (p[0] & 0x70 || p[1] & MASKED)
        return fail(w, -EPROTO, "the server's WebSocket frame is not legal");
    if (w->in.len < f->head)
        return 0;
    for (int i = 0; i < bytes; i++)
        f->len = (i ? f->len << 8 : 0) | p[2 + i];
    return 1;
}

static int take_control(struct websocket *w, const struct frame *f) {
    if (f->len > CONTROL_MAX)
        return fail(w, -EPROTO, "the server's WebSocket frame is not legal");
    if (w->in.len < f->head + f->len)
        return 0;
    if (f->opcode == PING && !w->closed && w->out.len < QUEUE_MAX)
        put_frame(w, PONG, buffer_head(&w->in) + f->head, (size_t)f->len);
    w->ended = w->ended || f->opcode == CLOSE;
    buffer_consume(&w->in, f->head + (size_t)f->len);
    return 1;
}

/* The next frame's head: 1 when there is something to be read or to go on with, 0, -errno. */
static int next_frame(struct websocket *w) {
    struct frame f;
    int known = parse_head(w, &f);
    if (known <= 0)
        return known;
    if (f.opcode == CLOSE || f.opcode == PING || f.opcode == PONG)
        return take_control(w, &f);
    if (f.opcode != BINARY && f.opcode != CONTINUATION)
        return fail(w, -EPROTO, "the server's WebSocket sends text");
    buffer_consume(&w->in, f.head);
    w->left = f.len;
    return 1;
}

static size_t take(struct websocket *w, char *data, size_t len) {
    size_t n = w->in.len < len ? w->in.len : len;
    n = w->left < n ? (size_t)w->left : n;
    if (!n)
        return 0;
    memcpy(data, buffer_head(&w->in), n);
    buffer_consume(&w->in, n);
    w->left -= n;
    return n;
}

/* What `in` has of payloads. */
static size_t unpack(struct websocket *w, char *data, size_t len) {
    size_t total = 0;
    while (total < len && !w->ended && !w->error) {
        size_t n = take(w, data + total, len - total);
        total += n;
        if (n == 0 && (w->left > 0 || next_frame(w) <= 0))
            break;
    }
    return total;
}

static ssize_t ws_read(struct transport *base, void *data, size_t len) {
    static char scratch[READ_BYTES];
    struct websocket *w = self(base);
    ssize_t got = 0;
    for (;;) {
        size_t n = unpack(w, data, len);
        w->more = n > 0;
        if (n)
            return (ssize_t)n;
        if (w->ended || w->error)
            return w->error;
        got = w->lower->ops->read(w->lower, scratch, sizeof scratch);
        if (got <= 0)
            break;
        buffer_append(&w->in, scratch, (size_t)got);
    }
    if (w->out.len)
        flush(w);
    return got;
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
    int err = w->error ? w->error : send_close(w);
    update_wants(w);
    return err == -EAGAIN ? 0 : err;
}

static int ws_leave(struct transport *base) {
    struct websocket *w = self(base);
    if (w->error)
        return 0;
    w->leaving = true;
    int err = send_close(w);
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
    .reason = ws_reason,
    .leave = ws_leave,
    .free = ws_free,
};

struct transport *websocket_transport(struct transport *lower, struct buffer early) {
    struct websocket *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->base = (struct transport){.ops = &OPS, .patience = lower->patience};
    w->lower = lower;
    w->in = early;
    w->more = early.len > 0;
    lower->owner = w;
    lower->on_ready = on_lower;
    ev_init(&w->kick, on_kick);
    w->kick.data = w;
    return &w->base;
}
