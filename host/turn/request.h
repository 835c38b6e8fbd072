/* A request of a TURN client: its fields, its encoded bytes and its STUN transaction. */
#ifndef P2PD_HOST_TURN_REQUEST_H
#define P2PD_HOST_TURN_REQUEST_H

#include "host/stun/transaction.h"
#include "host/turn/credentials.h"

#define TURN_REQUEST_MAX 3072 /* user, realm and nonce of the greatest length fit */

struct turn_request {
    struct turn_request *next;
    enum stun_method method;
    uint32_t connection; /* RFC 6062: which one it is about; 0: none */
    struct inet_addr peer;
    uint16_t channel;
    int family;       /* to ask for; 0: not mentioned */
    bool both;        /* an IPv6 address besides */
    int transport;    /* IPPROTO_UDP, IPPROTO_TCP */
    int64_t lifetime; /* seconds; < 0: not mentioned */
    bool with_proof;  /* the credentials were in it */
    int challenges;   /* answers that wanted (other) credentials */
    struct stun_transaction transaction;
    size_t len;
    uint8_t data[TURN_REQUEST_MAX];
};

struct turn_request *turn_request_new(enum stun_method method);

/* "allocate", "permit" and so on; NULL for what no client asks. */
const char *turn_method_name(enum stun_method method);

/* Puts a list at the end of another one; takes one request out of its list; frees all. */
void turn_request_append(struct turn_request **list, struct turn_request *r);
void turn_request_remove(struct turn_request **list, struct turn_request *r);
void turn_request_clear(struct turn_request **list);

/* Writes the request anew, under a new id, and starts its transaction. 0, -EIO (no random bytes, or
 * OpenSSL refused) or -EINVAL. It must not move afterwards, and c outlives it. */
int turn_request_encode(struct turn_request *r, const struct stun_timer *timer,
                        const struct turn_credentials *c);

#endif
