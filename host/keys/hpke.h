/* HPKE (RFC 9180), single shot: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. */
#ifndef P2PD_HOST_KEYS_HPKE_H
#define P2PD_HOST_KEYS_HPKE_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#define HPKE_KEY 32 /* an X25519 key */
#define HPKE_TAG 16
#define HPKE_OVERHEAD (HPKE_KEY + HPKE_TAG) /* what sealing adds */
#define HPKE_PLAIN_MAX (1 << 20)            /* bytes of plaintext: far more than anybody sends */

struct hpke_text {
    const void *data;
    size_t len;
};

/*
 * Seals for the receiver: writes the ephemeral public key, the ciphertext and the tag, plain.len +
 * HPKE_OVERHEAD bytes. With a sender it is mode_auth, with NULL mode_base. 0, -EINVAL when the
 * receiver's key is of small order, -EMSGSIZE when plain is too long, -EIO when OpenSSL fails.
 */
int hpke_seal(EVP_PKEY *sender, const uint8_t receiver[HPKE_KEY], struct hpke_text info,
              struct hpke_text aad, struct hpke_text plain, uint8_t *sealed);

/* As above with a chosen ephemeral key: for the published vectors. Nobody may seal twice with one.
 */
int hpke_seal_with(EVP_PKEY *ephemeral, EVP_PKEY *sender, const uint8_t receiver[HPKE_KEY],
                   struct hpke_text info, struct hpke_text aad, struct hpke_text plain,
                   uint8_t *sealed);

/*
 * Opens what was sealed for the receiver: writes sealed.len - HPKE_OVERHEAD bytes, which are wiped
 * when they prove false. sender NULL: mode_base. 0, -EBADMSG when it was not sealed by that sender
 * for this receiver with this info and aad, or was altered, -EIO when OpenSSL fails.
 */
int hpke_open(EVP_PKEY *receiver, const uint8_t *sender, struct hpke_text info,
              struct hpke_text aad, struct hpke_text sealed, uint8_t *plain);

/*
 * With a hidden sender: what names him (his public key, or what leads to it) is sealed in
 * mode_base, the message in mode_auth, and both have one ephemeral key, so that the second costs no
 * second exchange: ephemeral key, name, tag, message, tag.
 */
#define HPKE_NAME 32
#define HPKE_NAMED_OVERHEAD (HPKE_KEY + HPKE_NAME + HPKE_TAG + HPKE_TAG)

struct hpke_named {
    const uint8_t *name;
    struct hpke_text name_info, info, aad, plain;
};

/* Writes plain.len + HPKE_NAMED_OVERHEAD bytes; fails as hpke_seal() does. */
int hpke_seal_named(EVP_PKEY *sender, const uint8_t receiver[HPKE_KEY], const struct hpke_named *m,
                    uint8_t *sealed);

/* What the first half of opening leaves for the second. */
struct hpke_half {
    uint8_t bytes[192];
};

/* Opens the name, which nobody vouches for until the rest is opened: 0, -EBADMSG, -EIO. After 0 the
 * rest has to be opened, or the half wiped. */
int hpke_open_name(EVP_PKEY *receiver, struct hpke_text info, struct hpke_text aad,
                   struct hpke_text sealed, uint8_t name[HPKE_NAME], struct hpke_half *half);

/* Opens the message of the sender that the name has led to: writes sealed.len -
 * HPKE_NAMED_OVERHEAD bytes, and fails as hpke_open() does. Wipes the half. */
int hpke_open_rest(EVP_PKEY *receiver, const uint8_t sender[HPKE_KEY], struct hpke_half *half,
                   struct hpke_text info, struct hpke_text aad, struct hpke_text sealed,
                   uint8_t *plain);

#endif
