/*
 * Every try has a socket of its own: one that has failed keeps what ICMP messages left in its error
 * queue, and lets go of a port that the kernel chose. It stays open until the next one is bound to
 * the same port, which so is never free in between.
 *
 * A low TTL lets the first SYN open our NAT and die before it meets the peer's. The router where it
 * dies tells, and that would end the socket: unless IP_MINTTL is set, against which the kernel
 * checks the TTL of the header that is quoted (IPv6 checks the ICMP packet's own instead, so there
 * is no such thing there).
 */
#include "host/punch/attempt.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "host/tcp.h"

#define QUOTED_TTL_MIN 10 /* more than a header has left where it expires, less than a peer's */
#define TTL_USUAL (-1)    /* back to the system's */

static void set_ttl(int fd, int ttl) {
    setsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
}

static void set_min_ttl(int fd, int ttl) {
    setsockopt(fd, IPPROTO_IP, IP_MINTTL, &ttl, sizeof ttl);
}

static void note_port(struct attempt *a) {
    struct inet_addr local;
    if (tcp_local(a->fd, &local) == 0)
        inet_set_port(&a->mapping.local, inet_port(&local));
}

int attempt_open(struct attempt *a) {
    const struct punch_mapping *m = &a->mapping;
    struct tcp_options options = {
        .local = &m->local, .device = *m->device ? m->device : NULL, .reuse_port = true};
    int fd = tcp_socket(m->remote.any.sa_family, &options);
    if (fd < 0)
        return fd;
    tcp_tune(fd);
    a->is_low = m->ttl && a->state == ATTEMPT_NEW;
    if (a->is_low) {
        set_min_ttl(fd, QUOTED_TTL_MIN);
        set_ttl(fd, m->ttl);
    }
    a->fd = fd;
    if (inet_port(&m->local) == 0)
        note_port(a);
    return 0;
}

int attempt_connect(struct attempt *a) {
    const struct inet_addr *remote = &a->mapping.remote;
    return connect(a->fd, &remote->any, remote->len) < 0 ? -errno : 0;
}

static bool met_itself(int fd) {
    struct inet_addr local, remote;
    return tcp_remote(fd, &remote) == 0 && tcp_local(fd, &local) == 0 &&
           inet_equal(&local, &remote);
}

static bool is_out(int fd) {
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
    return info.tcpi_state == TCP_SYN_SENT || info.tcpi_state == TCP_SYN_RECV;
}

static void drain_errors(int fd) {
    struct msghdr nothing = {0};
    while (recvmsg(fd, &nothing, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0)
        ;
}

int attempt_verdict(const struct attempt *a) {
    if (is_out(a->fd)) {
        drain_errors(a->fd);
        return -EINPROGRESS;
    }
    int err = tcp_connected(a->fd);
    return err == -ECONNREFUSED && met_itself(a->fd) ? -ELOOP : err;
}

/* EADDRNOTAVAIL: a listener on our port has the 4-tuple, as a connection that it accepted. */
bool attempt_may_retry(int err) {
    return err != -EADDRNOTAVAIL && err != -ELOOP && err != -EINVAL && err != -EAFNOSUPPORT;
}

/* EACCES: IPv6, administratively prohibited (RFC 4443 §3.1). */
bool attempt_was_unreachable(int err) {
    return err == -EHOSTUNREACH || err == -ENETUNREACH || err == -EACCES;
}

int attempt_renew(struct attempt *a) {
    int failed = a->fd;
    int err = attempt_open(a);
    if (err == 0)
        close(failed);
    return err;
}

void attempt_raise_ttl(struct attempt *a) {
    if (a->is_low)
        set_ttl(a->fd, TTL_USUAL);
    a->is_low = false;
}

void attempt_settle(struct attempt *a) {
    attempt_raise_ttl(a);
    if (a->mapping.ttl)
        set_min_ttl(a->fd, 0);
}
