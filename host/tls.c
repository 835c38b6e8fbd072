/*
 * TLS as a transport. OpenSSL reads and writes through the wire, which keeps what cannot leave at
 * once; a record counts as written when it has left. A write that OpenSSL could not finish is given
 * to it again (`retry`).
 *
 * Readiness is not what it is below: OpenSSL may hold bytes, an end or an error while the
 * descriptor is silent (`more`: a zero timer tells the stream) and may have to write in order to
 * read (`read_needs`). A key's limit (RFC 8446 §5.5) is kept by a key update, for which nothing is
 * asked of the peer. That is also why the kernel does not encrypt: OpenSSL 3.0 could not give it a
 * new key.
 */
#include "host/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "host/loop.h"
#include "host/tls/context.h"
#include "host/tls/failure.h"
#include "host/tls/wire.h"

#define RECORD_MAX (16 * 1024) /* RFC 8446 §5.1 */
#define KEY_UPDATES_MAX 32     /* in a row: each costs as much as a hundred records */
#define NO_PROOF "no proof that the peer knows the node id"

struct tls {
    struct transport base;
    struct tls_wire wire;
    struct tls_context *context;
    SSL *ssl; /* NULL: OpenSSL could not make one, and `failure` is set */
    struct tls_pin pin;
    struct tls_failure failure; /* nothing is read or written any more */
    ev_timer kick;
    uint64_t records;    /* sent under the present key */
    uint64_t keys;       /* that we have sent with, of the application's data */
    int key_updates;     /* received since the last application data */
    size_t sealed;       /* bytes of the record that waits in `out` */
    size_t retry;        /* bytes of the write that OpenSSL could not finish */
    int wanted;          /* by the stream */
    int read_needs;      /* what a read waits for below */
    int handshake_needs; /* what the handshake does */
    bool started, open;
    bool heard;   /* the ClientHello has proved that the peer knows the id, or we are the client */
    bool ended;   /* close_notify has come */
    bool closing; /* the local one is to be sent */
    bool closed;  /* it has been given to OpenSSL */
    bool leaving; /* there is no reader or writer any more */
    bool wrote;   /* application bytes */
    bool more;    /* a read may find something although nothing comes from below */
};

static struct tls *self(struct transport *t) {
    return (struct tls *)t;
}

/* -- the way down -------------------------------------------------------------------------- */

static void attach(struct tls *t) {
    BIO *bio = tls_wire_bio(&t->wire);
    SSL_set_bio(t->ssl, bio, bio);
}

/* A peer that has us derive keys without end is not served: what follows is not even read. */
static void on_message(int sent, int version, int type, const void *data, size_t len, SSL *ssl,
                       void *arg) {
    (void)version, (void)ssl;
    struct tls *t = arg;
    if (sent || type != SSL3_RT_HANDSHAKE || !len || *(const uint8_t *)data != SSL3_MT_KEY_UPDATE)
        return;
    if (++t->key_updates > KEY_UPDATES_MAX)
        t->wire.drained = true;
}

/* -- what a call has come to --------------------------------------------------------------- */

/* Before each call of OpenSSL that judge() is to look at. */
static void prepare(struct tls *t) {
    ERR_clear_error();
    errno = 0;
    tls_wire_prepare(&t->wire);
}

static int below(const struct tls *t) {
    return t->wire.error ? t->wire.error : -errno;
}

static int fail_below(struct tls *t, int error) {
    return tls_failure_below(&t->failure, error, transport_reason(t->wire.lower), t->open);
}

/* A server that has asked for a certificate in vain, and hangs up, does so for that: its alert may
 * have been lost. */
static int blame(struct tls *t, int code) {
    bool hung_up = code == -ECONNRESET || code == -EPIPE || (!t->open && code == -EPROTO);
    return t->pin.asked && hung_up ? tls_failure_request(&t->failure) : code;
}

/* What the call that gave `result` waits for (EV_READ, EV_WRITE), 0 at the end, or -errno. */
static int judge(struct tls *t, int result) {
    int error = below(t);
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return EV_READ;
    case SSL_ERROR_WANT_WRITE:
        return EV_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        t->ended = true;
        return 0;
    case SSL_ERROR_SYSCALL:
        return blame(t, fail_below(t, error));
    default:
        return blame(t, tls_failure_protocol(&t->failure, t->ssl, t->open));
    }
}

/* -- the handshake and the end ------------------------------------------------------------- */

