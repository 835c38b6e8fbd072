/*
 * Addresses are tried in turns, IPv4, IPv6, IPv4 ..., each a quarter of a second after the one
 * before, or at once when that has failed (RFC 8305 §5): the first that accepts is taken. A
 * certificate that is not good ends it, since it would be the same behind another address.
 */
#include "host/mqtt/carrier.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/fd.h"
#include "host/loop.h"
#include "host/mqtt/authority.h"
#include "host/resolve.h"
#include "host/tcp.h"
#include "host/tls.h"

#define ADDRESSES_MAX 8
#define STAGGER_S 0.25 /* RFC 8305 §5 */
#define STEP_MAX 300
#define REASON_MAX 400

struct mqtt_carrier {
    const struct mqtt_options *options;
    void (*on_done)(void *, struct stream *, const struct mqtt_carrier_failure *);
    void *owner;
    char step[STEP_MAX];
    struct resolve *resolve;
    struct inet_addr addresses[ADDRESSES_MAX];
    int count, next;
    ev_io tries[ADDRESSES_MAX]; /* active while its connect() is out */
    int pending;                /* how many are */
    int error;                  /* of the last address that failed */
    ev_timer timer;             /* the next address; at first: the beginning */
    struct stream *stream;      /* while TLS shakes hands */
};

static void stop_tries(struct mqtt_carrier *c) {
    ev_timer_stop(loop_get(), &c->timer);
    for (int i = 0; i < c->count; i++)
        if (ev_is_active(&c->tries[i])) {
            ev_io_stop(loop_get(), &c->tries[i]);
            close(c->tries[i].fd);
        }
}

static void destroy(struct mqtt_carrier *c) {
    resolve_free(c->resolve);
    stop_tries(c);
    if (c->stream)
        stream_abort(c->stream);
    free(c);
}

static void fail(struct mqtt_carrier *c, int error, const char *reason) {
    char text[STEP_MAX + REASON_MAX + sizeof ": "];
    snprintf(text, sizeof text, "%s: %.*s", c->step, REASON_MAX, reason);
    struct mqtt_carrier_failure failure = {strerrorname_np(abs(error)), text};
    void (*on_done)(void *, struct stream *, const struct mqtt_carrier_failure *) = c->on_done;
    void *owner = c->owner;
    destroy(c);
    on_done(owner, NULL, &failure);
}

static void succeed(struct mqtt_carrier *c) {
    void (*on_done)(void *, struct stream *, const struct mqtt_carrier_failure *) = c->on_done;
    void *owner = c->owner;
    struct stream *stream = c->stream;
    stream->on_event = NULL;
    c->stream = NULL;
    destroy(c);
    on_done(owner, stream, NULL);
}

/* -- TLS ------------------------------------------------------------------------------------- */

static struct transport *wrap(struct transport *lower, struct buffer early, void *arg) {
    const struct mqtt_carrier *c = arg;
    struct tls_context *context = mqtt_authority(c->options->ca);
    if (!context)
        return lower;
    struct tls_expected expected = {.host = c->options->host};
    struct transport *t = tls_transport(context, TLS_CLIENT, lower, early, &expected);
    tls_context_unref(context);
    return t;
}

static void shake(struct mqtt_carrier *c) {
    int err = tls_handshake(c->stream->transport);
    if (err == 0) {
        succeed(c);
        return;
    }
    if (err == -EAGAIN) {
        stream_want_read(c->stream);
        return;
    }
    const char *words = transport_reason(c->stream->transport);
    fail(c, err, words ? words : strerror(-err));
}

static void on_stream(struct stream *s, int events) {
    (void)events;
    shake(s->owner);
}

static void begin_tls(struct mqtt_carrier *c) {
    strcpy(c->step, "TLS");
    const struct transport *plain = c->stream->transport;
    stream_wrap(c->stream, wrap, c);
    if (c->stream->transport == plain) {
        fail(c, ENOENT, "no certificates of authorities can be read");
        return;
    }
    c->stream->owner = c;
    c->stream->on_event = on_stream;
    shake(c);
}

/* -- TCP ------------------------------------------------------------------------------------- */

static void connect_next(struct mqtt_carrier *c);

