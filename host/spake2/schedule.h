/* What SPAKE2 makes of the shared point: the transcript's keys (RFC 9382 §3.3, §4), and the seal
 * under them. */
#ifndef P2PD_HOST_SPAKE2_SCHEDULE_H
#define P2PD_HOST_SPAKE2_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/spake2/types.h"

#define SPAKE2_SEAL_KEY 32

/* In the transcript's order. */
struct spake2_transcript {
    struct spake2_text a, b, share_a, share_b, shared, w;
};

/* By role: the confirmation that it sends, the key with which it seals. */
struct spake2_keys {
    uint8_t confirmation[2][SPAKE2_CONFIRMATION];
    uint8_t seal[2][SPAKE2_SEAL_KEY];
};

/* False when OpenSSL fails. */
bool spake2_schedule(const struct spake2_transcript *transcript, struct spake2_keys *keys);

/* ChaCha20-Poly1305 (RFC 8439) under a key that seals once. 0 or -EIO; decryption -EBADMSG too. */
int spake2_encrypt(const uint8_t key[SPAKE2_SEAL_KEY], struct spake2_text plain, uint8_t *sealed);
int spake2_decrypt(const uint8_t key[SPAKE2_SEAL_KEY], struct spake2_text sealed, uint8_t *plain);

#endif
