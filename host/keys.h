/* A node's keys: the Ed25519 pair that signs, the X25519 pair derived from the same seed that
 * seals, and the node id, which is the base58 text of the Ed25519 public key. */
#ifndef P2PD_HOST_KEYS_H
#define P2PD_HOST_KEYS_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#define KEYS_PUBLIC 32
#define KEYS_SEED 32   /* RFC 8032 §5.1.5: the private key */
#define KEYS_ID_MAX 45 /* base58 of 32 bytes is 32 to 44 characters, and NUL */

/* It never changes once made, and is wiped at the end. */
struct keys;

/* A key pair of the caller's; NULL when the random source or OpenSSL fails. */
struct keys *keys_generate(void);
struct keys *keys_from_seed(const uint8_t seed[KEYS_SEED]);
void keys_free(struct keys *keys); /* NULL is fine */

/* Borrowed, as long as the pair: the Ed25519 public key, the Ed25519 pair, the X25519 pair. */
const uint8_t *keys_public(const struct keys *keys);
EVP_PKEY *keys_pkey(const struct keys *keys);
EVP_PKEY *keys_x25519(const struct keys *keys);

/* The secret itself, to be kept; the caller wipes its copy. */
void keys_seed(const struct keys *keys, uint8_t seed[KEYS_SEED]);

/* The node id of a public key: writes into id and returns it. */
char *keys_id(const uint8_t public[KEYS_PUBLIC], char id[KEYS_ID_MAX]);

/* The public key of a node id: 0, or -EINVAL when the text is not the one base58 spelling of
 * exactly 32 bytes, or those are no point of the curve, or one of small order (whose secrets are
 * nobody's). */
int keys_parse_id(const char *id, size_t len, uint8_t public[KEYS_PUBLIC]);

/* The X25519 public key that belongs to an Ed25519 one, u = (1 + y) / (1 - y) (RFC 7748 §4.1): 0,
 * or -EINVAL as above. The key and its negative give the same u: who seals must name the Ed25519
 * keys too. */
int keys_to_x25519(const uint8_t public[KEYS_PUBLIC], uint8_t x25519[KEYS_PUBLIC]);

#endif
