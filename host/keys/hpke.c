/*
 * Each message has a context of its own, so there are no sequence numbers and no state between
 * calls: the encryption context's base nonce is the nonce. HKDF (RFC 5869) is written out over
 * HMAC, because RFC 9180 wants its halves apart and no output here is longer than one hash.
 *
 * What a forger can provoke must leave no trace in OpenSSL's error queue, where TLS would take it
 * for its own.
 */
#include "host/keys/hpke.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define HASH 32
#define NONCE 12
#define AEAD_KEY 32

enum mode { MODE_BASE = 0, MODE_AUTH = 2 }; /* RFC 9180 table 1 */

/* What both sides know: the results of one exchange or two, and whose keys they come from. */
struct exchange {
    enum mode mode;
    uint8_t dh[2 * HPKE_KEY];
    uint8_t keys[3 * HPKE_KEY]; /* ephemeral, receiver, sender */
};
_Static_assert(sizeof(struct exchange) <= sizeof(struct hpke_half), "a half is an exchange");

static const struct hpke_text VERSION = {"HPKE-v1", 7};
static const struct hpke_text KEM_SUITE = {"KEM\x00\x20", 5};
static const struct hpke_text SUITE = {"HPKE\x00\x20\x00\x01\x00\x03", 10};
static const struct hpke_text EMPTY = {"", 0};

static struct {
    pthread_once_t once;
    EVP_MAC *hmac;
    EVP_CIPHER *chacha;
} algorithms = {.once = PTHREAD_ONCE_INIT};

/* Kept as long as the process: to fetch costs more than to use. */
static void fetch(void) {
    algorithms.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    algorithms.chacha = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
}

/* -- key derivation ------------------------------------------------------------------------ */

static EVP_MAC_CTX *new_hmac(void) {
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    pthread_once(&algorithms.once, fetch);
    EVP_MAC_CTX *ctx = algorithms.hmac ? EVP_MAC_CTX_new(algorithms.hmac) : NULL;
    if (ctx && EVP_MAC_CTX_set_params(ctx, params))
        return ctx;
    EVP_MAC_CTX_free(ctx);
    return NULL;
}

static bool hmac(EVP_MAC_CTX *ctx, const uint8_t key[HASH], const struct hpke_text *parts, int n,
                 uint8_t out[HASH]) {
    size_t len;
    bool ok = EVP_MAC_init(ctx, key, HASH, NULL);
    for (int i = 0; ok && i < n; i++)
        ok = EVP_MAC_update(ctx, parts[i].data, parts[i].len);
    return ok && EVP_MAC_final(ctx, out, &len, HASH) && len == HASH;
}

/* RFC 9180 §4. No salt is a salt of zeros (RFC 5869 §2.2). */
static bool labeled_extract(EVP_MAC_CTX *ctx, struct hpke_text suite, const uint8_t salt[HASH],
                            struct hpke_text label, struct hpke_text ikm, uint8_t out[HASH]) {
    const struct hpke_text parts[] = {VERSION, suite, label, ikm};
    return hmac(ctx, salt, parts, 4, out);
}

/* One block of RFC 5869 §2.3: len is at most HASH, and what is behind it is not for use. */
static bool labeled_expand(EVP_MAC_CTX *ctx, struct hpke_text suite, const uint8_t prk[HASH],
                           struct hpke_text label, struct hpke_text info, uint8_t len,
                           uint8_t out[HASH]) {
    const uint8_t length[] = {0, len};
    const struct hpke_text parts[] = {{length, 2}, VERSION, suite, label, info, {"\x01", 1}};
    return hmac(ctx, prk, parts, 6, out);
}

#define LABEL(text) ((struct hpke_text){text, sizeof(text) - 1})

static const uint8_t NO_SALT[HASH];

/* -- the key encapsulation, RFC 9180 §4.1 -------------------------------------------------- */

/* Refused: a public key that leaves nothing but zeros (§7.1.4). */
static int diffie_hellman(EVP_PKEY *private, const uint8_t public[HPKE_KEY],
                          uint8_t out[HPKE_KEY]) {
    EVP_PKEY *peer = EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, public, HPKE_KEY);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, private, NULL);
    size_t len = HPKE_KEY;
    int error = -EIO;
    if (peer && ctx && EVP_PKEY_derive_init(ctx) > 0 && EVP_PKEY_derive_set_peer(ctx, peer) > 0) {
        bool ok = EVP_PKEY_derive(ctx, out, &len) > 0 && len == HPKE_KEY;
        error = ok && CRYPTO_memcmp(out, NO_SALT, HPKE_KEY) != 0 ? 0 : -EINVAL;
    }
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    return error;
}