static bool is_shaking(const struct tls *t) {
    return !t->open && !t->failure.code;
}

static void finish(struct tls *t) {
    if (!t->pin.verified || SSL_session_reused(t->ssl)) {
        tls_failure_certificate(&t->failure, &t->pin);
        return;
    }
    t->keys = 1;
    t->open = t->more = true;
}

/* A server hears the ClientHello before OpenSSL does: whoever does not prove that he knows the
 * node's id gets no byte. 0, -EAGAIN, or why it failed. */
static int hear_proof(struct tls *t) {
    const struct buffer *early = &t->wire.early;
    ssize_t size;
    do {
        size = tls_proof_size(buffer_head(early), early->len);
        int error = size < 0 ? 0 : tls_wire_fill(&t->wire, (size_t)size);
        if (error)
            return error == -EAGAIN ? error : fail_below(t, error);
    } while (size == TLS_PROOF_HEADER);
    const uint8_t *key = tls_context_proof_key(t->context);
    t->heard = size > 0 && tls_proof_check(key, buffer_head(early), (size_t)size);
    return t->heard ? 0 : tls_failure_set(&t->failure, EPROTO, NO_PROOF);
}

static void advance(struct tls *t) {
    t->started = true;
    t->handshake_needs = EV_READ;
    if (!t->heard && hear_proof(t))
        return;
    prepare(t);
    int result = SSL_do_handshake(t->ssl);
    int need = result == 1 ? EV_WRITE : judge(t, result);
    int sent = tls_wire_flush(&t->wire);
    if (t->failure.code)
        return;
    if (need == 0 || (sent < 0 && sent != -EAGAIN))
        fail_below(t, sent);
    else if (result == 1 && sent == 0)
        finish(t);
    t->handshake_needs = need;
}

static void send_close(struct tls *t) {
    prepare(t);
    if (SSL_in_init(t->ssl))
        SSL_do_handshake(t->ssl);
    int result = t->closed ? 1 : SSL_shutdown(t->ssl);
    t->closed = result >= 0;
    bool later = !t->closed && SSL_get_error(t->ssl, result) == SSL_ERROR_WANT_WRITE;
    t->closing = later || tls_wire_flush(&t->wire) == -EAGAIN;
    ERR_clear_error();
    if (t->closed && !t->closing)
        t->wire.lower->ops->shutdown(t->wire.lower);
}

/* -- readiness ----------------------------------------------------------------------------- */

static int needs(const struct tls *t) {
    int sending = t->wire.out.len || t->closing ? EV_WRITE : 0;
    if (t->failure.code)
        return 0;
    if (is_shaking(t))
        return t->wanted ? t->handshake_needs | sending : 0;
    return (t->wanted & EV_READ ? t->read_needs : 0) | (t->wanted & EV_WRITE) | sending;
}

static bool is_due(const struct tls *t) {
    if (t->failure.code || !t->started)
        return t->wanted != 0;
    return t->open && t->more && (t->wanted & EV_READ);
}

static void update_needs(struct tls *t) {
    t->wire.lower->ops->want(t->wire.lower, needs(t));
    if (is_due(t) && !ev_is_active(&t->kick)) {
        ev_timer_set(&t->kick, 0, 0);
        ev_timer_start(loop_get(), &t->kick);
    }
}

/* `events` have come from below; what they mean for the stream. */
static int told(const struct tls *t, int events) {
    if (t->failure.code)
        return t->wanted;
    int read = t->more || (events & t->read_needs) ? EV_READ : 0;
    int write = (events & EV_WRITE) && !t->wire.out.len ? EV_WRITE : 0;
    return t->wanted & (read | write);
}

static void work(struct tls *t, int events) {
    if (is_shaking(t))
        advance(t);
    else if (events & EV_WRITE)
        tls_wire_flush(&t->wire);
    if (t->open && t->closing)
        send_close(t);
}

/* The stream may free us when it is told. */
static void on_events(struct tls *t, int events) {
    bool shaking = is_shaking(t);
    work(t, events);
    int tell = is_shaking(t) ? 0 : shaking ? t->wanted : told(t, events);
    tell |= t->leaving ? EV_READ | EV_WRITE : 0;
    if (tell)
        t->base.on_ready(&t->base, tell);
    else
        update_needs(t);
}

static void on_lower(struct transport *lower, int events) {
    on_events(lower->owner, events);
}

static void on_kick(struct ev_loop *l, ev_timer *w, int events) {
    (void)l, (void)events;
    on_events(w->data, 0);
}

