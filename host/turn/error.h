/* STUN and TURN error codes as errnos and sentences. */
#ifndef P2PD_HOST_TURN_ERROR_H
#define P2PD_HOST_TURN_ERROR_H

#include <stddef.h>

/* Writes "486 allocation quota reached" and what the server says beside it, and returns the -errno
 * that comes closest. */
int turn_error(int code, const char *said, size_t said_len, char *reason, size_t size);

#endif
