/*
 * Addresses are tried in turns, IPv4, IPv6, IPv4 ..., each a quarter of a second after the one
 * before, or at once when that has failed (RFC 8305 §5): the first that accepts is taken. A
 * certificate that is not good ends it, since it would be the same behind another address. What
 * comes between us and the broker is asked in turn, layer by layer: a proxy, TLS, a WebSocket.
 */
#include "host/mqtt/carrier.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/fd.h"
#include "host/loop.h"
#include "host/mqtt/authority.h"
#include "host/mqtt/http.h"
#include "host/mqtt/websocket.h"
#include "host/resolve.h"
#include "host/tcp.h"
#include "host/tls.h"
#include "host/websocket.h"

#define ADDRESSES_MAX 8
#define STAGGER_S 0.25 /* RFC 8305 §5 */
#define STEP_MAX 300
#define REASON_MAX 400
#define CREDENTIALS_MAX 510 /* characters of a proxy's user and password, and a colon */

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
    struct stream *stream;      /* from then on */
    enum { TCP, PROXY, TLS, WEBSOCKET } layer;
    char key[WEBSOCKET_KEY_SIZE];
    const char *fault; /* of TLS's files */
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

static void fail_with(struct mqtt_carrier *c, const char *code, const char *reason) {
    char text[STEP_MAX + REASON_MAX + sizeof ": "];
    snprintf(text, sizeof text, "%s: %.*s", c->step, REASON_MAX, reason);
    struct mqtt_carrier_failure failure = {code, text};
    void (*on_done)(void *, struct stream *, const struct mqtt_carrier_failure *) = c->on_done;
    void *owner = c->owner;
    destroy(c);
    on_done(owner, NULL, &failure);
}

