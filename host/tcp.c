/*
 * Connections get TCP_NODELAY (pipes carry messages), keep-alives (dead peers are noticed) and thin
 * linear timeouts: on a bad line what is lost of a handshake or a message again is sent again soon.
 *
 * A connection that came about by a simultaneous open has no keep-alive timer, whatever was set
 * before (Linux 6.18): TCP_KEEPIDLE starts it when it is set again.
 */
#include "host/tcp.h"

#include <errno.h>
#include <linux/sockios.h>
#include <math.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "host/reserve.h"

#define KEEPALIVE_IDLE_S 60
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_PROBES 3
#define UNACKED_MAX_MS 60000 /* RFC 5482 user timeout */
#define SILENCE_SPENT 0.95   /* of the silence that is allowed, by keep-alive */
#define SILENCE_ENOUGH 0.85
#define CLOSED_S 86400.0 /* for which a window may be closed */
#define RTO_RTTS 4       /* round trips until what is lost is sent again, at most */
#define RTO_MAX_MS 120000
#define UNANSWERED 2 /* questions: one may have just left */

#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44 /* Linux 6.15; before it a closed window is asked about every 2 min */
#endif

static int set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

void tcp_tune(int fd) {
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKED_MAX_MS);
}

static bool get_info(int fd, struct tcp_info *info) {
    socklen_t len = sizeof *info;
    memset(info, 0, sizeof *info);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0;
}

double tcp_rtt(int fd) {
    struct tcp_info info;
    return get_info(fd, &info) ? info.tcpi_rtt * 1e-6 : -1;
}

/* How long bytes may be unacknowledged (RFC 5482). The kernel counts a window that the peer has
 * closed as well, though its peer is there and answers: see tcp_is_silent(). */
static int set_user_timeout(int fd, double seconds) {
    return set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(seconds * 1e3));
}

/* On a bad line it is no congestion when what is sent again is lost again. */
static void cap_timeout(int fd, double seconds) {
    double most = fmin(fmax(1, RTO_RTTS * tcp_rtt(fd)), fmax(1, seconds / 4));
    set(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, (int)(most * 1e3));
}

/* Keep-alive ends a connection at the first probe after the user timeout. */
int tcp_set_silence(int fd, double seconds) {
    int idle = seconds >= 4 ? (int)(seconds / 2) : 1;
    int left = (int)ceil(seconds * SILENCE_SPENT) - idle;
    int interval = left >= KEEPALIVE_PROBES ? left / KEEPALIVE_PROBES : 1;
    int err = set_user_timeout(fd, seconds * SILENCE_ENOUGH);
    if (err)
        return err;
    cap_timeout(fd, seconds);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval);
    return set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle);
}

void tcp_forgive_silence(int fd) {
    set_user_timeout(fd, 0);
    set(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, RTO_MAX_MS);
}

static int set_device(int fd, const char *device) {
    socklen_t len = (socklen_t)strlen(device) + 1;
    if (len > IFNAMSIZ) /* the kernel would cut it off, and might find another interface */
        return -ENODEV;
    return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, len) < 0 ? -errno : 0;
}

static int prepare(int fd, int family, const struct tcp_options *options) {
    int err = set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (!err && family == AF_INET6)
        err = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (!err && options->reuse_port)
        err = set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!err && options->device)
        err = set_device(fd, options->device);
    if (!err && options->local && bind(fd, &options->local->any, options->local->len) < 0)
        err = -errno;
    return err;
}

int tcp_socket(int family, const struct tcp_options *options) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return -errno;
    int err = prepare(fd, family, options);
    if (err < 0) {
        close(fd);
        return err;
    }
    return fd;
}

int tcp_connect(int fd, const struct inet_addr *remote) {
    tcp_tune(fd);
    return connect(fd, &remote->any, remote->len) < 0 ? -errno : 0;
}

int tcp_connected(int fd) {
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        return -errno;
    struct inet_addr local, remote;
    if (err || (err = -tcp_remote(fd, &remote)) || (err = -tcp_local(fd, &local)))
        return -err;
    return inet_equal(&local, &remote) ? -ECONNREFUSED : 0;
}

int tcp_listen(const struct tcp_options *options, int backlog) {
    int fd = tcp_socket(options->local->any.sa_family, options);
    if (fd < 0 || listen(fd, backlog) == 0)
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

static int accept_client(int fd, struct inet_addr *remote) {
    remote->len = sizeof remote->v6;
    int client;
    do
        client = accept4(fd, &remote->any, &remote->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (client < 0 && (errno == EINTR || errno == ECONNABORTED));
    return client < 0 ? -errno : client;
}

/* The next connection is reset with the descriptor in reserve; `err` when there was one. */
static int refuse_client(int fd, struct inet_addr *remote, int err) {
    static const struct linger RESET = {1, 0};
    int client = accept_client(fd, remote);
    if (client < 0)
        return client;
    setsockopt(client, SOL_SOCKET, SO_LINGER, &RESET, sizeof RESET);
    close(client);
    return err;
}

int tcp_accept(int fd, struct inet_addr *remote) {
    int client = accept_client(fd, remote);
    if ((client == -EMFILE || client == -ENFILE) && reserve_spend()) {
        client = refuse_client(fd, remote, client);
        reserve_restore();
    }
    if (client >= 0)
        tcp_tune(client);
    return client;
}

int tcp_local(int fd, struct inet_addr *addr) {
    addr->len = sizeof addr->v6;
    return getsockname(fd, &addr->any, &addr->len) < 0 ? -errno : 0;
}

int tcp_remote(int fd, struct inet_addr *addr) {
    addr->len = sizeof addr->v6;
    return getpeername(fd, &addr->any, &addr->len) < 0 ? -errno : 0;
}

bool tcp_is_closed(int fd) {
    struct tcp_info info;
    return get_info(fd, &info) && info.tcpi_state == TCP_CLOSE;
}

/* In flight, or a window that is closed: both are asked about again and again. */
bool tcp_is_silent(int fd, double seconds) {
    struct tcp_info info;
    if (!get_info(fd, &info))
        return false;
    bool is_closed = info.tcpi_unacked == 0;
    set_user_timeout(fd, is_closed ? CLOSED_S : seconds * SILENCE_ENOUGH);
    uint32_t last = info.tcpi_last_ack_recv < info.tcpi_last_data_recv ? info.tcpi_last_ack_recv
                                                                       : info.tcpi_last_data_recv;
    return info.tcpi_retransmits + info.tcpi_probes >= UNANSWERED &&
           last * 1e-3 >= seconds * SILENCE_ENOUGH;
}

int tcp_unacknowledged(int fd) {
    int left = 0;
    return ioctl(fd, SIOCOUTQ, &left) < 0 ? 0 : left;
}

void tcp_acknowledge(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}
