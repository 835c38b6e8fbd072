/*
 * The machine of a session: one ordered byte stream each way over successive paths, each of which
 * is an ordered byte stream itself that may end, break or fall silent at any moment. Bytes of
 * paths, their events and instants in; bytes and events out; no sockets and no clock. Instants are
 * seconds on any one scale.
 *
 * After anything that was called: sm_poll() and sm_sent() for each path until it gives nothing,
 * sm_path_state() for each that may be over, sm_event(), and sm_tick() again at sm_due(). Paths
 * are named by our numbers, 1, 2, 3...; unknown ones and those that are over are ignored.
 *
 * Each direction has a path of its own. The initiator chooses for both: sm_switch(). The other side
 * follows, unless the path that it sends by has died: then it goes on by any other that is up, and
 * the initiator, who notices, doubts its own.
 */
#ifndef P2PD_HOST_SESSION_MACHINE_H
#define P2PD_HOST_SESSION_MACHINE_H

#include <sys/types.h>

#include "host/session/options.h"

struct session_machine;

struct session_machine *sm_new(const struct session_options *options);
void sm_free(struct session_machine *m);

/* -- paths ---------------------------------------------------------------------------------- */

/* A new one: its number; -EMFILE, or -EPIPE when the session is over. */
int64_t sm_attach(struct session_machine *m, double now);
void sm_detach(struct session_machine *m, uint32_t path); /* one that is over: forgets it */
enum session_path_state sm_path_state(const struct session_machine *m, uint32_t path);

/* Bytes have come. What is wrong with them ends the path, or the session. */
void sm_feed(struct session_machine *m, uint32_t path, const void *data, size_t len, double now);

/* Bytes to send: how many, 0: none. They stay the same until sm_sent() tells how many have left. */
size_t sm_poll(struct session_machine *m, uint32_t path, const uint8_t **data, double now);
void sm_sent(struct session_machine *m, uint32_t path, size_t n, double now);

/* Whether a frame of data follows what sm_poll() has given at once. */
bool sm_has_more(const struct session_machine *m, uint32_t path);

/* While held, a frame of data that is not full does not leave: more is to come. */
void sm_hold(struct session_machine *m, bool hold);

/* It has ended (0) or failed. */
void sm_path_failed(struct session_machine *m, uint32_t path, int code, const char *why,
                    double now);

/* What is known of it from below: a round trip, < 0: nothing; that the peer's side has taken bytes,
 * some time since then. */
void sm_path_rtt(struct session_machine *m, uint32_t path, double rtt);
void sm_path_alive(struct session_machine *m, uint32_t path, double since, double now);

/* Data goes by this path from now on, or as soon as it is up and the last move is through. 0;
 * -EPERM: we are not the initiator; -ENOENT: it is over. */
int sm_switch(struct session_machine *m, uint32_t path, double now);

/* Ends a path in good order, after another has taken over; or at once. 0 or -ENOENT. */
int sm_drop(struct session_machine *m, uint32_t path, const char *why, bool at_once, double now);

/* There is reason to doubt the paths that are in use: they are probed now. */
void sm_doubt(struct session_machine *m, double now);

/* -- the stream ----------------------------------------------------------------------------- */

/* Bytes, 0 at the end, -EAGAIN, -errno; a write after sm_shutdown(): -EPIPE. */
ssize_t sm_read(struct session_machine *m, void *data, size_t len);
ssize_t sm_write(struct session_machine *m, const void *data, size_t len);
/* Both halves are through, both sides know it but for a word that is on its way. */
bool sm_is_settled(const struct session_machine *m);
bool sm_is_readable(const struct session_machine *m);
bool sm_is_writable(const struct session_machine *m);
int sm_shutdown(struct session_machine *m, double now);

/* Until sm_take() what comes in order goes there, as far as there is room; sm_take() says how many
 * bytes have. Only while nothing waits for the reader. */
void sm_give(struct session_machine *m, void *data, size_t len);
size_t sm_take(struct session_machine *m);

/* How many of the path's next bytes go there, and are best read there: sm_feed() takes them from
 * where they are to go. */
size_t sm_expected(const struct session_machine *m, uint32_t path);

/* Nobody will read or write any more: the end, once what was written is delivered. */
void sm_close(struct session_machine *m, double now);

/* Breaks it off, and tells the peer why. */
void sm_abort(struct session_machine *m, int code, const char *why);

/* Nobody will attach a path any more: without one the session fails. */
void sm_abandon(struct session_machine *m);

/* -- time, events ----------------------------------------------------------------------------- */

double sm_due(const struct session_machine *m); /* INFINITY: never */
void sm_tick(struct session_machine *m, double now);
bool sm_has_event(const struct session_machine *m);
bool sm_event(struct session_machine *m, struct session_event *event);
void sm_info(const struct session_machine *m, struct session_info *info);
const char *sm_reason(const struct session_machine *m); /* why it has failed, or NULL */
int sm_error(const struct session_machine *m);          /* -errno, or 0 */

#endif
