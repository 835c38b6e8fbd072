/*
 * A reliable link over datagrams that may be lost, doubled or reordered: one ordered stream of
 * bytes each way, or messages that each come once, in any order. A machine: datagrams and instants
 * in, datagrams out; no sockets and no clock. Instants are seconds on any one scale.
 *
 * After anything that was called, reliable_poll() until it gives nothing, and again at
 * reliable_due(). docs/protocol.md has the bytes.
 */
#ifndef P2PD_RELIABLE_H
#define P2PD_RELIABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RELIABLE_ID_SIZE 8
#define RELIABLE_SIZE 1196    /* bytes of a datagram: 1200 with a ChannelData header */
#define RELIABLE_SIZE_MIN 508 /* what any path takes (RFC 791: 576 less IP, UDP and TURN) */
#define RELIABLE_SIZE_MAX 2048
#define RELIABLE_SILENCE_S 30.0 /* and the peer is dead */

struct reliable_options {
    uint8_t id[RELIABLE_ID_SIZE]; /* both sides' */
    bool dialer;                  /* one of the two is */
    bool messages;                /* both sides' */
    size_t size;                  /* bytes of the largest datagram; 0: RELIABLE_SIZE */
    double silence;               /* seconds; 0: RELIABLE_SILENCE_S */
};

enum reliable_state {
    RELIABLE_OPENING, /* the peer has not shown that it hears us */
    RELIABLE_OPENED,
    RELIABLE_ENDED,  /* both have ended; still here to say so again */
    RELIABLE_FAILED, /* see reliable_error(); perhaps the peer is still to be told */
    RELIABLE_GONE,   /* nothing will be sent or understood any more */
};

struct reliable_info {
    enum reliable_state state;
    bool messages;
    double rtt;            /* seconds, smoothed; 0: unknown */
    size_t size;           /* of a datagram now */
    size_t window, flight; /* bytes */
    uint64_t datagrams_out, datagrams_in;
    uint64_t resent;  /* pieces that left again */
    uint64_t lost;    /* packets given up */
    uint64_t late;    /* of them, those that came after all */
    uint64_t doubled; /* pieces that came again */
    uint64_t refused; /* datagrams that were not understood */
    size_t unacked;   /* bytes or messages that have not come, as far as known */
};

struct reliable;

/* The caller's; never NULL. */
struct reliable *reliable_new(const struct reliable_options *options, double now);
void reliable_free(struct reliable *r); /* the peer is not told; NULL is fine */

/* One that has come: 0, or -EBADMSG: it is none of ours, and nothing has changed. */
int reliable_feed(struct reliable *r, const void *datagram, size_t len, double now);

/* The next one to send: its length, or 0. max: RELIABLE_SIZE_MAX at least. */
size_t reliable_poll(struct reliable *r, void *datagram, size_t max, double now);

/* The instant to poll at, if nothing happens before; INFINITY: none. */
double reliable_due(const struct reliable *r);

enum reliable_state reliable_state(const struct reliable *r);
int reliable_error(const struct reliable *r);          /* -errno; 0: none */
const char *reliable_reason(const struct reliable *r); /* why, or NULL */
void reliable_info(const struct reliable *r, struct reliable_info *info);

/* The stream. Bytes, -EAGAIN, or -errno; a read gives all that came in order before it says 0 (the
 * end) or an error, a write -EPIPE after reliable_shutdown(). */
ssize_t reliable_read(struct reliable *r, void *data, size_t len);
ssize_t reliable_write(struct reliable *r, const void *data, size_t len);

/* Messages. post: 0, -EAGAIN, -EMSGSIZE, -EPIPE, -errno. message: the length of the oldest, with
 * *data valid until reliable_drop(); -EPIPE: the peer has ended; -EAGAIN; -errno. */
int reliable_post(struct reliable *r, const void *data, size_t len);
ssize_t reliable_message(const struct reliable *r, const char **data);
void reliable_drop(struct reliable *r);
size_t reliable_message_max(const struct reliable *r);

bool reliable_is_readable(const struct reliable *r); /* reading would not say -EAGAIN */
bool reliable_is_writable(const struct reliable *r); /* nor would writing */
bool reliable_is_flushed(const struct reliable *r);  /* all that was written has come, with the end
                                                        if there is one; or it never will */

/* Ends our half after what was written. 0 or -errno. */
int reliable_shutdown(struct reliable *r);

/* Nobody will read or write any more. After reliable_shutdown() what was written may still come,
 * for 10 s; whatever else is unfinished is given up, and the peer told so, a few times. See
 * RELIABLE_GONE. */
void reliable_leave(struct reliable *r, double now);

/* The carrier has failed: RELIABLE_FAILED at once, with this error. */
void reliable_fail(struct reliable *r, int error, const char *why);

#endif
