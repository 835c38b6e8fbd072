/* The transcript is hashed and authenticated piece by piece; each piece follows its length in
 * eight bytes, the lowest first (RFC 9382 §3.3). */
#include "host/spake2/schedule.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <string.h>

#define HASH 32
#define HALF (HASH / 2)
#define NONCE 12
#define PIECES 6

static void copy_pieces(const struct spake2_transcript *t, struct spake2_text to[PIECES]) {
    const struct spake2_text pieces[PIECES] = {t->a, t->b, t->share_a, t->share_b, t->shared, t->w};
    memcpy(to, pieces, sizeof pieces);
}

static void write_length(size_t len, uint8_t out[8]) {
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)((uint64_t)len >> (8 * i));
}

static bool hash_transcript(const struct spake2_transcript *t, uint8_t hash[HASH]) {
    struct spake2_text pieces[PIECES];
    uint8_t length[8];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    copy_pieces(t, pieces);
    for (int i = 0; ok && i < PIECES; i++) {
        write_length(pieces[i].len, length);
        ok = EVP_DigestUpdate(md, length, sizeof length) &&
             EVP_DigestUpdate(md, pieces[i].data, pieces[i].len);
    }
    ok = ok && EVP_DigestFinal_ex(md, hash, NULL);
    EVP_MD_CTX_free(md);
    return ok;
}

static EVP_MAC_CTX *new_hmac(const uint8_t key[HALF]) {
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    EVP_MAC_free(mac);
    if (ctx && EVP_MAC_init(ctx, key, HALF, params))
        return ctx;
    EVP_MAC_CTX_free(ctx);
    return NULL;
}

static bool confirm(const struct spake2_transcript *t, const uint8_t key[HALF],
                    uint8_t out[SPAKE2_CONFIRMATION]) {
    struct spake2_text pieces[PIECES];
    uint8_t length[8];
    size_t len;
    EVP_MAC_CTX *ctx = new_hmac(key);
    bool ok = ctx != NULL;
    copy_pieces(t, pieces);
    for (int i = 0; ok && i < PIECES; i++) {
        write_length(pieces[i].len, length);
        ok = EVP_MAC_update(ctx, length, sizeof length) &&
             EVP_MAC_update(ctx, pieces[i].data, pieces[i].len);
    }
    ok = ok && EVP_MAC_final(ctx, out, &len, SPAKE2_CONFIRMATION) && len == SPAKE2_CONFIRMATION;
    EVP_MAC_CTX_free(ctx);
    return ok;
}

/* HKDF without a salt (RFC 5869). */
static bool expand(const uint8_t secret[HALF], const char *info, uint8_t *out, size_t len) {
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, HALF),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, strlen(info)),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    bool ok = ctx && EVP_KDF_derive(ctx, out, len, params) > 0;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return ok;
}

bool spake2_schedule(const struct spake2_transcript *t, struct spake2_keys *keys) {
    uint8_t hash[HASH], mac_keys[HASH]; /* Ke and Ka; KcA and KcB */
    bool ok = hash_transcript(t, hash) &&
              expand(hash + HALF, "ConfirmationKeys", mac_keys, sizeof mac_keys) &&
              confirm(t, mac_keys, keys->confirmation[SPAKE2_A]) &&
              confirm(t, mac_keys + HALF, keys->confirmation[SPAKE2_B]) &&
              expand(hash, "p2pd code 1 A to B", keys->seal[SPAKE2_A], SPAKE2_SEAL_KEY) &&
              expand(hash, "p2pd code 1 B to A", keys->seal[SPAKE2_B], SPAKE2_SEAL_KEY);
    OPENSSL_cleanse(hash, sizeof hash);
    OPENSSL_cleanse(mac_keys, sizeof mac_keys);
    return ok;
}

/* -- the seal ------------------------------------------------------------------------------ */

static const uint8_t ZERO[NONCE]; /* a key seals once */

static EVP_CIPHER_CTX *new_cipher(const uint8_t *key, bool encrypts) {
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx && EVP_CipherInit_ex(ctx, EVP_chacha20_poly1305(), NULL, key, ZERO, encrypts))
        return ctx;
    EVP_CIPHER_CTX_free(ctx);
    return NULL;
}

int spake2_encrypt(const uint8_t key[SPAKE2_SEAL_KEY], struct spake2_text plain, uint8_t *sealed) {
    int len, rest;
    EVP_CIPHER_CTX *ctx = new_cipher(key, true);
    bool ok = ctx && EVP_CipherUpdate(ctx, sealed, &len, plain.data, (int)plain.len) &&
              EVP_CipherFinal_ex(ctx, sealed + len, &rest) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SPAKE2_SEAL, sealed + plain.len) > 0;
    EVP_CIPHER_CTX_free(ctx);
    return ok ? 0 : -EIO;
}

int spake2_decrypt(const uint8_t key[SPAKE2_SEAL_KEY], struct spake2_text sealed, uint8_t *plain) {
    size_t plain_len = sealed.len - SPAKE2_SEAL;
    int len, rest;
    ERR_set_mark();
    EVP_CIPHER_CTX *ctx = new_cipher(key, false);
    int error = -EIO;
    if (ctx && EVP_CipherUpdate(ctx, plain, &len, sealed.data, (int)plain_len) &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SPAKE2_SEAL,
                            (uint8_t *)sealed.data + plain_len) > 0)
        error = EVP_CipherFinal_ex(ctx, plain + len, &rest) > 0 ? 0 : -EBADMSG;
    EVP_CIPHER_CTX_free(ctx);
    ERR_pop_to_mark();
    if (error)
        OPENSSL_cleanse(plain, plain_len);
    return error;
}
