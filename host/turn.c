/*
 * The machine: requests under way, what the server has granted, and the instants at which that has
 * to be renewed. What answers do to it is in turn/answer.c.
 *
 * Binding requests keep the way to the server open through NATs and tell when it has died.
 */
#include "host/turn.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/turn/answer.h"

#define KEEPALIVE_S 25     /* NATs forget UDP after 30 s and more (RFC 4787 §4.3: 2 min) */
#define CHANNEL_MIN 0x4000 /* RFC 8656 §12 */
#define CHANNEL_MAX 0x4fff
#define ATTEMPTS_MAX 128 /* events that wait to be fetched: a server cannot make us hoard */

bool turn_event(struct turn *t, struct turn_event *event) {
    return turn_events_pop(&t->events, event);
}

/* -- requests ------------------------------------------------------------------------------ */

static void start_allocate(struct turn *t) {
    struct turn_request *r = turn_request_new(STUN_ALLOCATE);
    r->transport = t->options.tcp ? IPPROTO_TCP : IPPROTO_UDP;
    r->family = t->options.family;
    r->both = t->options.both;
    if (t->options.lifetime)
        r->lifetime = t->options.lifetime;
    turn_start(t, r);
}

static void start_refresh(struct turn *t, int64_t lifetime) {
    struct turn_request *r = turn_request_new(STUN_REFRESH);
    r->lifetime = lifetime;
    turn_start(t, r);
}

/* -- packets in ---------------------------------------------------------------------------- */

static int feed_channel(struct turn *t, const uint8_t *bytes, size_t len, struct turn_data *data) {
    ssize_t channel = turn_read_channel(bytes, len, &data->data, &data->len);
    if (channel < 0)
        return (int)channel;
    struct turn_peer *peer = turn_peer_by_channel(t->peers, (uint16_t)channel);
    if (peer)
        data->peer = peer->addr;
    return peer != NULL;
}

static int feed_data(struct turn *t, const struct stun_message *m, struct turn_data *data) {
    struct stun_attribute a;
    if (stun_get_address(m, STUN_XOR_PEER_ADDRESS, &data->peer) < 0 ||
        !stun_find(m, STUN_DATA, &a) || !turn_peer_admits(t->peers, &data->peer))
        return 0;
    data->data = a.value;
    data->len = a.len;
    return 1;
}

static int feed_attempt(struct turn *t, const struct stun_message *m) {
    struct inet_addr peer;
    uint32_t connection;
    if (!t->options.tcp || stun_get_address(m, STUN_XOR_PEER_ADDRESS, &peer) < 0 ||
        stun_get_u32(m, STUN_CONNECTION_ID, &connection) < 0 ||
        !turn_peer_admits(t->peers, &peer) || t->events.count >= ATTEMPTS_MAX)
        return 0;
    struct turn_event *e = turn_events_push(&t->events, TURN_ATTEMPT);
    e->addr = peer;
    e->connection = connection;
    return 0;
}

static int feed_indication(struct turn *t, const struct stun_message *m, struct turn_data *data) {
    if (t->state != TURN_READY || m->unknown_count)
        return 0;
    if (m->method == STUN_DATA_ARRIVED)
        return feed_data(t, m, data);
    if (m->method == STUN_CONNECTION_ATTEMPT)
        return feed_attempt(t, m);
    return 0;
}

static uint32_t stream_of(const struct turn_request *r) {
    return r->method == STUN_CONNECTION_BIND ? r->connection : 0;
}

static struct turn_request *find_request(const struct turn *t, uint32_t connection,
                                         const struct stun_message *m) {
    struct turn_request *r = t->requests;
    while (r && (stream_of(r) != connection || memcmp(r->data + 4, m->id, STUN_ID_SIZE) != 0))
        r = r->next;
    return r;
}

/* Datagrams overtake each other, on the way and in the server: "no such allocation" may come before
 * the allocation that it is about. The request is repeated then, once. */
static bool is_premature(struct turn *t, const struct stun_message *m) {
    int code;
    const char *reason;
    size_t len;
    if (!t->unheard || m->class != STUN_ERROR || stun_get_error(m, &code, &reason, &len) < 0 ||
        code != 437)
        return false;
    t->unheard = false;
    return true;
}

int turn_feed(struct turn *t, double now, uint32_t connection, const void *bytes, size_t len,
              struct turn_data *data) {
    struct stun_message m;
    turn_request_clear(&t->stale);
    if (len && !connection && turn_is_channel_data(*(const uint8_t *)bytes))
        return feed_channel(t, bytes, len, data);
    if (stun_decode(&m, bytes, len) < 0 || m.classic)
        return -EBADMSG;
    if (m.class == STUN_INDICATION && !connection)
        return feed_indication(t, &m, data);
    struct turn_request *r = find_request(t, connection, &m);
    if (!r || is_premature(t, &m) || stun_transaction_feed(&r->transaction, &m, bytes, len) != 1)
        return 0;
    if (m.class == STUN_ERROR)
        turn_on_error(t, r, &m);
    else
        turn_on_success(t, now, r, &m);
    return 0;
}

/* -- packets out --------------------------------------------------------------------------- */

static void renew(struct turn *t, double now) {
    if (t->state != TURN_READY)
        return;
    if (now >= t->refresh) {
        t->refresh = INFINITY;
        start_refresh(t, t->options.lifetime ? (int64_t)t->options.lifetime : -1);
    }
    for (struct turn_peer *peer = t->peers; peer; peer = peer->next)
        if (now >= peer->renew)
            turn_ask_peer(t, peer);
    if (now >= t->keepalive) {
        t->keepalive = now + KEEPALIVE_S;
        turn_start(t, turn_request_new(STUN_BINDING));
    }
}

