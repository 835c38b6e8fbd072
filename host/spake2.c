/*
 * The points M and N are the RFC's, of which nobody knows the logarithms (§4). A password is
 * hashed to a scalar without a slow hash: no byte that is sent lets a guess be tried offline, so a
 * slow one would hold nobody up.
 *
 * Every product has one point and one scalar: OpenSSL computes those in constant time, and sums of
 * products not on every machine.
 *
 * What a forger can provoke must leave no trace in OpenSSL's error queue, where TLS would take it
 * for its own.
 */
#include "host/spake2.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "host/spake2/schedule.h"

#define COMPRESSED 33

static const uint8_t M[COMPRESSED] = {0x02, 0x88, 0x6e, 0x2f, 0x97, 0xac, 0xe4, 0x6e, 0x55,
                                      0xba, 0x9d, 0xd7, 0x24, 0x25, 0x79, 0xf2, 0x99, 0x3b,
                                      0x64, 0xe1, 0x6e, 0xf3, 0xdc, 0xab, 0x95, 0xaf, 0xd4,
                                      0x97, 0x33, 0x3d, 0x8f, 0xa1, 0x2f};
static const uint8_t N[COMPRESSED] = {0x03, 0xd8, 0xbb, 0xd6, 0xc6, 0x39, 0xc6, 0x29, 0x37,
                                      0xb0, 0x4d, 0x99, 0x7f, 0x38, 0xc3, 0x77, 0x07, 0x19,
                                      0xc6, 0x29, 0xd7, 0x01, 0x4d, 0x49, 0xa2, 0x4b, 0x4f,
                                      0x98, 0xba, 0xa1, 0x29, 0x2b, 0x49};

struct spake2 {
    enum spake2_role role;
    EC_GROUP *group;
    BN_CTX *ctx;
    BIGNUM *w, *secret;
    uint8_t share[SPAKE2_SHARE];
    size_t a_len, b_len;
    uint8_t a[SPAKE2_NAME_MAX], b[SPAKE2_NAME_MAX];
    bool received, sealed;
    struct spake2_keys keys; /* once received */
};

/* -- the group ----------------------------------------------------------------------------- */

/* M blinds A's share, N blinds B's. */
static EC_POINT *new_blinding_point(const struct spake2 *s, enum spake2_role role) {
    EC_POINT *point = EC_POINT_new(s->group);
    if (point &&
        EC_POINT_oct2point(s->group, point, role == SPAKE2_A ? M : N, COMPRESSED, s->ctx) == 1)
        return point;
    EC_POINT_free(point);
    return NULL;
}

/* w * M, or w * N. */
static EC_POINT *new_blind(const struct spake2 *s, enum spake2_role role) {
    EC_POINT *point = new_blinding_point(s, role);
    if (point && EC_POINT_mul(s->group, point, NULL, point, s->w, s->ctx))
        return point;
    EC_POINT_free(point);
    return NULL;
}

/* secret * P + w * M (§3.3). */
static bool make_share(struct spake2 *s) {
    EC_POINT *blind = new_blind(s, s->role), *sum = EC_POINT_new(s->group);
    bool ok = blind && sum && EC_POINT_mul(s->group, sum, s->secret, NULL, NULL, s->ctx) &&
              EC_POINT_add(s->group, sum, sum, blind, s->ctx) &&
              EC_POINT_point2oct(s->group, sum, POINT_CONVERSION_UNCOMPRESSED, s->share,
                                 SPAKE2_SHARE, s->ctx) == SPAKE2_SHARE;
    EC_POINT_clear_free(blind);
    EC_POINT_clear_free(sum);
    return ok;
}

/* The peer's share as a point, which OpenSSL has found to be on the curve; the cofactor is 1. */
static EC_POINT *parse_share(const struct spake2 *s, const uint8_t *share, size_t len) {
    if (len != SPAKE2_SHARE || share[0] != POINT_CONVERSION_UNCOMPRESSED)
        return NULL;
    EC_POINT *point = EC_POINT_new(s->group);
    if (point && EC_POINT_oct2point(s->group, point, share, len, s->ctx) == 1)
        return point;
    EC_POINT_free(point);
    return NULL;
}

