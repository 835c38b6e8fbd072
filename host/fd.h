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

#endif
