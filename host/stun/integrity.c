/*
 * Integrity of STUN messages (RFC 8489 §9, §14.5 to §14.7).
 *
 * Each check covers the message up to its own attribute, with the header's length as if the message
 * ended right after that attribute. So the header is hashed from a patched copy, and the rest in
 * place.
 */
#include "host/stun/integrity.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "host/bytes.h"

#define SHA1_SIZE 20
#define SHA256_SIZE 32
#define FINGERPRINT_MASK 0x5354554eu /* RFC 8489 §14.7 */
#define CLASSIC_BLOCK 64             /* RFC 3489 §11.2.8: the text is padded to a multiple of it */

static void patch_header(uint8_t head[STUN_HEADER_SIZE], const uint8_t *data, size_t end) {
    size_t body = end - STUN_HEADER_SIZE;
    memcpy(head, data, STUN_HEADER_SIZE);
    bytes_put16(head + 2, (unsigned)body);
}

static bool hash_text(EVP_MAC_CTX *ctx, const uint8_t *data, size_t len, size_t value_len,
                      bool classic) {
    static const uint8_t ZEROS[CLASSIC_BLOCK];
    uint8_t head[STUN_HEADER_SIZE];
    patch_header(head, data, len + STUN_ATTRIBUTE_HEADER_SIZE + value_len);
    return EVP_MAC_update(ctx, head, sizeof head) &&
           EVP_MAC_update(ctx, data + sizeof head, len - sizeof head) &&
           (!classic ||
            EVP_MAC_update(ctx, ZEROS, (CLASSIC_BLOCK - len % CLASSIC_BLOCK) % CLASSIC_BLOCK));
}

/* The HMAC of the first `len` bytes, for an attribute that follows them. 0 or -EIO. */
static int hmac(uint8_t *out, size_t out_len, struct stun_text key, const uint8_t *data, size_t len,
                bool classic) {
    const char *digest = out_len == SHA1_SIZE ? "SHA1" : "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)digest, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    size_t written;
    bool ok = ctx &&
              EVP_MAC_init(ctx, (const uint8_t *)(key.data ? key.data : ""), key.len, params) &&
              hash_text(ctx, data, len, out_len, classic) &&
              EVP_MAC_final(ctx, out, &written, out_len) && written == out_len;
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    return ok ? 0 : -EIO;
}

static int check_hmac(const struct stun_message *m, size_t at, size_t size, struct stun_text key) {
    uint8_t right[SHA256_SIZE];
    size_t len = bytes_get16(m->data + at + 2);
    if (len != size) /* no use of STUN here truncates its HMAC */
        return 0;
    int error = hmac(right, size, key, m->data, at, m->classic);
    if (error)
        return error;
    return CRYPTO_memcmp(right, m->data + at + STUN_ATTRIBUTE_HEADER_SIZE, size) == 0;
}

int stun_check_integrity(const struct stun_message *m, const void *key, size_t key_len) {
    struct stun_text text = {key, key_len};
    if (m->integrity_sha256)
        return check_hmac(m, m->integrity_sha256, SHA256_SIZE, text);
    if (m->integrity)
        return check_hmac(m, m->integrity, SHA1_SIZE, text);
    return -ENOENT;
}

static void put_hmac(struct stun_writer *w, uint16_t type, size_t size, struct stun_text key) {
    uint8_t value[SHA256_SIZE];
    if (w->error)
        return;
    bool classic = memcmp(w->data + 4, (const uint8_t[]){0x21, 0x12, 0xa4, 0x42}, 4) != 0;
    w->error = hmac(value, size, key, w->data, w->len, classic);
    stun_put(w, type, value, size);
}

void stun_put_integrity(struct stun_writer *w, const void *key, size_t key_len) {
    put_hmac(w, STUN_MESSAGE_INTEGRITY, SHA1_SIZE, (struct stun_text){key, key_len});
}

void stun_put_integrity_sha256(struct stun_writer *w, const void *key, size_t key_len) {
    put_hmac(w, STUN_MESSAGE_INTEGRITY_SHA256, SHA256_SIZE, (struct stun_text){key, key_len});
}

/* CRC-32 as ITU V.42 and Ethernet have it, four bits at a time. */
static uint32_t crc32_add(uint32_t crc, const uint8_t *data, size_t len) {
    static const uint32_t NIBBLES[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ NIBBLES[crc & 15];
        crc = crc >> 4 ^ NIBBLES[crc & 15];
    }
    return crc;
}

static uint32_t fingerprint(const uint8_t *data, size_t len) {
    uint8_t head[STUN_HEADER_SIZE];
    patch_header(head, data, len + STUN_ATTRIBUTE_HEADER_SIZE + 4);
    uint32_t crc = crc32_add(UINT32_MAX, head, sizeof head);
    return ~crc32_add(crc, data + sizeof head, len - sizeof head) ^ FINGERPRINT_MASK;
}

int stun_check_fingerprint(const struct stun_message *m) {
    if (!m->fingerprint)
        return -ENOENT;
    uint32_t value = bytes_get32(m->data + m->fingerprint + STUN_ATTRIBUTE_HEADER_SIZE);
    return value == fingerprint(m->data, m->fingerprint);
}

void stun_put_fingerprint(struct stun_writer *w) {
    if (!w->error)
        stun_put_u32(w, STUN_FINGERPRINT, fingerprint(w->data, w->len));
}

/* The digest of the parts with colons between them. */
static int hash_joined(uint8_t *out, const EVP_MD *md, const struct stun_text *parts, int count) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, md, NULL);
    for (int i = 0; ok && i < count; i++)
        ok = (i == 0 || EVP_DigestUpdate(ctx, ":", 1)) &&
             EVP_DigestUpdate(ctx, parts[i].data, parts[i].len);
    ok = ok && EVP_DigestFinal_ex(ctx, out, NULL);
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : -EIO;
}

int stun_long_term_key(uint8_t key[STUN_KEY_MAX], enum stun_algorithm algorithm,
                       struct stun_text user, struct stun_text realm, struct stun_text password) {
    if (algorithm != STUN_MD5 && algorithm != STUN_SHA256)
        return -EINVAL;
    const EVP_MD *md = algorithm == STUN_MD5 ? EVP_md5() : EVP_sha256();
    int error = hash_joined(key, md, (struct stun_text[]){user, realm, password}, 3);
    return error ? error : EVP_MD_get_size(md);
}

int stun_userhash(uint8_t hash[STUN_USERHASH_SIZE], struct stun_text user, struct stun_text realm) {
    return hash_joined(hash, EVP_sha256(), (struct stun_text[]){user, realm}, 2);
}
