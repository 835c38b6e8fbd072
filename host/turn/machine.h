/* The state of a TURN client, and the requests it starts. */
#ifndef P2PD_HOST_TURN_MACHINE_H
#define P2PD_HOST_TURN_MACHINE_H

#include "host/turn/credentials.h"
#include "host/turn/event.h"
#include "host/turn/options.h"
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
    struct inet_addr relayed[2]; /* of two families; the second may be of len 0 */
    uint16_t next_channel;
    double refresh;   /* when the allocation has to be renewed */
    double keepalive; /* when silence has lasted too long */
    bool unheard;     /* closed before the server has answered the request for an allocation */
    struct turn_events events;
};

/* Takes r over and starts it: it goes out at the next poll. 0 or -errno. */
int turn_start(struct turn *t, struct turn_request *r);

/* Writes a request that was challenged anew. 0, or -errno: the request is as it was. */
int turn_restart(struct turn *t, struct turn_request *r);

/* Asks for a permission or a channel. 0 or -EIO. */
int turn_ask_peer(struct turn *t, struct turn_peer *peer);

/* The request is answered: it is not under way any more. */
void turn_retire(struct turn *t, struct turn_request *r);

/* Whether there is a relayed address of the family. */
bool turn_serves(const struct turn *t, int family);

/* Nothing is wanted and nothing is granted any more. */
void turn_end(struct turn *t);

#endif
