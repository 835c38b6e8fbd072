/* Integrity of STUN messages: MESSAGE-INTEGRITY (HMAC), its keys, and FINGERPRINT (CRC-32). */
#ifndef P2PD_HOST_STUN_INTEGRITY_H
#define P2PD_HOST_STUN_INTEGRITY_H

#include "host/stun.h"

#define STUN_KEY_MAX 32
#define STUN_USERHASH_SIZE 32

/* Password algorithms of RFC 8489 §18.5. */
enum stun_algorithm { STUN_MD5 = 1, STUN_SHA256 = 2 };

/* A short-term key is the password's bytes; a long-term key is made by stun_long_term_key(). Where
 * a message has both integrity attributes, the SHA256 one is checked. 1: right, 0: wrong, -ENOENT:
 * the message has none, -EIO: OpenSSL refused. */
int stun_check_integrity(const struct stun_message *m, const void *key, size_t key_len);
int stun_check_fingerprint(const struct stun_message *m);

/* After all other attributes, in this order. */
void stun_put_integrity(struct stun_writer *w, const void *key, size_t key_len);
void stun_put_integrity_sha256(struct stun_writer *w, const void *key, size_t key_len);
void stun_put_fingerprint(struct stun_writer *w);

struct stun_text {
    const char *data;
    size_t len;
};

/* The hash of "user:realm:password" (RFC 8489 §9.2.2); the strings are prepared already (RFC 8265).
 * Returns the length of the key, -EINVAL for another algorithm, or -EIO. */
int stun_long_term_key(uint8_t key[STUN_KEY_MAX], enum stun_algorithm algorithm,
                       struct stun_text user, struct stun_text realm, struct stun_text password);

/* SHA-256 of "user:realm" (RFC 8489 §14.4). 0 or -EIO. */
int stun_userhash(uint8_t hash[STUN_USERHASH_SIZE], struct stun_text user, struct stun_text realm);

#endif