bool turn_poll(struct turn *t, double now, struct turn_packet *packet) {
    turn_request_clear(&t->stale);
    renew(t, now);
    for (struct turn_request *r = t->requests, *next; r; r = next) {
        next = r->next;
        switch (stun_transaction_poll(&r->transaction, now)) {
        case STUN_SEND:
            t->keepalive = now + KEEPALIVE_S;
            *packet = (struct turn_packet){r->data, r->len, stream_of(r)};
            return true;
        case STUN_FAILED:
            turn_fail(t, r, 0, -ETIMEDOUT, "the relay server does not answer");
            if (t->state == TURN_OVER)
                return false;
            break;
        default:
            break;
        }
    }
    return false;
}

double turn_due(const struct turn *t) {
    double due = INFINITY;
    for (const struct turn_request *r = t->requests; r; r = r->next)
        due = fmin(due, stun_transaction_due(&r->transaction));
    if (t->state != TURN_READY)
        return due;
    for (const struct turn_peer *peer = t->peers; peer; peer = peer->next)
        due = fmin(due, peer->renew);
    return fmin(due, fmin(t->refresh, t->keepalive));
}

ssize_t turn_wrap(const struct turn *t, const struct inet_addr *peer, const void *data, size_t len,
                  void *buf, size_t cap) {
    if (t->state != TURN_READY)
        return -ENOTCONN;
    if (len > TURN_DATA_MAX)
        return -EMSGSIZE;
    const struct turn_peer *entry = turn_peer_find(t->peers, peer);
    if (entry && entry->channel && entry->ready)
        return turn_write_channel(entry->channel, t->options.timer.reliable, data, len, buf, cap);
    return turn_write_indication(peer, data, len, buf, cap);
}

/* -- wishes -------------------------------------------------------------------------------- */

static int want_peer(struct turn *t, const struct inet_addr *addr, bool channel) {
    bool early = t->state == TURN_ALLOCATING;
    if (t->state != TURN_READY && !early)
        return -ENOTCONN;
    if (!early && !turn_serves(t, addr->any.sa_family))
        return -EAFNOSUPPORT;
    struct turn_peer *peer = turn_peer_find(t->peers, addr);
    if (peer && peer->ready)
        turn_events_push(&t->events, channel ? TURN_BOUND : TURN_PERMITTED)->addr = peer->addr;
    if (peer)
        return 0;
    int count = 0;
    for (const struct turn_peer *each = t->peers; each; each = each->next)
        count++;
    if (count >= TURN_PEERS_MAX || (channel && t->next_channel > CHANNEL_MAX))
        return -ENOBUFS;
    struct turn_peer *added = turn_peer_add(&t->peers, addr, channel ? t->next_channel++ : 0);
    return early ? 0 : turn_ask_peer(t, added);
}

int turn_permit(struct turn *t, const struct inet_addr *peer) {
    struct inet_addr host = *peer;
    inet_set_port(&host, 0);
    return want_peer(t, &host, false);
}

int turn_bind(struct turn *t, const struct inet_addr *peer) {
    return inet_port(peer) ? want_peer(t, peer, true) : -EINVAL;
}

int turn_connect(struct turn *t, const struct inet_addr *peer) {
    if (t->state != TURN_READY || !t->options.tcp)
        return -ENOTCONN;
    if (!turn_serves(t, peer->any.sa_family))
        return -EAFNOSUPPORT;
    struct turn_request *r = turn_request_new(STUN_CONNECT);
    r->peer = *peer;
    return turn_start(t, r);
}

int turn_join(struct turn *t, uint32_t connection) {
    if (t->state != TURN_READY || !t->options.tcp)
        return -ENOTCONN;
    struct turn_request *r = turn_request_new(STUN_CONNECTION_BIND);
    r->connection = connection;
    return turn_start(t, r);
}

/* An Allocate that carries credentials may have come to something that we shall never hear of. */
static bool may_exist(const struct turn *t) {
    if (t->state == TURN_READY)
        return true;
    return t->state == TURN_ALLOCATING && t->requests && t->requests->with_proof;
}

void turn_close(struct turn *t) {
    if (t->state == TURN_CLOSING || t->state == TURN_OVER)
        return;
    bool exists = may_exist(t);
    t->unheard = t->state == TURN_ALLOCATING && !t->options.timer.reliable;
    turn_end(t);
    if (exists) {
        t->state = TURN_CLOSING;
        start_refresh(t, 0);
    }
    if (!t->requests) {
        t->state = TURN_OVER;
        turn_events_push(&t->events, TURN_CLOSED);
    }
}

/* -- making -------------------------------------------------------------------------------- */

struct turn *turn_new(const struct turn_options *options) {
    if (options->tcp && !options->timer.reliable)
        return NULL;
    struct turn *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->options = *options;
    t->next_channel = CHANNEL_MIN;
    t->refresh = t->keepalive = INFINITY;
    int error =
        turn_credentials_init(&t->credentials, options->user, options->password, options->realm);
    t->options.user = t->options.password = t->options.realm = (struct stun_text){0};
    if (!error)
        start_allocate(t);
    if (t->requests)
        return t;
    turn_free(t);
    return NULL;
}

void turn_free(struct turn *t) {
    if (!t)
        return;
    turn_end(t);
    turn_request_clear(&t->stale);
    turn_events_clear(&t->events);
    free(t);
}