static bool derive_shared(EVP_MAC_CTX *ctx, const struct exchange *x, uint8_t shared[HASH]) {
    bool auth = x->mode == MODE_AUTH;
    const struct hpke_text dh = {x->dh, (auth ? 2 : 1) * HPKE_KEY};
    const struct hpke_text context = {x->keys, (auth ? 3 : 2) * HPKE_KEY};
    uint8_t prk[HASH];
    bool ok = labeled_extract(ctx, KEM_SUITE, NO_SALT, LABEL("eae_prk"), dh, prk) &&
              labeled_expand(ctx, KEM_SUITE, prk, LABEL("shared_secret"), context, HASH, shared);
    OPENSSL_cleanse(prk, sizeof prk);
    return ok;
}

/* -- the key schedule, RFC 9180 §5.1 ------------------------------------------------------- */

struct secrets {
    uint8_t shared[HASH], secret[HASH];
    uint8_t key[AEAD_KEY];
    uint8_t nonce[HASH]; /* NONCE of them count */
};

static bool schedule(EVP_MAC_CTX *ctx, const struct exchange *x, struct hpke_text info,
                     struct secrets *s) {
    uint8_t context[1 + 2 * HASH] = {(uint8_t)x->mode};
    const struct hpke_text text = {context, sizeof context};
    return derive_shared(ctx, x, s->shared) &&
           labeled_extract(ctx, SUITE, NO_SALT, LABEL("psk_id_hash"), EMPTY, context + 1) &&
           labeled_extract(ctx, SUITE, NO_SALT, LABEL("info_hash"), info, context + 1 + HASH) &&
           labeled_extract(ctx, SUITE, s->shared, LABEL("secret"), EMPTY, s->secret) &&
           labeled_expand(ctx, SUITE, s->secret, LABEL("key"), text, AEAD_KEY, s->key) &&
           labeled_expand(ctx, SUITE, s->secret, LABEL("base_nonce"), text, NONCE, s->nonce);
}

static int derive_secrets(const struct exchange *x, struct hpke_text info, struct secrets *s) {
    EVP_MAC_CTX *ctx = new_hmac();
    bool ok = ctx && schedule(ctx, x, info, s);
    EVP_MAC_CTX_free(ctx);
    return ok ? 0 : -EIO;
}

/* -- the encryption ------------------------------------------------------------------------ */

static EVP_CIPHER_CTX *begin_cipher(const struct secrets *s, struct hpke_text aad, int encrypt) {
    int len;
    EVP_CIPHER_CTX *ctx = algorithms.chacha ? EVP_CIPHER_CTX_new() : NULL;
    if (ctx && EVP_CipherInit_ex2(ctx, algorithms.chacha, s->key, s->nonce, encrypt, NULL) &&
        (!aad.len || EVP_CipherUpdate(ctx, NULL, &len, aad.data, (int)aad.len)))
        return ctx;
    EVP_CIPHER_CTX_free(ctx);
    return NULL;
}

/* A stream cipher: it gives as much as it takes, and nothing at the end. */
static bool apply_cipher(EVP_CIPHER_CTX *ctx, const uint8_t *in, size_t len, uint8_t *out) {
    int n;
    return !len || (EVP_CipherUpdate(ctx, out, &n, in, (int)len) && n == (int)len);
}

static int encrypt(const struct secrets *s, struct hpke_text aad, struct hpke_text plain,
                   uint8_t *out) {
    int n;
    uint8_t *tag = out + plain.len;
    EVP_CIPHER_CTX *ctx = begin_cipher(s, aad, 1);
    bool ok = ctx && apply_cipher(ctx, plain.data, plain.len, out) &&
              EVP_CipherFinal_ex(ctx, tag, &n) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, HPKE_TAG, tag);
    EVP_CIPHER_CTX_free(ctx);
    return ok ? 0 : -EIO;
}