static void fail(struct mqtt_carrier *c, int error, const char *reason) {
    fail_with(c, strerrorname_np(abs(error)), reason);
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

static void next_layer(struct mqtt_carrier *c);

/* -- HTTP: the proxy and the WebSocket ------------------------------------------------------- */

static const char *http_code(int status) {
    return status == 401 || status == 403 || status == 407 ? "EACCES" : "ECONNREFUSED";
}

static void fail_by_status(struct mqtt_carrier *c, const struct http_answer *answer) {
    char text[REASON_MAX];
    snprintf(text, sizeof text, "%s refuses: %d %s", c->layer == PROXY ? "the proxy" : "the broker",
             answer->status, answer->reason);
    fail_with(c, http_code(answer->status), text);
}

static struct transport *wrap_websocket(struct transport *lower, struct buffer early, void *arg) {
    (void)arg;
    return websocket_transport(lower, early, WEBSOCKET_CLIENT);
}

static void take_proxy(struct mqtt_carrier *c, const struct http_answer *answer) {
    if (answer->status / 100 != 2)
        fail_by_status(c, answer);
    else if (c->stream->in.len > answer->len)
        fail(c, EPROTO, "what the proxy sends is not expected");
    else {
        buffer_consume(&c->stream->in, answer->len);
        next_layer(c);
    }
}

static void take_websocket(struct mqtt_carrier *c, const struct http_answer *answer) {
    const char *fault = websocket_find_fault(answer, c->key, "mqtt");
    if (answer->status != 101)
        fail_by_status(c, answer);
    else if (fault)
        fail(c, EPROTO, fault);
    else {
        buffer_consume(&c->stream->in, answer->len);
        stream_wrap(c->stream, wrap_websocket, c);
        next_layer(c);
    }
}

static void fail_to_read(struct mqtt_carrier *c, ssize_t n) {
    const char *words = transport_reason(c->stream->transport);
    if (n == 0)
        fail(c, ECONNRESET, "the connection was closed instead of an answer");
    else
        fail(c, (int)n, words ? words : strerror((int)-n));
}

static void read_answer(struct mqtt_carrier *c) {
    struct http_answer answer;
    ssize_t n = stream_fill(c->stream), head;
    if (n <= 0 && n != -EAGAIN) {
        fail_to_read(c, n);
        return;
    }
    head = http_parse(buffer_head(&c->stream->in), c->stream->in.len, &answer);
    if (head == 0)
        stream_want_read(c->stream);
    else if (head < 0)
        fail(c, EPROTO, "this port does not speak HTTP");
    else if (c->layer == PROXY)
        take_proxy(c, &answer);
    else
        take_websocket(c, &answer);
}

/* HOST:PORT, as it stands in a request. */
static void write_authority(const struct mqtt_carrier *c, char *text, size_t size) {
    bool is_v6 = strchr(c->options->host, ':') != NULL;
    snprintf(text, size, is_v6 ? "[%.255s]:%d" : "%.255s:%d", c->options->host, c->options->port);
}

static void ask(struct mqtt_carrier *c, const char *request) {
    if (stream_write(c->stream, request, strlen(request)) < 0)
        fail(c, c->stream->write_error, strerror(-c->stream->write_error));
    else
        stream_want_read(c->stream);
}

/* "Proxy-Authorization: Basic ...", or nothing. */
static void write_credentials(const struct mqtt_carrier *c, char *text, size_t size) {
    char plain[CREDENTIALS_MAX + 1], coded[CREDENTIALS_MAX * 4 / 3 + 5];
    *text = '\0';
    if (!c->options->proxy.user)
        return;
    const char *pass = c->options->proxy.pass;
    int n = snprintf(plain, sizeof plain, "%s:%s", c->options->proxy.user, pass ? pass : "");
    n = n < CREDENTIALS_MAX ? n : CREDENTIALS_MAX;
    EVP_EncodeBlock((unsigned char *)coded, (unsigned char *)plain, n);
    snprintf(text, size, "Proxy-Authorization: Basic %s\r\n", coded);
}

static void begin_proxy(struct mqtt_carrier *c) {
    char to[STEP_MAX], credentials[CREDENTIALS_MAX * 2],
        request[3 * STEP_MAX + CREDENTIALS_MAX * 2];
    strcpy(c->step, "proxy");
    write_authority(c, to, sizeof to);
    write_credentials(c, credentials, sizeof credentials);
    snprintf(request, sizeof request, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", to, to,
             credentials);
    ask(c, request);
}

static void begin_websocket(struct mqtt_carrier *c) {
    char to[STEP_MAX], request[2 * STEP_MAX + MQTT_WEBSOCKET_PATH_MAX];
    strcpy(c->step, "WebSocket");
    write_authority(c, to, sizeof to);
    websocket_new_key(c->key);
    snprintf(request, sizeof request,
             "GET %.*s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Protocol: mqtt\r\n\r\n",
             MQTT_WEBSOCKET_PATH_MAX, c->options->websocket, to, c->key);
    ask(c, request);
}

/* -- TLS ------------------------------------------------------------------------------------- */

static struct transport *wrap(struct transport *lower, struct buffer early, void *arg) {
    struct mqtt_carrier *c = arg;
    const struct mqtt_options *o = c->options;
    struct tls_context *context = mqtt_authority(o->ca, o->cert, o->key, &c->fault);
    if (!context)
        return lower;
    struct tls_expected expected = {.host = o->host};
    struct transport *t = tls_transport(context, TLS_CLIENT, lower, early, &expected);
    tls_context_unref(context);
    return t;
}

static void shake(struct mqtt_carrier *c) {
    int err = tls_handshake(c->stream->transport);
    if (err == 0) {
        next_layer(c);
        return;
    }
    if (err == -EAGAIN) {
        stream_want_read(c->stream);
        return;
    }
    char text[REASON_MAX];
    const char *words = transport_reason(c->stream->transport);
    snprintf(text, sizeof text, "%s%s", words ? words : strerror(-err),
             err == -ECONNRESET || err == -EPROTO ? " (does this port speak TLS?)" : "");
    fail(c, err, text);
}

static void begin_tls(struct mqtt_carrier *c) {
    strcpy(c->step, "TLS");
    const struct transport *plain = c->stream->transport;
    stream_wrap(c->stream, wrap, c);
    if (c->stream->transport == plain) {
        fail(c, ENOENT, c->fault);
        return;
    }
    shake(c);
}

/* -- layer by layer -------------------------------------------------------------------------- */

static void on_stream(struct stream *s, int events) {
    struct mqtt_carrier *c = s->owner;
    if (c->layer == TLS)
        shake(c);
    else if (events & EV_READ)
        read_answer(c);
}

static void next_layer(struct mqtt_carrier *c) {
    const struct mqtt_options *o = c->options;
    if (c->layer < PROXY && o->proxy.host) {
        c->layer = PROXY;
        begin_proxy(c);
    } else if (c->layer < TLS && o->tls) {
        c->layer = TLS;
        begin_tls(c);
    } else if (c->layer < WEBSOCKET && o->websocket) {
        c->layer = WEBSOCKET;
        begin_websocket(c);
    } else {
        succeed(c);
    }
}

/* -- TCP ------------------------------------------------------------------------------------- */

static void connect_next(struct mqtt_carrier *c);

static void connected(struct mqtt_carrier *c, int fd) {
    stop_tries(c);
    c->stream = stream_new(fd_transport(fd, true));
    c->stream->owner = c;
    c->stream->on_event = on_stream;
    next_layer(c);
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

static const char *host_to_connect(const struct mqtt_carrier *c) {
    return c->options->proxy.host ? c->options->proxy.host : c->options->host;
}

static int port_to_connect(const struct mqtt_carrier *c) {
    return c->options->proxy.host ? c->options->proxy.port : c->options->port;
}

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
        inet_set_port(&c->addresses[c->count++], port_to_connect(c));
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
    strcpy(c->step, c->options->proxy.host ? "TCP connect to the proxy" : "TCP connect");
    ev_now_update(loop_get());
    connect_next(c);
}

static void begin(struct mqtt_carrier *c) {
    c->resolve = resolve_start(host_to_connect(c), AF_UNSPEC, on_resolved, c);
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
    snprintf(c->step, sizeof c->step, "cannot resolve '%.255s'", host_to_connect(c));
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