/* -- the transport ------------------------------------------------------------------------- */

/* Records until `len` bytes are there or none is left: how many bytes. */
static size_t read_records(struct tls *t, char *data, size_t len) {
    size_t total = 0, n;
    prepare(t);
    t->more = true;
    while (total < len && !t->ended) {
        int result = SSL_read_ex(t->ssl, data + total, len - total, &n);
        if (result > 0) {
            total += n;
            t->key_updates = 0;
            t->pin.asked = false;
            continue;
        }
        int need = t->key_updates > KEY_UPDATES_MAX
                       ? tls_failure_set(&t->failure, EPROTO, "key updates without end")
                       : judge(t, result);
        if (need > 0) {
            t->read_needs = need;
            t->more = false;
        }
        if (need)
            break;
    }
    return total;
}

static ssize_t tls_read(struct transport *base, void *data, size_t len) {
    struct tls *t = self(base);
    if (is_shaking(t))
        return -EAGAIN;
    size_t n = t->failure.code ? 0 : read_records(t, data, len);
    if (n || t->ended)
        return (ssize_t)n;
    return t->failure.code ? t->failure.code : -EAGAIN;
}

static void renew_key(struct tls *t) {
    if (++t->records > tls_context_key_records(t->context) && SSL_version(t->ssl) == TLS1_3_VERSION)
        tls_rekey(&t->base, false);
}

static ssize_t write_record(struct tls *t, const void *data, size_t len) {
    size_t n;
    prepare(t);
    int result = SSL_write_ex(t->ssl, data, len, &n);
    t->retry = 0;
    if (result > 0)
        return (ssize_t)n;
    int error = below(t);
    if (SSL_get_error(t->ssl, result) == SSL_ERROR_SYSCALL && error)
        return t->wire.write_error = blame(t, error);
    int need = judge(t, result);
    if (need <= 0)
        return need ? need : -EPIPE;
    t->retry = len;
    return -EAGAIN;
}

/* The record in `out` has left: it is what the same bytes, offered again, are answered with. */
static size_t take_sealed(struct tls *t, size_t len) {
    size_t n = t->sealed < len ? t->sealed : len;
    t->sealed = 0;
    return n;
}

static ssize_t tls_write(struct transport *base, const void *data, size_t len) {
    struct tls *t = self(base);
    if (is_shaking(t))
        return -EAGAIN;
    int error = t->failure.code ? t->failure.code : t->wire.write_error;
    error = error ? error : tls_wire_flush(&t->wire);
    if (error)
        return error;
    if (t->sealed)
        return (ssize_t)take_sealed(t, len);
    if (!t->retry)
        renew_key(t);
    size_t offered = t->retry ? t->retry : len < RECORD_MAX ? len : RECORD_MAX;
    if (offered > len)
        return -EINVAL;
    t->wire.lower->more = base->more || offered < len;
    ssize_t n = write_record(t, data, offered);
    t->wire.lower->more = false;
    t->wrote = t->wrote || n > 0 || t->wire.out.len;
    if (n <= 0 || !t->wire.out.len)
        return n;
    t->sealed = (size_t)n;
    return -EAGAIN;
}

static int tls_shutdown(struct transport *base) {
    struct tls *t = self(base);
    if (t->failure.code)
        return t->failure.code;
    t->closing = t->closing || !t->closed;
    if (t->open && t->closing)
        send_close(t);
    update_needs(t);
    return 0;
}

static void tls_want(struct transport *base, int events) {
    struct tls *t = self(base);
    t->wanted = events;
    update_needs(t);
}

static int tls_fd(const struct transport *base) {
    const struct transport *lower = ((const struct tls *)base)->wire.lower;
    return lower->ops->fd(lower);
}

static size_t tls_unsent(const struct transport *base) {
    const struct tls *t = (const struct tls *)base;
    return t->wire.out.len + t->wire.lower->ops->unsent(t->wire.lower);
}

static double tls_rtt(const struct transport *base) {
    const struct transport *lower = ((const struct tls *)base)->wire.lower;
    return lower->ops->rtt(lower);
}

static void tls_set_silence(struct transport *base, double seconds) {
    struct transport *lower = self(base)->wire.lower;
    transport_set_silence(lower, seconds);
    base->patience = lower->patience;
}

static const char *tls_reason(const struct transport *base) {
    const struct tls *t = (const struct tls *)base;
    return t->failure.text ? t->failure.text : transport_reason(t->wire.lower);
}

