/*
 * What becomes of a TURN client's requests.
 *
 * A request that is challenged (401 at first, 438 whenever the nonce is stale) is written anew, so
 * the rest only sees whether it came to something. What that changes becomes an event; a renewal is
 * silent unless it fails.
 */
#include "host/turn/answer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "host/turn/error.h"

/* Codes of errors, RFC 8489 §14.8 */
#define TRY_ALTERNATE 300
#define UNAUTHENTICATED 401
#define STALE_NONCE 438

#define PERMISSION_RENEW_S 240 /* they last 300 s, RFC 8656 §9 */
#define REFRESH_AHEAD_S 60     /* RFC 8656 §8 */
#define LIFETIME_DEFAULT_S 600 /* RFC 8656 §3.2 */
#define CHALLENGES_MAX 4

/* -- the end of a request ------------------------------------------------------------------ */

static void say_failed(struct turn *t, const struct turn_request *r, enum turn_event_kind kind,
                       int code, int error, const char *reason) {
    struct turn_event *e = turn_events_push(&t->events, kind);
    e->request = turn_method_name(r->method);
    e->addr = r->peer;
    e->connection = r->connection;
    e->code = code;
    e->error = error;
    snprintf(e->reason, sizeof e->reason, "%s", reason);
}

static bool is_fatal(const struct turn *t, const struct turn_request *r, int code) {
    return r->method == STUN_ALLOCATE || r->method == STUN_REFRESH ||
           (code == 437 && t->state == TURN_READY) || (r->method == STUN_BINDING && code == 0);
}

void turn_fail(struct turn *t, struct turn_request *r, int code, int error, const char *reason) {
    struct turn_peer *peer = r->peer.len ? turn_peer_find(t->peers, &r->peer) : NULL;
    turn_retire(t, r);
    if (t->state == TURN_CLOSING) {
        turn_events_push(&t->events, TURN_CLOSED);
        turn_end(t);
    } else if (is_fatal(t, r, code)) {
        say_failed(t, r, t->state == TURN_ALLOCATING ? TURN_FAILED : TURN_LOST, code, error,
                   reason);
        turn_end(t);
    } else if (r->method != STUN_BINDING) {
        say_failed(t, r, TURN_FAILED, code, error, reason);
        if (peer)
            turn_peer_remove(&t->peers, peer);
    }
}

static void redirect(struct turn *t, struct turn_request *r, const struct stun_message *m) {
    struct inet_addr server;
    if (stun_get_address(m, STUN_ALTERNATE_SERVER, &server) < 0) {
        turn_fail(t, r, TRY_ALTERNATE, -EPROTO, "300 try an alternate server, which is not named");
        return;
    }
    turn_retire(t, r);
    turn_events_push(&t->events, TURN_REDIRECTED)->addr = server;
    turn_end(t);
}

/* What was wanted before there was an allocation. On a stream it may follow the request for one. */
static void ask_peers(struct turn *t) {
    for (struct turn_peer *peer = t->peers; peer; peer = peer->next)
        if (!peer->asked)
            turn_ask_peer(t, peer);
}

static void fail_by_challenge(struct turn *t, struct turn_request *r, int code, int error) {
    char reason[TURN_REASON_MAX];
    if (error == -EACCES)
        snprintf(reason, sizeof reason, "%d the server is of another realm than \"%.*s\"", code,
                 (int)(t->credentials.realm.len < 80 ? t->credentials.realm.len : 80),
                 t->credentials.realm.data);
    else
        snprintf(reason, sizeof reason, "%d a challenge that cannot be answered", code);
    turn_fail(t, r, code, error, reason);
}

/* Asks again, with the proof that the server wants. */
static void answer_challenge(struct turn *t, struct turn_request *r, const struct stun_message *m,
                             int code) {
    int error = turn_credentials_challenge(&t->credentials, m);
    if (error) {
        fail_by_challenge(t, r, code, error);
        return;
    }
    error = turn_restart(t, r);
    if (error)
        turn_fail(t, r, 0, error, "the request cannot be made");
    else if (r->method == STUN_ALLOCATE && t->options.timer.reliable)
        ask_peers(t);
}