static int decrypt(const struct secrets *s, struct hpke_text aad, const uint8_t *in, size_t len,
                   uint8_t *plain) {
    int n, error = -EIO;
    uint8_t tag[HPKE_TAG], rest[EVP_MAX_BLOCK_LENGTH];
    EVP_CIPHER_CTX *ctx = begin_cipher(s, aad, 0);
    memcpy(tag, in + len, sizeof tag);
    if (ctx && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, HPKE_TAG, tag) &&
        apply_cipher(ctx, in, len, plain))
        error = EVP_CipherFinal_ex(ctx, rest, &n) ? 0 : -EBADMSG;
    if (error)
        OPENSSL_cleanse(plain, len);
    EVP_CIPHER_CTX_free(ctx);
    return error;
}

/* -- both together ------------------------------------------------------------------------- */

static int get_public(EVP_PKEY *pkey, uint8_t public[HPKE_KEY]) {
    size_t len = HPKE_KEY;
    return EVP_PKEY_get_raw_public_key(pkey, public, &len) && len == HPKE_KEY ? 0 : -EIO;
}

static int encapsulate(struct exchange *x, EVP_PKEY *ephemeral, EVP_PKEY *sender,
                       const uint8_t receiver[HPKE_KEY]) {
    x->mode = sender ? MODE_AUTH : MODE_BASE;
    memcpy(x->keys + HPKE_KEY, receiver, HPKE_KEY);
    int error = get_public(ephemeral, x->keys);
    if (!error)
        error = diffie_hellman(ephemeral, receiver, x->dh);
    if (!error && sender)
        error = get_public(sender, x->keys + 2 * HPKE_KEY);
    if (!error && sender)
        error = diffie_hellman(sender, receiver, x->dh + HPKE_KEY);
    return error;
}

static int decapsulate(struct exchange *x, EVP_PKEY *receiver, const uint8_t ephemeral[HPKE_KEY]) {
    x->mode = MODE_BASE;
    memcpy(x->keys, ephemeral, HPKE_KEY);
    int error = get_public(receiver, x->keys + HPKE_KEY);
    if (!error)
        error = diffie_hellman(receiver, ephemeral, x->dh);
    return error == -EINVAL ? -EBADMSG : error;
}

/* mode_auth from mode_base: the sender's part. */
static int authenticate(struct exchange *x, EVP_PKEY *receiver, const uint8_t sender[HPKE_KEY]) {
    x->mode = MODE_AUTH;
    memcpy(x->keys + 2 * HPKE_KEY, sender, HPKE_KEY);
    int error = diffie_hellman(receiver, sender, x->dh + HPKE_KEY);
    return error == -EINVAL ? -EBADMSG : error;
}

static void forget(struct exchange *x, struct secrets *s) {
    OPENSSL_cleanse(x, sizeof *x);
    OPENSSL_cleanse(s, sizeof *s);
    ERR_pop_to_mark();
}

int hpke_seal_with(EVP_PKEY *ephemeral, EVP_PKEY *sender, const uint8_t receiver[HPKE_KEY],
                   struct hpke_text info, struct hpke_text aad, struct hpke_text plain,
                   uint8_t *sealed) {
    struct exchange x;
    struct secrets s;
    if (plain.len > HPKE_PLAIN_MAX || aad.len > HPKE_PLAIN_MAX)
        return -EMSGSIZE;
    ERR_set_mark();
    int error = encapsulate(&x, ephemeral, sender, receiver);
    if (!error)
        error = derive_secrets(&x, info, &s);
    if (!error)
        error = encrypt(&s, aad, plain, sealed + HPKE_KEY);
    if (!error)
        memcpy(sealed, x.keys, HPKE_KEY);
    forget(&x, &s);
    return error;
}

int hpke_seal(EVP_PKEY *sender, const uint8_t receiver[HPKE_KEY], struct hpke_text info,
              struct hpke_text aad, struct hpke_text plain, uint8_t *sealed) {
    EVP_PKEY *ephemeral = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    if (!ephemeral)
        return -EIO;
    int error = hpke_seal_with(ephemeral, sender, receiver, info, aad, plain, sealed);
    EVP_PKEY_free(ephemeral);
    return error;
}