static void connected(struct mqtt_carrier *c, int fd) {
    stop_tries(c);
    c->stream = stream_new(fd_transport(fd, true));
    if (c->options->tls)
        begin_tls(c);
    else
        succeed(c);
}

static void on_writable(struct ev_loop *loop, ev_io *w, int events) {
    (void)events;
    struct mqtt_carrier *c = w->data;
    int err = tcp_connected(w->fd);
    ev_io_stop(loop, w);
    c->pending--;
    if (!err) {
        connected(c, w->fd);
        return;
    }
    close(w->fd);
    c->error = err;
    connect_next(c);
}

static int start_connect(struct mqtt_carrier *c, int at) {
    const struct inet_addr *address = &c->addresses[at];
    struct tcp_options options = {0};
    int fd = tcp_socket(address->any.sa_family, &options);
    int err = fd < 0 ? fd : tcp_connect(fd, address);
    if (err && err != -EINPROGRESS) {
        if (fd >= 0)
            close(fd);
        return err;
    }
    ev_io_init(&c->tries[at], on_writable, fd, EV_WRITE);
    c->tries[at].data = c;
    ev_io_start(loop_get(), &c->tries[at]);
    c->pending++;
    return 0;
}

static void connect_next(struct mqtt_carrier *c) {
    ev_timer_stop(loop_get(), &c->timer);
    while (c->next < c->count) {
        int err = start_connect(c, c->next++);
        if (!err) {
            ev_timer_set(&c->timer, STAGGER_S, 0);
            ev_timer_start(loop_get(), &c->timer);
            return;
        }
        c->error = err;
    }
    if (!c->pending)
        fail(c, c->error, strerror(-c->error));
}

/* -- the name -------------------------------------------------------------------------------- */

/* The at-th address of the family, or NULL. */
static const struct inet_addr *nth(const struct resolve *r, int family, int at) {
    for (int i = 0; i < resolve_count(r); i++)
        if (resolve_address(r, i)->any.sa_family == family && at-- == 0)
            return resolve_address(r, i);
    return NULL;
}

static void take_addresses(struct mqtt_carrier *c) {
    static const int FAMILIES[] = {AF_INET, AF_INET6};
    int count = resolve_count(c->resolve);
    for (int i = 0; i < 2 * count && c->count < ADDRESSES_MAX; i++) {
        const struct inet_addr *address = nth(c->resolve, FAMILIES[i % 2], i / 2);
        if (!address)
            continue;
        c->addresses[c->count] = *address;
        inet_set_port(&c->addresses[c->count++], c->options->port);
    }
}

static void on_resolved(void *owner) {
    struct mqtt_carrier *c = owner;
    int count = resolve_count(c->resolve);
    if (count <= 0) {
        fail(c, count, resolve_message(c->resolve));
        return;
    }
    take_addresses(c);
    strcpy(c->step, "TCP connect");
    ev_now_update(loop_get());
    connect_next(c);
}

static void begin(struct mqtt_carrier *c) {
    c->resolve = resolve_start(c->options->host, AF_UNSPEC, on_resolved, c);
    if (!c->resolve)
        fail(c, errno, strerror(errno));
    else if (resolve_is_done(c->resolve))
        on_resolved(c);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct mqtt_carrier *c = w->data;
    if (c->resolve)
        connect_next(c);
    else
        begin(c);
}

/* -- for others ------------------------------------------------------------------------------ */

struct mqtt_carrier *mqtt_carrier_start(const struct mqtt_options *options,
                                        void (*on_done)(void *, struct stream *,
                                                        const struct mqtt_carrier_failure *),
                                        void *owner) {
    struct mqtt_carrier *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->options = options;
    c->on_done = on_done;
    c->owner = owner;
    snprintf(c->step, sizeof c->step, "cannot resolve '%.255s'", options->host);
    c->error = -EADDRNOTAVAIL;
    ev_timer_init(&c->timer, on_timer, 0, 0);
    c->timer.data = c;
    ev_timer_start(loop_get(), &c->timer);
    return c;
}

void mqtt_carrier_stop(struct mqtt_carrier *c) {
    if (c)
        destroy(c);
}

const char *mqtt_carrier_step(const struct mqtt_carrier *c) {
    return c->step;
}
