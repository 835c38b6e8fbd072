/*
 * A TURN client (RFC 8656; RFC 6062 for TCP) as a machine: packets and instants in, packets and
 * events out. The sockets and the clock are the caller's; instants are seconds on any one scale.
 *
 * One machine is one allocation on one server. What it wants is asked for with turn_permit() and
 * the like; turn_poll() says what to send and when to come back, turn_feed() takes what has come,
 * and turn_event() tells what that has led to.
 */
#ifndef P2PD_HOST_TURN_H
#define P2PD_HOST_TURN_H

#include "host/turn/event.h"
#include "host/turn/options.h"
#include "host/turn/packet.h"

#define TURN_OVERHEAD_MAX 56 /* bytes that turn_wrap() adds at most */
#define TURN_PEERS_MAX 64    /* permissions and channels of one allocation */

struct turn_data {
    struct inet_addr peer;
    const uint8_t *data; /* borrowed from what was fed */
    size_t len;
};

struct turn_packet {
    const uint8_t *data; /* until the next call */
    size_t len;
    uint32_t connection; /* 0: to the server as always; else on that data connection */
};

struct turn;

/* The caller's, with an allocation wanted. NULL when the options make no sense. */
struct turn *turn_new(const struct turn_options *options);
void turn_free(struct turn *t); /* NULL is fine; the server is not told */

/* Whether there is something to send now; else see turn_due(). */
bool turn_poll(struct turn *t, double now, struct turn_packet *packet);

/* The instant to poll at: -INFINITY: at once; INFINITY: there is nothing to wait for. */
double turn_due(const struct turn *t);

/* One message: a datagram, or a frame of a stream. 1: a peer's datagram, in *data; 0: what it has
 * changed is told by turn_event(), if anything; -EBADMSG: garbage, to be ignored on UDP and fatal
 * on a stream. `connection` as in struct turn_packet. */
int turn_feed(struct turn *t, double now, uint32_t connection, const void *bytes, size_t len,
              struct turn_data *data);

bool turn_event(struct turn *t, struct turn_event *event); /* the oldest, if there is one */

/* Each wants something of an allocation and returns 0, or -ENOTCONN: there is none (permissions and
 * channels may be wanted before it stands: on a stream they are asked for together with it);
 * -EAFNOSUPPORT: not the family of its relayed address; -ENOBUFS: too many. Permissions, channels
 * and the allocation itself are kept fresh from then on. */
int turn_permit(struct turn *t, const struct inet_addr *peer);
int turn_bind(struct turn *t, const struct inet_addr *peer);
int turn_connect(struct turn *t, const struct inet_addr *peer); /* TCP allocations */
int turn_join(struct turn *t, uint32_t connection);             /* TCP allocations */

/* Gives the allocation back: TURN_CLOSED follows. Everything else is forgotten. */
void turn_close(struct turn *t);

/* A datagram for the peer, by its channel if it has one. Its length in buf, or -ENOBUFS, -EMSGSIZE,
 * -ENOTCONN. */
ssize_t turn_wrap(const struct turn *t, const struct inet_addr *peer, const void *data, size_t len,
                  void *buf, size_t cap);

#endif
