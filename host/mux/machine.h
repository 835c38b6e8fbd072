/*
 * The machine of a mux: many streams on one ordered byte stream, each with its own flow control,
 * half-close and reset (yamux, see frame.h). Bytes in, bytes out; no sockets and no clock. Instants
 * are seconds on any one scale.
 *
 * After anything that was called: mm_poll() and mm_sent() until nothing is left or nothing is
 * taken, then mm_next_writer() as long as mm_poll() gives nothing, and mm_next_stirred().
 */
#ifndef P2PD_HOST_MUX_MACHINE_H
#define P2PD_HOST_MUX_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/mux/options.h"

struct mux_machine;
struct mux_stream;

struct mux_machine *mm_new(const struct mux_options *options);

/* Streams that somebody has are his until ms_free(); they have failed. */
void mm_free(struct mux_machine *m);

void mm_feed(struct mux_machine *m, const void *data, size_t len, double now);

/* The stream whose bytes come next, when it has nothing unread and somebody has it: *count says how
 * many of them. Or NULL. They may be read to where they go, and told of by mm_passed(). */
struct mux_stream *mm_next_reader(const struct mux_machine *m, size_t *count);
void mm_passed(struct mux_machine *m, size_t n, double now);
size_t mm_header_left(const struct mux_machine *m); /* 0: a frame's bytes come next */

/* Bytes to send: how many, 0: none. */
size_t mm_poll(const struct mux_machine *m, const uint8_t **data);
void mm_sent(struct mux_machine *m, size_t n);

/* The carrier has ended or failed. 0 or -errno. */
void mm_fail(struct mux_machine *m, int err, const char *why);
int mm_error(const struct mux_machine *m); /* -errno, 0: it lives */
const char *mm_reason(const struct mux_machine *m);
void mm_info(const struct mux_machine *m, struct mux_info *info);

/* NULL: *err says why not: -EPIPE (it is over, or the peer takes no more), -EMFILE (no number is
 * left). */
struct mux_stream *mm_open(struct mux_machine *m, int *err);
struct mux_stream *mm_accept(struct mux_machine *m); /* or NULL */
bool mm_has_accept(const struct mux_machine *m);
void mm_go_away(struct mux_machine *m); /* no more streams, of neither side */

/* One at a time: the number of the one that is not answered yet, if there is one. */
uint32_t mm_ping(struct mux_machine *m, double now);
double mm_pong(const struct mux_machine *m, uint32_t number); /* round trip, < 0: none has come */

double mm_rtt(const struct mux_machine *m); /* the carrier's, or the last ping's; < 0: unknown */

/* Those who wait for room, in turn: each may write one frame now. */
struct mux_stream *mm_next_writer(struct mux_machine *m);

/* Those of whom something is different: ms_events(). */
struct mux_stream *mm_next_stirred(struct mux_machine *m);
bool mm_has_stirred(const struct mux_machine *m);

/* How many bytes of the connection have left through mm_sent(). */
uint64_t mm_position(const struct mux_machine *m);

/* -- a stream ------------------------------------------------------------------------------- */

uint32_t ms_number(const struct mux_stream *s);
void ms_set_owner(struct mux_stream *s, void *owner);
void *ms_owner(const struct mux_stream *s);

ssize_t ms_read(struct mux_stream *s, void *data, size_t len, double now);
ssize_t ms_write(struct mux_stream *s, const void *data, size_t len);
int ms_shutdown(struct mux_stream *s);
void ms_reset(struct mux_stream *s);

/* What it is ready for: a set of ev.h's EV_READ and EV_WRITE. */
int ms_events(const struct mux_stream *s);
void ms_want(struct mux_stream *s, int events); /* stirs it when it is ready for any of them */
int ms_error(const struct mux_stream *s);
const char *ms_reason(const struct mux_stream *s); /* or NULL */

/* The position of mm_position() at which all that was written has left; UINT64_MAX: the peer has
 * yet to take other streams before it hears of this one. */
uint64_t ms_end(const struct mux_stream *s);
size_t ms_window(const struct mux_stream *s);

/* Nobody reads any more: what comes is thrown away, and answered by a reset. */
void ms_ignore(struct mux_stream *s);

/* Its owner lets go of it; unless its half has ended the stream is reset. */
void ms_free(struct mux_stream *s);

#endif