int hpke_open(EVP_PKEY *receiver, const uint8_t *sender, struct hpke_text info,
              struct hpke_text aad, struct hpke_text sealed, uint8_t *plain) {
    struct exchange x;
    struct secrets s;
    const uint8_t *bytes = sealed.data;
    if (sealed.len < HPKE_OVERHEAD || sealed.len - HPKE_OVERHEAD > HPKE_PLAIN_MAX ||
        aad.len > HPKE_PLAIN_MAX)
        return -EBADMSG;
    ERR_set_mark();
    int error = decapsulate(&x, receiver, bytes);
    if (!error && sender)
        error = authenticate(&x, receiver, sender);
    if (!error)
        error = derive_secrets(&x, info, &s);
    if (!error)
        error = decrypt(&s, aad, bytes + HPKE_KEY, sealed.len - HPKE_OVERHEAD, plain);
    forget(&x, &s);
    return error;
}

/* -- with a hidden sender ------------------------------------------------------------------ */

#define NAME_END (HPKE_KEY + HPKE_NAME + HPKE_TAG)

/* The contexts share an ephemeral key and nothing else: the mode is in every secret of theirs. */
static int seal_both(struct exchange *x, const struct hpke_named *m, uint8_t *sealed) {
    struct exchange base = *x;
    struct secrets s;
    base.mode = MODE_BASE;
    const struct hpke_text name = {m->name, HPKE_NAME};
    int error = derive_secrets(&base, m->name_info, &s);
    if (!error)
        error = encrypt(&s, m->aad, name, sealed + HPKE_KEY);
    if (!error)
        error = derive_secrets(x, m->info, &s);
    if (!error)
        error = encrypt(&s, m->aad, m->plain, sealed + NAME_END);
    if (!error)
        memcpy(sealed, x->keys, HPKE_KEY);
    OPENSSL_cleanse(&base, sizeof base);
    OPENSSL_cleanse(&s, sizeof s);
    return error;
}

int hpke_seal_named(EVP_PKEY *sender, const uint8_t receiver[HPKE_KEY], const struct hpke_named *m,
                    uint8_t *sealed) {
    struct exchange x;
    if (m->plain.len > HPKE_PLAIN_MAX || m->aad.len > HPKE_PLAIN_MAX)
        return -EMSGSIZE;
    ERR_set_mark();
    EVP_PKEY *ephemeral = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    int error = ephemeral ? encapsulate(&x, ephemeral, sender, receiver) : -EIO;
    if (!error)
        error = seal_both(&x, m, sealed);
    OPENSSL_cleanse(&x, sizeof x);
    EVP_PKEY_free(ephemeral);
    ERR_pop_to_mark();
    return error;
}

int hpke_open_name(EVP_PKEY *receiver, struct hpke_text info, struct hpke_text aad,
                   struct hpke_text sealed, uint8_t name[HPKE_NAME], struct hpke_half *half) {
    struct exchange x;
    struct secrets s;
    const uint8_t *bytes = sealed.data;
    if (sealed.len < HPKE_NAMED_OVERHEAD || sealed.len - HPKE_NAMED_OVERHEAD > HPKE_PLAIN_MAX ||
        aad.len > HPKE_PLAIN_MAX)
        return -EBADMSG;
    ERR_set_mark();
    int error = decapsulate(&x, receiver, bytes);
    if (!error)
        error = derive_secrets(&x, info, &s);
    if (!error)
        error = decrypt(&s, aad, bytes + HPKE_KEY, HPKE_NAME, name);
    memcpy(half, &x, sizeof x);
    forget(&x, &s);
    return error;
}

int hpke_open_rest(EVP_PKEY *receiver, const uint8_t sender[HPKE_KEY], struct hpke_half *half,
                   struct hpke_text info, struct hpke_text aad, struct hpke_text sealed,
                   uint8_t *plain) {
    struct exchange x;
    struct secrets s;
    const uint8_t *bytes = sealed.data;
    memcpy(&x, half, sizeof x);
    OPENSSL_cleanse(half, sizeof *half);
    ERR_set_mark();
    int error = authenticate(&x, receiver, sender);
    if (!error)
        error = derive_secrets(&x, info, &s);
    if (!error)
        error = decrypt(&s, aad, bytes + NAME_END, sealed.len - HPKE_NAMED_OVERHEAD, plain);
    forget(&x, &s);
    return error;
}
