/* Requests of a TURN client on their way out, each with the timer that suits it. */
#include "host/turn/machine.h"

#include <math.h>
#include <stdlib.h>

#define CLOSE_S 1.5 /* for which a server is asked to let go */
#define CLOSE_RTO_S 0.2

static struct stun_timer timer_for(const struct turn *t, const struct turn_request *r) {
    struct stun_timer timer = t->options.timer;
    if (r->method == STUN_CONNECTION_BIND)
        timer.reliable = true;
    if (t->state == TURN_CLOSING) {
        timer.ti = CLOSE_S;
        timer.rto = fmin(timer.rto, CLOSE_RTO_S);
        timer.rc = 3; /* after 0, 1 and 3 rto */
        timer.rm = CLOSE_S / timer.rto - 3;
    }
    return timer;
}

/* Takes r over. */
int turn_start(struct turn *t, struct turn_request *r) {
    struct stun_timer timer = timer_for(t, r);
    int error = turn_request_encode(r, &timer, &t->credentials);
    if (error) {
        free(r);
        return error;
    }
    turn_request_append(&t->requests, r);
    return 0;
}

int turn_restart(struct turn *t, struct turn_request *r) {
    struct stun_timer timer = timer_for(t, r);
    return turn_request_encode(r, &timer, &t->credentials);
}

int turn_ask_peer(struct turn *t, struct turn_peer *peer) {
    struct turn_request *r =
        turn_request_new(peer->channel ? STUN_CHANNEL_BIND : STUN_CREATE_PERMISSION);
    r->peer = peer->addr;
    r->channel = peer->channel;
    peer->renew = INFINITY;
    peer->asked = true;
    return turn_start(t, r);
}

void turn_retire(struct turn *t, struct turn_request *r) {
    turn_request_remove(&t->requests, r);
    turn_request_append(&t->stale, r);
}

bool turn_serves(const struct turn *t, int family) {
    for (int i = 0; i < 2; i++)
        if (t->relayed[i].len && t->relayed[i].any.sa_family == family)
            return true;
    return false;
}

void turn_end(struct turn *t) {
    t->state = TURN_OVER;
    turn_request_append(&t->stale, t->requests);
    t->requests = NULL;
    turn_peer_clear(&t->peers);
}
