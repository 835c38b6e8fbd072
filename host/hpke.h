/* HPKE (RFC 9180), single shot: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. */
#ifndef P2PD_HPKE_H
#define P2PD_HPKE_H

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

#endif