/* secret * (share - w * N), the shared point: 0, -EINVAL when it is the neutral one, -EIO. */
static int agree(const struct spake2 *s, EC_POINT *share, uint8_t shared[SPAKE2_SHARE]) {
    EC_POINT *blind = new_blind(s, s->role == SPAKE2_A ? SPAKE2_B : SPAKE2_A);
    bool ok = blind && EC_POINT_invert(s->group, blind, s->ctx) &&
              EC_POINT_add(s->group, share, share, blind, s->ctx) &&
              EC_POINT_mul(s->group, share, NULL, share, s->secret, s->ctx);
    EC_POINT_clear_free(blind);
    if (!ok)
        return -EIO;
    if (EC_POINT_is_at_infinity(s->group, share))
        return -EINVAL;
    size_t len = EC_POINT_point2oct(s->group, share, POINT_CONVERSION_UNCOMPRESSED, shared,
                                    SPAKE2_SHARE, s->ctx);
    return len == SPAKE2_SHARE ? 0 : -EIO;
}

/* -- scalars ------------------------------------------------------------------------------- */

/* Twice as many bits as the order has: no scalar is noticeably likelier than another. */
static bool hash_password(struct spake2 *s, struct spake2_text password) {
    static const char LABEL[] = "p2pd code 1"; /* hashed with its NUL */
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha512(), NULL) &&
              EVP_DigestUpdate(md, LABEL, sizeof LABEL) &&
              EVP_DigestUpdate(md, password.data, password.len) &&
              EVP_DigestFinal_ex(md, hash, &len);
    EVP_MD_CTX_free(md);
    BIGNUM *wide = ok ? BN_bin2bn(hash, (int)len, NULL) : NULL;
    if (wide)
        BN_set_flags(wide, BN_FLG_CONSTTIME);
    ok = wide && BN_nnmod(s->w, wide, EC_GROUP_get0_order(s->group), s->ctx);
    BN_clear_free(wide);
    OPENSSL_cleanse(hash, sizeof hash);
    return ok;
}

static bool draw_secret(struct spake2 *s) {
    do {
        if (!BN_priv_rand_range(s->secret, EC_GROUP_get0_order(s->group)))
            return false;
    } while (BN_is_zero(s->secret));
    return true;
}

static bool read_scalar(const struct spake2 *s, BIGNUM *to, const uint8_t bytes[SPAKE2_SCALAR]) {
    return BN_bin2bn(bytes, SPAKE2_SCALAR, to) && !BN_is_zero(to) &&
           BN_cmp(to, EC_GROUP_get0_order(s->group)) < 0;
}

/* -- lives --------------------------------------------------------------------------------- */

static struct spake2 *new_blank(const struct spake2_options *o) {
    if (o->a.len > SPAKE2_NAME_MAX || o->b.len > SPAKE2_NAME_MAX) {
        errno = EINVAL;
        return NULL;
    }
    struct spake2 *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->role = o->role;
    s->a_len = o->a.len;
    s->b_len = o->b.len;
    memcpy(s->a, o->a.data, o->a.len);
    memcpy(s->b, o->b.data, o->b.len);
    s->group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    s->ctx = BN_CTX_secure_new();
    s->w = BN_new();
    s->secret = BN_new();
    if (s->group && s->ctx && s->w && s->secret) {
        BN_set_flags(s->w, BN_FLG_CONSTTIME);
        BN_set_flags(s->secret, BN_FLG_CONSTTIME);
        return s;
    }
    spake2_free(s);
    errno = EIO;
    return NULL;
}

static struct spake2 *fail(struct spake2 *s, int code) {
    ERR_pop_to_mark();
    spake2_free(s);
    errno = code;
    return NULL;
}

struct spake2 *spake2_new(const struct spake2_options *options) {
    struct spake2 *s = new_blank(options);
    if (!s)
        return NULL;
    ERR_set_mark();
    if (!hash_password(s, options->password) || !draw_secret(s) || !make_share(s))
        return fail(s, EIO);
    ERR_pop_to_mark();
    return s;
}

