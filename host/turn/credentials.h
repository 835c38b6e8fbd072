/* The long-term credential mechanism of RFC 8489 §9.2: user, password, and the server's challenge
 * (realm, nonce, algorithms). */
#ifndef P2PD_HOST_TURN_CREDENTIALS_H
#define P2PD_HOST_TURN_CREDENTIALS_H

#include "host/stun/integrity.h"

#define TURN_TEXT_MAX 763 /* bytes of a realm or a nonce, RFC 8489 §14.9 */
#define TURN_ALGORITHMS_MAX 64

struct turn_text {
    char data[TURN_TEXT_MAX];
    size_t len;
};

struct turn_credentials {
    struct turn_text user, password;
    struct turn_text realm; /* empty: whichever the server names */
    bool fixed;             /* the realm was given: no other one gets a proof of the password */
    bool known;             /* there has been a challenge: requests are signed */
    struct turn_text nonce;
    uint8_t algorithms[TURN_ALGORITHMS_MAX]; /* PASSWORD-ALGORITHMS as the server sent it */
    size_t algorithms_len;
    enum stun_algorithm algorithm;
    uint8_t key[STUN_KEY_MAX];
    size_t key_len;
};

/* 0, or -EINVAL for what is too long. Copies the texts; an empty realm takes the server's. */
int turn_credentials_init(struct turn_credentials *c, struct stun_text user,
                          struct stun_text password, struct stun_text realm);

/* Takes realm, nonce and algorithms of an error response 401 or 438. 0; -EPROTO: they are missing;
 * -EACCES: it is another realm than the given one; -EIO: OpenSSL refused. */
int turn_credentials_challenge(struct turn_credentials *c, const struct stun_message *m);

/* Adds what proves who we are, after all other attributes; nothing before the first challenge. */
void turn_credentials_sign(const struct turn_credentials *c, struct stun_writer *w);

#endif
