/* TCP sockets, non-blocking: made, bound, connected, listening. A descriptor, 0 or -errno. */
#ifndef P2PD_HOST_TCP_H
#define P2PD_HOST_TCP_H

#include <stdbool.h>

#include "host/inet.h"

struct tcp_options {
    const struct inet_addr *local; /* NULL: the kernel chooses */
    const char *device;            /* SO_BINDTODEVICE, or NULL */
    bool reuse_port;               /* SO_REUSEPORT: a listener and connectors on one port */
};

int tcp_socket(int family, const struct tcp_options *options);

/* No delay, keep-alives: what each connection gets. tcp_connect() and tcp_accept() see to it. */
void tcp_tune(int fd);

/* 0, or -EINPROGRESS: ask tcp_connected() once the descriptor is writable. */
int tcp_connect(int fd, const struct inet_addr *remote);

/* 0, or why there is no connection; -ECONNREFUSED when the socket has met itself. */
int tcp_connected(int fd);

int tcp_listen(const struct tcp_options *options, int backlog);

/* The next connection: a descriptor, -EAGAIN or -errno. When there are no descriptors left, -EMFILE
 * or -ENFILE, the next connection was reset with the one in reserve (host/reserve.h), so that the
 * listener does not stay readable; without a reserve it still waits. */
int tcp_accept(int fd, struct inet_addr *remote);

int tcp_local(int fd, struct inet_addr *addr);
int tcp_remote(int fd, struct inet_addr *addr);

/* The kernel's smoothed round trip in seconds, or -1. */
double tcp_rtt(int fd);

/* A connection whose peer is gone fails with ETIMEDOUT within so many seconds (2 at least). To be
 * called when it is established: keep-alive begins there. 0; or -errno: it is no TCP socket. */
int tcp_set_silence(int fd, double seconds);

/* To be asked now and then while bytes are unacknowledged: whether the peer's kernel has answered
 * nothing for most of so many seconds. One that answers that it has no room is there. */
bool tcp_is_silent(int fd, double seconds);

/* Whether nothing will leave or come any more: reset, or ended by both sides. */
bool tcp_is_closed(int fd);

/* Before a socket is closed that has something to send: the kernel ends such ones soon otherwise.
 */
void tcp_forgive_silence(int fd);

/* Acknowledges at once what has come, once: for a peer that keeps its next bytes back until then.
 */
void tcp_acknowledge(int fd);

/* Bytes given to the kernel that the peer's has not acknowledged; 0 when that can't be known. */
int tcp_unacknowledged(int fd);

#endif
