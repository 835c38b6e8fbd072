/*
 * Batches, because a system call per datagram is what limits a relay: those that were sent in one
 * burst leave by one call where the kernel can cut them (UDP_SEGMENT), and as many as have come are
 * fetched at once.
 */
#include "host/datagrams/udp.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/loop.h"
#include "host/nat64.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define BATCH_MAX 64               /* datagrams; the kernel cuts a write into as many */
#define BATCH_BYTES (48 * 1024)    /* below what one write to a UDP socket may carry */
#define FETCH_MAX 32               /* datagrams of one call */
#define FETCHES_MAX 8              /* calls in a row: others want to run too */
#define BUFFER_BYTES (1024 * 1024) /* of the kernel's, if it gives so much */

struct udp_datagrams {
    struct datagrams base;
    int fd;
    ev_io readable, writable;
    char *batch; /* NULL while empty */
    size_t len;  /* bytes in it */
    size_t head; /* of them, those that have left */
    uint16_t sizes[BATCH_MAX];
    int count, sent; /* sizes, and how many of them have left */
    bool segments;   /* the kernel cuts */
    int trouble;     /* to be told */
};

static struct udp_datagrams *self(struct datagrams *d) {
    return (struct udp_datagrams *)d;
}

static void report(struct udp_datagrams *u, int err) {
    if (u->base.on_trouble)
        u->base.on_trouble(&u->base, err);
}

/* -- sending ------------------------------------------------------------------------------- */

static void empty(struct udp_datagrams *u) {
    free(u->batch);
    u->batch = NULL;
    u->len = u->head = 0;
    u->count = u->sent = 0;
}

/* How many of those that wait the kernel can cut from one write: equal ones, and a shorter one. */
static int run_length(const struct udp_datagrams *u) {
    int n = 1;
    while (u->segments && u->sent + n < u->count) {
        if (u->sizes[u->sent + n] > u->sizes[u->sent])
            break;
        if (u->sizes[u->sent + n++] < u->sizes[u->sent])
            break;
    }
    return n;
}

static int send_run(const struct udp_datagrams *u, int n, size_t bytes) {
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct iovec part = {u->batch + u->head, bytes};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    if (n > 1) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
        memcpy(CMSG_DATA(c), &u->sizes[u->sent], sizeof(uint16_t));
    }
    return sendmsg(u->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* No op calls back. */
static void tell_later(struct udp_datagrams *u, int err) {
    if (err != -ECONNREFUSED)
        return;
    u->trouble = err;
    ev_feed_event(loop_get(), &u->readable, EV_READ);
    loop_wakeup();
}

/* A failure may belong to a datagram before (ICMP): so each is tried twice. */
static int send_some(struct udp_datagrams *u) {
    int n = run_length(u);
    size_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += u->sizes[u->sent + i];
    int err = send_run(u, n, bytes);
    if (err && err != -EAGAIN) {
        tell_later(u, err);
        err = send_run(u, n, bytes);
    }
    if (err == -EAGAIN)
        return err;
    if (err && n > 1) {
        u->segments = false;
        return 0;
    }
    u->sent += n;
    u->head += bytes;
    return 0;
}

static void udp_flush(struct datagrams *d) {
    struct udp_datagrams *u = self(d);
    while (u->sent < u->count)
        if (send_some(u) == -EAGAIN) {
            ev_io_start(loop_get(), &u->writable);
            return;
        }
    empty(u);
}

static bool is_full(const struct udp_datagrams *u, size_t len) {
    return u->count == BATCH_MAX || u->len + len > BATCH_BYTES;
}

static int udp_send(struct datagrams *d, const void *data, size_t len) {
    struct udp_datagrams *u = self(d);
    if (len > u->base.size_max)
        return -EMSGSIZE;
    if (is_full(u, len) && !ev_is_active(&u->writable))
        udp_flush(d);
    if (is_full(u, len))
        return -EAGAIN;
    if (!u->batch && !(u->batch = malloc(BATCH_BYTES)))
        abort();
    memcpy(u->batch + u->len, data, len);
    u->sizes[u->count++] = (uint16_t)len;
    u->len += len;
    return ev_is_active(&u->writable) ? -EAGAIN : 0;
}

static void on_writable(struct ev_loop *l, ev_io *w, int events) {
    (void)events;
    struct udp_datagrams *u = w->data;
    ev_io_stop(l, w);
    udp_flush(&u->base);
    if (!ev_is_active(w) && u->base.on_room)
        u->base.on_room(&u->base);
}

/* -- receiving ----------------------------------------------------------------------------- */

static int fetch(struct udp_datagrams *u) {
    static char data[FETCH_MAX][DATAGRAMS_SIZE_MAX];
    struct mmsghdr messages[FETCH_MAX] = {0};
    struct iovec parts[FETCH_MAX];
    for (int i = 0; i < FETCH_MAX; i++) {
        parts[i] = (struct iovec){data[i], sizeof data[i]};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int n = recvmmsg(u->fd, messages, FETCH_MAX, MSG_DONTWAIT, NULL);
    int err = n < 0 && errno != EAGAIN && errno != EINTR ? -errno : u->trouble;
    u->trouble = 0;
    if (err)
        report(u, err);
    for (int i = 0; i < n; i++)
        if (!(messages[i].msg_hdr.msg_flags & MSG_TRUNC))
            u->base.on_datagram(&u->base, data[i], messages[i].msg_len);
    return n;
}

static void on_readable(struct ev_loop *l, ev_io *w, int events) {
    (void)l, (void)events;
    struct udp_datagrams *u = w->data;
    for (int i = 0; i < FETCHES_MAX && fetch(u) == FETCH_MAX; i++)
        ;
    if (u->base.on_pause)
        u->base.on_pause(&u->base);
}

static void udp_receive(struct datagrams *d, bool on) {
    struct udp_datagrams *u = self(d);
    if (on)
        ev_io_start(loop_get(), &u->readable);
    else
        ev_io_stop(loop_get(), &u->readable);
}

/* -- the carrier --------------------------------------------------------------------------- */

static void udp_free(struct datagrams *d) {
    struct udp_datagrams *u = self(d);
    ev_io_stop(loop_get(), &u->readable);
    ev_io_stop(loop_get(), &u->writable);
    close(u->fd);
    empty(u);
    free(u);
}

static const struct datagrams_ops OPS = {udp_send, udp_flush, udp_receive, udp_free};

/* The error queue would make the socket readable for ever; and each buffer may stay as it was. */
static void tune(int fd, int family) {
    int off = 0, bytes = BUFFER_BYTES;
    if (family == AF_INET)
        setsockopt(fd, IPPROTO_IP, IP_RECVERR, &off, sizeof off);
    else
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &off, sizeof off);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

struct datagrams *udp_datagrams(struct udp *s, const struct inet_addr *peer) {
    if (!s->open) {
        errno = EBADF;
        return NULL;
    }
    struct inet_addr target = *peer;
    nat64_translate(&target, s->family);
    if (connect(s->io.fd, &target.any, target.len) < 0)
        return NULL;
    struct udp_datagrams *u = calloc(1, sizeof *u);
    if (!u)
        abort();
    udp_want(s, false);
    u->base.ops = &OPS;
    u->base.size_max = DATAGRAMS_SIZE_MAX;
    u->fd = s->io.fd;
    u->segments = true;
    s->open = false;
    tune(u->fd, s->family);
    ev_io_init(&u->readable, on_readable, u->fd, EV_READ);
    ev_io_init(&u->writable, on_writable, u->fd, EV_WRITE);
    u->readable.data = u->writable.data = u;
    return &u->base;
}