static void tls_describe(const struct transport *base, transport_tell tell, void *arg) {
    const struct tls *t = (const struct tls *)base;
    const struct transport_fact facts[] = {
        {"tls", "protocol", FACT_TEXT, {.text = SSL_get_version(t->ssl)}},
        {"tls", "cipher", FACT_TEXT, {.text = SSL_get_cipher_name(t->ssl)}},
        {"tls", "keys", FACT_COUNT, {.count = t->keys}},
    };
    for (size_t i = 0; t->open && i < sizeof facts / sizeof *facts; i++)
        tell(arg, &facts[i]);
    transport_describe(t->wire.lower, tell, arg);
}

/* close_notify first; then it is the lower transport's turn. */
static int tls_leave(struct transport *base) {
    struct tls *t = self(base);
    struct transport *lower = t->wire.lower;
    if (!t->open || t->failure.code || t->wire.write_error)
        return 0;
    t->leaving = true;
    tls_shutdown(base);
    if (t->closing)
        return -EAGAIN;
    lower->peer_answers_end = t->wrote && !t->ended;
    return lower->ops->leave(lower);
}

static void tls_free(struct transport *base) {
    struct tls *t = self(base);
    ev_timer_stop(loop_get(), &t->kick);
    SSL_free(t->ssl);
    ERR_clear_error();
    transport_abort(t->wire.lower);
    tls_context_unref(t->context);
    tls_wire_fini(&t->wire);
    tls_failure_fini(&t->failure);
    free(t);
}

static const struct transport_ops OPS = {
    .read = tls_read,
    .write = tls_write,
    .shutdown = tls_shutdown,
    .want = tls_want,
    .fd = tls_fd,
    .detach = transport_no_detach,
    .unsent = tls_unsent,
    .rtt = tls_rtt,
    .set_silence = tls_set_silence,
    .reason = tls_reason,
    .describe = tls_describe,
    .leave = tls_leave,
    .free = tls_free,
};

static struct tls *new_tls(struct tls_context *context, struct transport *lower) {
    struct tls *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->base =
        (struct transport){.ops = &OPS, .retry_bytes = RECORD_MAX, .patience = lower->patience};
    t->context = tls_context_ref(context);
    t->read_needs = EV_READ;
    t->wire.lower = lower;
    lower->owner = t;
    lower->on_ready = on_lower;
    ev_init(&t->kick, on_kick);
    t->kick.data = t;
    return t;
}

struct transport *tls_transport(struct tls_context *context, enum tls_role role,
                                struct transport *lower, struct buffer early,
                                const struct tls_expected *expected) {
    struct tls *t = new_tls(context, lower);
    t->wire.early = early;
    t->heard = role == TLS_CLIENT;
    tls_pin_init(&t->pin, expected);
    t->ssl = tls_context_connection(context, role, &t->pin);
    if (t->ssl) {
        SSL_set_msg_callback(t->ssl, on_message);
        SSL_set_msg_callback_arg(t->ssl, t);
        attach(t);
    } else {
        tls_failure_set(&t->failure, ENOMEM, "OpenSSL cannot make a connection");
    }
    return &t->base;
}

/* -- what one can ask ---------------------------------------------------------------------- */

static const struct tls *to_tls(const struct transport *t) {
    return t->ops == &OPS ? (const struct tls *)t : NULL;
}

int tls_handshake(struct transport *base) {
    struct tls *t = self(base);
    if (is_shaking(t))
        advance(t);
    if (t->failure.code)
        return t->failure.code;
    return t->open ? 0 : -EAGAIN;
}

const char *tls_peer(const struct transport *base) {
    const struct tls *t = to_tls(base);
    if (!t || !t->open)
        return NULL;
    return t->pin.host[0] ? t->pin.host : t->pin.peer;
}

int tls_rekey(struct transport *base, bool both) {
    struct tls *t = base->ops == &OPS ? self(base) : NULL;
    if (!t)
        return -EOPNOTSUPP;
    if (!t->open || t->failure.code || t->closing || t->closed)
        return t->failure.code ? t->failure.code : -EPIPE;
    prepare(t);
    int kind = both ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
    if (t->retry || !SSL_key_update(t->ssl, kind))
        return -EBUSY;
    SSL_do_handshake(t->ssl);
    t->records = 1; /* the one that is to come */
    t->keys++;
    update_needs(t);
    return 0;
}
