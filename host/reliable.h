/*
 * A reliable link: one ordered stream of bytes each way over datagrams that may be lost, duplicated
 * or reordered. A machine: datagrams and instants in, datagrams out; no sockets and no clock.
 * Instants are seconds on any one scale.
 *
 * After anything that was called, reliable_poll() until it gives nothing, and again at
 * reliable_due(). docs/protocol.md has the bytes.
 */
#ifndef P2PD_HOST_RELIABLE_H
#define P2PD_HOST_RELIABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/reliable/options.h"

struct reliable;

/* The caller's; never NULL. */
struct reliable *reliable_new(const struct reliable_options *options, double now);
void reliable_free(struct reliable *r); /* the peer is not told; NULL is fine */

/* From now on a peer that has vanished is given up within so many seconds, also when the link is
 * idle. */
void reliable_set_silence(struct reliable *r, double seconds);

/* A datagram received: 0, or -EBADMSG: it is not of this link, and nothing has changed. */
int reliable_feed(struct reliable *r, const void *datagram, size_t len, double now);

/* The next one to send: its length, or 0. max: RELIABLE_SIZE_MAX at least. */
size_t reliable_poll(struct reliable *r, void *datagram, size_t max, double now);

/* The instant to poll at, if nothing happens before; INFINITY: none. */
double reliable_due(const struct reliable *r);

enum reliable_state reliable_state(const struct reliable *r);
int reliable_error(const struct reliable *r);          /* -errno; 0: none */
const char *reliable_reason(const struct reliable *r); /* why, or NULL */
void reliable_info(const struct reliable *r, struct reliable_info *info);

/* Bytes, -EAGAIN, or -errno; a read gives all that came in order before it says 0 (the
 * end) or an error, a write -EPIPE after reliable_shutdown(). */
ssize_t reliable_read(struct reliable *r, void *data, size_t len);
ssize_t reliable_write(struct reliable *r, const void *data, size_t len);

bool reliable_is_readable(const struct reliable *r); /* reading would not say -EAGAIN */
bool reliable_is_writable(const struct reliable *r); /* nor would writing */

/* Ends our half after what was written. 0 or -errno. */
int reliable_shutdown(struct reliable *r);

/* Nobody will read or write any more. After reliable_shutdown() what was written may still be
 * delivered, for 10 s; whatever else is unfinished is given up, and the peer told so, a few times.
 * See RELIABLE_GONE. */
void reliable_leave(struct reliable *r, double now);

/* The carrier has failed: RELIABLE_FAILED at once, with this error. */
void reliable_fail(struct reliable *r, int error, const char *why);

#endif