struct spake2 *spake2_new_with(const struct spake2_options *options, const uint8_t w[SPAKE2_SCALAR],
                               const uint8_t secret[SPAKE2_SCALAR]) {
    struct spake2 *s = new_blank(options);
    if (!s)
        return NULL;
    ERR_set_mark();
    if (!read_scalar(s, s->w, w) || !read_scalar(s, s->secret, secret))
        return fail(s, EINVAL);
    if (!make_share(s))
        return fail(s, EIO);
    ERR_pop_to_mark();
    return s;
}

void spake2_free(struct spake2 *s) {
    if (!s)
        return;
    BN_clear_free(s->w);
    BN_clear_free(s->secret);
    BN_CTX_free(s->ctx);
    EC_GROUP_free(s->group);
    OPENSSL_cleanse(s, sizeof *s);
    free(s);
}

/* -- the exchange -------------------------------------------------------------------------- */

const uint8_t *spake2_share(const struct spake2 *s) {
    return s->share;
}

static int derive(struct spake2 *s, const uint8_t *share, const uint8_t shared[SPAKE2_SHARE]) {
    bool is_a = s->role == SPAKE2_A;
    uint8_t w[SPAKE2_SCALAR];
    if (BN_bn2binpad(s->w, w, sizeof w) != sizeof w)
        return -EIO;
    const struct spake2_transcript transcript = {
        {s->a, s->a_len},
        {s->b, s->b_len},
        {is_a ? s->share : share, SPAKE2_SHARE},
        {is_a ? share : s->share, SPAKE2_SHARE},
        {shared, SPAKE2_SHARE},
        {w, sizeof w},
    };
    bool ok = spake2_schedule(&transcript, &s->keys);
    OPENSSL_cleanse(w, sizeof w);
    return ok ? 0 : -EIO;
}

int spake2_receive(struct spake2 *s, const void *share, size_t len) {
    uint8_t shared[SPAKE2_SHARE];
    if (s->received)
        return -EALREADY;
    ERR_set_mark();
    EC_POINT *point = parse_share(s, share, len);
    int error = point ? agree(s, point, shared) : -EINVAL;
    EC_POINT_clear_free(point);
    if (!error)
        error = derive(s, share, shared);
    OPENSSL_cleanse(shared, sizeof shared);
    ERR_pop_to_mark();
    s->received = !error;
    return error;
}

const uint8_t *spake2_confirmation(const struct spake2 *s) {
    return s->received ? s->keys.confirmation[s->role] : NULL;
}

int spake2_verify(const struct spake2 *s, const void *confirmation, size_t len) {
    enum spake2_role peer = s->role == SPAKE2_A ? SPAKE2_B : SPAKE2_A;
    if (!s->received)
        return -ENOTCONN;
    bool same = len == SPAKE2_CONFIRMATION &&
                CRYPTO_memcmp(confirmation, s->keys.confirmation[peer], SPAKE2_CONFIRMATION) == 0;
    return same ? 0 : -EBADMSG;
}

int spake2_seal(struct spake2 *s, struct spake2_text plain, uint8_t *sealed) {
    if (!s->received)
        return -ENOTCONN;
    if (s->sealed)
        return -EALREADY;
    if (plain.len > SPAKE2_PLAIN_MAX)
        return -EMSGSIZE;
    s->sealed = true;
    return spake2_encrypt(s->keys.seal[s->role], plain, sealed);
}

int spake2_open(const struct spake2 *s, struct spake2_text sealed, uint8_t *plain) {
    enum spake2_role peer = s->role == SPAKE2_A ? SPAKE2_B : SPAKE2_A;
    if (!s->received)
        return -ENOTCONN;
    if (sealed.len < SPAKE2_SEAL || sealed.len > SPAKE2_PLAIN_MAX + SPAKE2_SEAL)
        return -EBADMSG;
    return spake2_decrypt(s->keys.seal[peer], sealed, plain);
}