void turn_on_error(struct turn *t, struct turn_request *r, const struct stun_message *m) {
    int code = 0;
    const char *said = "";
    size_t len = 0;
    char reason[TURN_REASON_MAX];
    stun_get_error(m, &code, &said, &len);
    bool challenge = code == STALE_NONCE || (code == UNAUTHENTICATED && !r->with_proof);
    if (code == TRY_ALTERNATE && r->method == STUN_ALLOCATE) {
        redirect(t, r, m);
    } else if (challenge && r->challenges++ < CHALLENGES_MAX) {
        answer_challenge(t, r, m, code);
    } else {
        int error = turn_error(code, said, len, reason, sizeof reason);
        turn_fail(t, r, code, error, reason);
    }
}

/* -- what a request has brought ------------------------------------------------------------ */

static uint32_t plan_refresh(struct turn *t, double now, const struct stun_message *m) {
    uint32_t lifetime = LIFETIME_DEFAULT_S;
    stun_get_u32(m, STUN_LIFETIME, &lifetime);
    t->refresh = now + fmax(1, fmax(lifetime / 2.0, (double)lifetime - REFRESH_AHEAD_S));
    return lifetime;
}

/* One of each family at most (RFC 8656 §7.4); coturn writes 0.0.0.0:0 for one that it does not
 * give. How many there are. */
static int get_relayed(const struct stun_message *m, struct inet_addr relayed[2]) {
    static const int FAMILIES[] = {AF_INET, AF_INET6};
    int n = 0;
    relayed[0].len = relayed[1].len = 0;
    for (int i = 0; i < 2; i++) {
        struct inet_addr addr;
        if (stun_get_address_of(m, STUN_XOR_RELAYED_ADDRESS, FAMILIES[i], &addr) == 0 &&
            inet_port(&addr))
            relayed[n++] = addr;
    }
    return n;
}

static void on_allocated(struct turn *t, double now, const struct turn_request *r,
                         const struct stun_message *m) {
    struct inet_addr mapped = {0};
    stun_mapped_address(m, &mapped);
    get_relayed(m, t->relayed);
    t->state = TURN_READY;
    struct turn_event *e = turn_events_push(&t->events, TURN_ALLOCATED);
    e->addr = t->relayed[0];
    e->other = t->relayed[1];
    e->mapped = mapped;
    e->lifetime = plan_refresh(t, now, m);
    e->rtt = r->transaction.sent == 1 ? now - r->transaction.first : -1;
    ask_peers(t);
}

static void on_peer_ready(struct turn *t, double now, const struct turn_request *r) {
    struct turn_peer *peer = turn_peer_find(t->peers, &r->peer);
    if (!peer)
        return;
    if (!peer->ready)
        turn_events_push(&t->events, peer->channel ? TURN_BOUND : TURN_PERMITTED)->addr =
            peer->addr;
    peer->ready = true;
    peer->renew = now + PERMISSION_RENEW_S;
}

static void on_connected(struct turn *t, const struct turn_request *r,
                         const struct stun_message *m) {
    struct turn_event *e = turn_events_push(&t->events, TURN_CONNECTED);
    e->addr = r->peer;
    stun_get_u32(m, STUN_CONNECTION_ID, &e->connection);
}

static const char *find_fault(const struct turn_request *r, const struct stun_message *m) {
    struct stun_attribute a;
    struct inet_addr relayed[2];
    if (m->unknown_count)
        return "an answer with an attribute that is not known";
    if (r->method == STUN_ALLOCATE && get_relayed(m, relayed) == 0)
        return "an answer without a relayed address";
    if (r->method == STUN_CONNECT && !stun_find(m, STUN_CONNECTION_ID, &a))
        return "an answer without a connection";
    return NULL;
}

void turn_on_success(struct turn *t, double now, struct turn_request *r,
                     const struct stun_message *m) {
    const char *fault = find_fault(r, m);
    if (fault) {
        turn_fail(t, r, 0, -EPROTO, fault);
        return;
    }
    turn_retire(t, r);
    switch (r->method) {
    case STUN_ALLOCATE:
        on_allocated(t, now, r, m);
        break;
    case STUN_REFRESH:
        plan_refresh(t, now, m);
        if (t->state == TURN_CLOSING) {
            turn_events_push(&t->events, TURN_CLOSED);
            turn_end(t);
        }
        break;
    case STUN_CREATE_PERMISSION:
    case STUN_CHANNEL_BIND:
        on_peer_ready(t, now, r);
        break;
    case STUN_CONNECT:
        on_connected(t, r, m);
        break;
    case STUN_CONNECTION_BIND:
        turn_events_push(&t->events, TURN_JOINED)->connection = r->connection;
        break;
    default:
        break;
    }
}
