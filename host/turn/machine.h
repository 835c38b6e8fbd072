/* The inside of a TURN client, which turn.c and turn_answer.c share. */
#ifndef P2PD_TURN_MACHINE_H
#define P2PD_TURN_MACHINE_H

#include "host/turn/credentials.h"
#include "host/turn/event.h"
#include "host/turn/peer.h"
#include "host/turn/request.h"

enum turn_state { TURN_ALLOCATING, TURN_READY, TURN_CLOSING, TURN_OVER };

struct turn {
    struct turn_options options;
    struct turn_credentials credentials;
    enum turn_state state;
    struct turn_request *requests;
    struct turn_request *stale; /* answered, and perhaps still being looked at */
    struct turn_peer *peers;
    struct inet_addr relayed;
    uint16_t next_channel;
    double refresh;   /* when the allocation has to be renewed */
    double keepalive; /* when silence has lasted too long */
    struct turn_events events;
};

/* Writes a request that was challenged anew; it goes out at the next poll. */
void turn_restart(struct turn *t, struct turn_request *r);

/* Asks for a permission or a channel. 0 or -EIO. */
int turn_ask_peer(struct turn *t, struct turn_peer *peer);

/* What the server says to a request under way: it is not among them any more afterwards, unless it
 * was challenged. */
void turn_on_success(struct turn *t, double now, struct turn_request *r,
                     const struct stun_message *m);
void turn_on_error(struct turn *t, struct turn_request *r, const struct stun_message *m);

/* The request has failed: by the server's code, or (0) otherwise. */
void turn_fail(struct turn *t, struct turn_request *r, int code, int error, const char *reason);

/* Nothing is wanted and nothing is granted any more. */
void turn_end(struct turn *t);

#endif
