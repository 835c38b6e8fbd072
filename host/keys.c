/*
 * The seed is the only secret; OpenSSL's key objects hold it and what follows from it, and wipe
 * both when they go. Arithmetic on public keys is BIGNUM's: it need not hide them.
 *
 * An Ed25519 public key is a point's y and the sign of its x (RFC 8032 §5.1.2). X25519 only wants
 * the u that belongs to y. OpenSSL takes any 32 bytes for a key, so whether they are a point is
 * found out here.
 */
#include "host/keys.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "host/keys/base58.h"

#define EDWARDS_D_TOP 121665 /* d = -121665/121666, RFC 8032 §5.1 */
#define EDWARDS_D_BOTTOM 121666

struct keys {
    EVP_PKEY *ed25519, *x25519;
    uint8_t public[KEYS_PUBLIC];
};

/* -- key pairs ----------------------------------------------------------------------------- */

/* RFC 8032 §5.1.5 steps 1 and 2: the scalar behind the Ed25519 public key. X25519's too, RFC 7748
 * §5. */
static EVP_PKEY *derive_x25519(const uint8_t seed[KEYS_SEED]) {
    uint8_t hash[SHA512_DIGEST_LENGTH];
    EVP_PKEY *pkey = NULL;
    if (EVP_Q_digest(NULL, "SHA512", NULL, seed, KEYS_SEED, hash, NULL)) {
        hash[0] &= 248;
        hash[31] = (hash[31] & 127) | 64;
        pkey = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, hash, KEYS_SEED);
    }
    OPENSSL_cleanse(hash, sizeof hash);
    return pkey;
}

static struct keys *make(EVP_PKEY *ed25519, const uint8_t seed[KEYS_SEED]) {
    struct keys *keys = calloc(1, sizeof *keys);
    size_t len = sizeof keys->public;
    if (!keys) {
        EVP_PKEY_free(ed25519);
        return NULL;
    }
    *keys = (struct keys){.ed25519 = ed25519, .x25519 = derive_x25519(seed)};
    if (ed25519 && keys->x25519 && EVP_PKEY_get_raw_public_key(ed25519, keys->public, &len))
        return keys;
    keys_free(keys);
    return NULL;
}

struct keys *keys_from_seed(const uint8_t seed[KEYS_SEED]) {
    return make(EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, seed, KEYS_SEED), seed);
}

struct keys *keys_generate(void) {
    uint8_t seed[KEYS_SEED];
    size_t len = sizeof seed;
    EVP_PKEY *ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (!ed25519 || !EVP_PKEY_get_raw_private_key(ed25519, seed, &len)) {
        EVP_PKEY_free(ed25519);
        return NULL;
    }
    struct keys *keys = make(ed25519, seed);
    OPENSSL_cleanse(seed, sizeof seed);
    return keys;
}

void keys_free(struct keys *keys) {
    if (!keys)
        return;
    EVP_PKEY_free(keys->ed25519);
    EVP_PKEY_free(keys->x25519);
    free(keys);
}

const uint8_t *keys_public(const struct keys *keys) {
    return keys->public;
}

EVP_PKEY *keys_pkey(const struct keys *keys) {
    return keys->ed25519;
}

EVP_PKEY *keys_x25519(const struct keys *keys) {
    return keys->x25519;
}

void keys_seed(const struct keys *keys, uint8_t seed[KEYS_SEED]) {
    size_t len = KEYS_SEED;
    if (!EVP_PKEY_get_raw_private_key(keys->ed25519, seed, &len))
        abort(); /* it was made from one */
}

/* -- public keys --------------------------------------------------------------------------- */

/* u of the points whose order divides 8, and that are not the neutral one, which has none. */
static const uint8_t SMALL_ORDER[][KEYS_PUBLIC] = {
    {0},
    {1},
    {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
     0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8},
    {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
     0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
     0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
};

static bool is_small_order(const uint8_t u[KEYS_PUBLIC]) {
    for (size_t i = 0; i < sizeof SMALL_ORDER / sizeof *SMALL_ORDER; i++)
        if (memcmp(u, SMALL_ORDER[i], KEYS_PUBLIC) == 0)
            return true;
    return false;
}

/* y below p = 2^255 - 19, without the sign of x. */
static bool read_y(BIGNUM *y, BIGNUM *p, const uint8_t public[KEYS_PUBLIC]) {
    return BN_set_bit(p, 255) && BN_sub_word(p, 19) && BN_lebin2bn(public, KEYS_PUBLIC, y) &&
           (!BN_is_bit_set(y, 255) || BN_clear_bit(y, 255)) && BN_cmp(y, p) < 0;
}

/*
 * x² = (y² - 1) / (dy² + 1) has a solution (RFC 8032 §5.1.3) when the right side is a square: so
 * when (y² - 1) (121666 - 121665 y²) 121666 is one, which differs from it by squares only. None of
 * them is zero but for y = ±1, which are of small order.
 */
static bool is_on_curve(const BIGNUM *y, const BIGNUM *p, BN_CTX *ctx) {
    BIGNUM *square = BN_CTX_get(ctx), *value = BN_CTX_get(ctx);
    return value && BN_mod_sqr(square, y, p, ctx) && BN_copy(value, square) &&
           BN_mul_word(value, EDWARDS_D_TOP) && BN_sub_word(value, EDWARDS_D_BOTTOM) &&
           BN_mul_word(value, EDWARDS_D_BOTTOM) && BN_sub_word(square, 1) &&
           BN_mod_mul(value, value, square, p, ctx) && BN_mod_sub(value, p, value, p, ctx) &&
           BN_kronecker(value, p, ctx) == 1;
}

static bool write_u(const BIGNUM *y, const BIGNUM *p, BN_CTX *ctx, uint8_t x25519[KEYS_PUBLIC]) {
    BIGNUM *top = BN_CTX_get(ctx), *bottom = BN_CTX_get(ctx);
    return bottom && BN_copy(top, y) && BN_add_word(top, 1) &&
           BN_mod_sub(bottom, BN_value_one(), y, p, ctx) &&
           BN_mod_inverse(bottom, bottom, p, ctx) && BN_mod_mul(top, top, bottom, p, ctx) &&
           BN_bn2lebinpad(top, x25519, KEYS_PUBLIC) == KEYS_PUBLIC;
}

int keys_to_x25519(const uint8_t public[KEYS_PUBLIC], uint8_t x25519[KEYS_PUBLIC]) {
    BN_CTX *ctx = BN_CTX_new();
    if (!ctx)
        return -ENOMEM;
    BN_CTX_start(ctx);
    BIGNUM *y = BN_CTX_get(ctx), *p = BN_CTX_get(ctx);
    bool ok = p && read_y(y, p, public) && is_on_curve(y, p, ctx) && write_u(y, p, ctx, x25519);
    BN_CTX_end(ctx);
    BN_CTX_free(ctx);
    return ok && !is_small_order(x25519) ? 0 : -EINVAL;
}

char *keys_id(const uint8_t public[KEYS_PUBLIC], char id[KEYS_ID_MAX]) {
    return base58_encode(public, KEYS_PUBLIC, id);
}

int keys_parse_id(const char *id, size_t len, uint8_t public[KEYS_PUBLIC]) {
    uint8_t x25519[KEYS_PUBLIC];
    int error = len < KEYS_ID_MAX ? base58_decode(id, len, public, KEYS_PUBLIC) : -EINVAL;
    return error ? error : keys_to_x25519(public, x25519);
}
