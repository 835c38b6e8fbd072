/*
 * Datagram sockets that talk to many peers at once.
 *
 * Linux tells an unconnected socket of ICMP errors only with IP_RECVERR, and then twice: once as
 * the result of whatever call comes next, which may be about another peer, and once in the error
 * queue, with the address it belongs to. So a failed call is tried again, and errors are taken from
 * the queue alone.
 */
#include "host/udp.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <string.h>
#include <unistd.h>

#include "host/loop.h"
#include "host/nat64.h"

static int set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

/* Without the privilege, the address a socket is bound to has to do. */
static int set_device(int fd, const char *device) {
    socklen_t len = (socklen_t)strlen(device) + 1;
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, len) == 0 || errno == EPERM)
        return 0;
    return -errno;
}

static int set_family(int fd, int family) {
    if (family == AF_INET)
        return set(fd, IPPROTO_IP, IP_RECVERR, 1);
    int err = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    return err ? err : set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
}

static int prepare(int fd, const struct udp_options *options) {
    int err = set_family(fd, options->local.any.sa_family);
    if (!err && options->reuse)
        err = set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (!err && options->reuse)
        err = set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!err && options->interface)
        err = set_device(fd, options->interface);
    if (!err && bind(fd, &options->local.any, options->local.len) < 0)
        err = -errno;
    return err;
}

static void on_io(struct ev_loop *l, ev_io *w, int events) {
    (void)events;
    struct udp *u = w->data;
    ev_io_stop(l, w);
    u->on_ready(u);
}

int udp_open(struct udp *u, const struct udp_options *options) {
    int family = options->local.any.sa_family;
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
    if (fd < 0)
        return -errno;
    int err = prepare(fd, options);
    if (err) {
        close(fd);
        return err;
    }
    ev_io_init(&u->io, on_io, fd, EV_READ);
    u->io.data = u;
    u->family = family;
    u->open = true;
    return 0;
}

void udp_want(struct udp *u, bool on) {
    if (!u->open)
        return;
    if (on)
        ev_io_start(loop_get(), &u->io);
    else
        ev_io_stop(loop_get(), &u->io);
}

static ssize_t send_once(int fd, const void *data, size_t len, const struct inet_addr *to) {
    ssize_t n;
    do
        n = sendto(fd, data, len, MSG_NOSIGNAL, &to->any, to->len);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t udp_sendto(struct udp *u, const void *data, size_t len, const struct inet_addr *to) {
    if (!u->open)
        return -EBADF;
    struct inet_addr target = *to;
    if (nat64_translate(&target, u->family))
        u->translates = true;
    if (target.any.sa_family != u->family)
        return -EAFNOSUPPORT;
    ssize_t n = send_once(u->io.fd, data, len, &target);
    if (n >= 0 || n == -EAGAIN)
        return n;
    return send_once(u->io.fd, data, len, &target);
}

static const struct sock_extended_err *find_error(struct msghdr *msg) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
        if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
            (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
            return (const struct sock_extended_err *)CMSG_DATA(c);
    return NULL;
}

/* The oldest error that came by ICMP, as -errno, with the address it is about; -EAGAIN: none. */
static int take_error(int fd, struct inet_addr *peer) {
    for (;;) {
        _Alignas(struct cmsghdr) char control[512];
        struct msghdr msg = {.msg_name = &peer->any,
                             .msg_namelen = sizeof peer->v6,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
        if (recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            return peer->len = 0, -EAGAIN;
        peer->len = msg.msg_namelen;
        const struct sock_extended_err *error = find_error(&msg);
        if (error && error->ee_errno && error->ee_origin != SO_EE_ORIGIN_LOCAL)
            return -(int)error->ee_errno;
    }
}

static ssize_t receive_once(int fd, void *data, size_t len, struct inet_addr *peer) {
    ssize_t n;
    do {
        peer->len = sizeof peer->v6;
        n = recvfrom(fd, data, len, 0, &peer->any, &peer->len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t receive(struct udp *u, void *data, size_t len, struct inet_addr *peer) {
    ssize_t n = receive_once(u->io.fd, data, len, peer);
    if (n >= 0)
        return n;
    int err = take_error(u->io.fd, peer);
    if (err != -EAGAIN || n == -EAGAIN)
        return err;
    n = receive_once(u->io.fd, data, len, peer);
    if (n < 0)
        peer->len = 0;
    return n;
}

ssize_t udp_recvfrom(struct udp *u, void *data, size_t len, struct inet_addr *peer) {
    if (!u->open)
        return peer->len = 0, -EBADF;
    ssize_t n = receive(u, data, len, peer);
    if (peer->len && u->translates)
        nat64_translate_back(peer);
    return n;
}

int udp_local(const struct udp *u, struct inet_addr *addr) {
    if (!u->open)
        return -EBADF;
    addr->len = sizeof addr->v6;
    return getsockname(u->io.fd, &addr->any, &addr->len) < 0 ? -errno : 0;
}

void udp_close(struct udp *u) {
    if (!u->open)
        return;
    udp_want(u, false);
    close(u->io.fd);
    u->open = false;
}
