#include "host/turn/request.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static const struct {
    enum stun_method method;
    const char *name;
} METHODS[] = {
    {STUN_BINDING, "keep-alive"},       {STUN_ALLOCATE, "allocate"}, {STUN_REFRESH, "refresh"},
    {STUN_CREATE_PERMISSION, "permit"}, {STUN_CHANNEL_BIND, "bind"}, {STUN_CONNECT, "connect"},
    {STUN_CONNECTION_BIND, "join"},
};

const char *turn_method_name(enum stun_method method) {
    for (size_t i = 0; i < sizeof METHODS / sizeof *METHODS; i++)
        if (METHODS[i].method == method)
            return METHODS[i].name;
    return NULL;
}

struct turn_request *turn_request_new(enum stun_method method) {
    struct turn_request *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->method = method;
    r->lifetime = -1;
    return r;
}

void turn_request_append(struct turn_request **list, struct turn_request *r) {
    while (*list)
        list = &(*list)->next;
    *list = r;
}

void turn_request_remove(struct turn_request **list, struct turn_request *r) {
    while (*list != r)
        list = &(*list)->next;
    *list = r->next;
    r->next = NULL;
}

void turn_request_clear(struct turn_request **list) {
    while (*list) {
        struct turn_request *r = *list;
        *list = r->next;
        free(r);
    }
}

static void put_byte(struct stun_writer *w, uint16_t type, unsigned value) {
    stun_put_u32(w, type, (uint32_t)value << 24);
}

static void put_fields(const struct turn_request *r, struct stun_writer *w) {
    if (r->transport)
        put_byte(w, STUN_REQUESTED_TRANSPORT, (unsigned)r->transport);
    if (r->family)
        put_byte(w, STUN_REQUESTED_ADDRESS_FAMILY,
                 r->family == AF_INET6 ? STUN_FAMILY_IPV6 : STUN_FAMILY_IPV4);
    if (r->both) {
        put_byte(w, STUN_ADDITIONAL_ADDRESS_FAMILY, STUN_FAMILY_IPV6);
        put_byte(w, STUN_ADDITIONAL_FAMILY_DRAFT, STUN_FAMILY_IPV6);
    }
    if (r->lifetime >= 0)
        stun_put_u32(w, STUN_LIFETIME, (uint32_t)r->lifetime);
    if (r->channel)
        stun_put_u32(w, STUN_CHANNEL_NUMBER, (uint32_t)r->channel << 16);
    if (r->peer.len)
        stun_put_address(w, STUN_XOR_PEER_ADDRESS, &r->peer);
    if (r->connection)
        stun_put_u32(w, STUN_CONNECTION_ID, r->connection);
}

int turn_request_encode(struct turn_request *r, const struct stun_timer *timer,
                        const struct turn_credentials *c) {
    uint8_t id[STUN_ID_SIZE], bits[12];
    struct stun_writer w;
    if (getrandom(bits, sizeof bits, 0) != sizeof bits)
        return -EIO;
    stun_make_id(id, bits);
    stun_begin(&w, r->data, sizeof r->data, STUN_REQUEST, (uint16_t)r->method, id);
    put_fields(r, &w);
    r->with_proof = c->known && r->method != STUN_BINDING;
    if (r->with_proof)
        turn_credentials_sign(c, &w);
    ssize_t len = stun_finish(&w);
    if (len < 0)
        return (int)len;
    r->len = (size_t)len;
    int error = stun_transaction_init(&r->transaction, timer, r->data, r->len);
    if (!error && r->with_proof) {
        r->transaction.key = c->key;
        r->transaction.key_len = c->key_len;
    }
    return error;
}
