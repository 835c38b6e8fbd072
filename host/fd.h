/* A transport over a descriptor: a connected socket, an end of a pipe, a terminal, a file. */
#ifndef P2PD_HOST_FD_H
#define P2PD_HOST_FD_H

#include <stdbool.h>

#include "host/transport.h"

/*
 * Owned: the descriptor is made non-blocking and closed with the transport. Borrowed (standard
 * input and output): whoever shares it never notices: it is reopened or used with MSG_DONTWAIT,
 * never switched.
 */
struct transport *fd_transport(int fd, bool owned);

/* All of it, to a descriptor that blocks: 0 or -errno. */
int fd_write_all(int fd, const char *data, size_t len);

/* Whether it is a transport of this file over an own socket or pipe, so that splice(2) works. */
bool fd_can_splice(const struct transport *t);

/* As its read and write, from and to a pipe; nothing passes through user space. */
ssize_t fd_splice_read(struct transport *t, int pipe, size_t len);
ssize_t fd_splice_write(struct transport *t, int pipe, size_t len);

/* From now on closing it resets a TCP connection. Nothing for every other transport. */
void fd_reset_at_close(struct transport *t);

#endif
