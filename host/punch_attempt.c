/*
 * A socket is used for all the tries of its mapping: Linux lets a bound socket whose connect()
 * failed be dissolved (connect() to AF_UNSPEC sends nothing) and connected again. So a retry
 * needs no descriptor, and the port stays ours; but for one that the kernel chose, which it takes
 * back with the first failure: that is bound again at once, by its number.
 *
 * A low TTL lets the first SYN open our NAT and die before it meets the peer's. The router where it
 * dies tells, and that would end the socket: unless IP_MINTTL is set, against which the kernel
 * checks the TTL of the header that is quoted (IPv6 checks the ICMP packet's own instead, so there
 * is no such thing there).
 */
#include "punch_attempt.h"

#include <errno.h>
#include <unistd.h>

#include "tcp.h"

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
    if (m->ttl) {
        set_min_ttl(fd, QUOTED_TTL_MIN);
        set_ttl(fd, m->ttl);
        a->is_low = true;
    }
    a->fd = fd;
    a->floats = inet_port(&m->local) == 0;
    if (a->floats)
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

int attempt_verdict(const struct attempt *a) {
    int err = tcp_connected(a->fd);
    return err == -ECONNREFUSED && met_itself(a->fd) ? -ELOOP : err;
}

/* EADDRNOTAVAIL: a listener on our port has the 4-tuple, as a connection that it accepted. */
bool attempt_may_retry(int err) {
    return err != -EADDRNOTAVAIL && err != -ELOOP && err != -EINVAL && err != -EACCES &&
           err != -EAFNOSUPPORT;
}

int attempt_rewind(struct attempt *a) {
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    const struct inet_addr *local = &a->mapping.local;
    connect(a->fd, &nobody, sizeof nobody);
    attempt_raise_ttl(a);
    if (a->floats && bind(a->fd, &local->any, local->len) < 0)
        return -errno;
    a->floats = false;
    return 0;
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
