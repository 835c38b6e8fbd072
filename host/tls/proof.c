/*
 * A binder is an HMAC over the whole ClientHello, the key share included. So whoever sees a hello
 * and sends it again gets an answer that only the holder of the key share can read, and whoever
 * puts in a key share of his own has no binder for it.
 *
 * Two properties keep the check small. The binder is the end of the message, so nothing has to be
 * parsed. And all of it has to be in one record, which is what OpenSSL sends.
 */
#include "host/tls/proof.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "host/tls/pin.h"

#define HASH 32
#define MESSAGE_HEADER 4
#define BINDERS (sizeof BINDERS_HEADER + HASH)
#define MESSAGE_MIN (MESSAGE_HEADER + BINDERS)

static const char PURPOSE[] = "p2pd node id 1"; /* the key of the PSK's HMAC */
static const char IDENTITY[] = "p2pd";
static const uint8_t BINDERS_HEADER[] = {0, 1 + HASH, HASH};  /* lengths: of the list, of the one */
static const uint8_t SUITE[] = {0x13, 0x01};                  /* its hash is SHA-256 */
static const uint8_t HANDSHAKE_RECORD = 22, CLIENT_HELLO = 1; /* RFC 8446 §5.1, §4 */

/* -- keys ---------------------------------------------------------------------------------- */

static bool hmac(const void *key, size_t key_len, const void *data, size_t len, uint8_t out[HASH]) {
    return HMAC(EVP_sha256(), key, (int)key_len, data, len, out, NULL) != NULL;
}

/* HKDF-Expand-Label (RFC 8446 §7.1) to one hash; `label` begins with "tls13 ". */
static bool expand_label(const uint8_t secret[HASH], const char *label, const void *context,
                         size_t context_len, uint8_t out[HASH]) {
    uint8_t info[64] = {0, HASH};
    size_t label_len = strlen(label), len = 2;
    info[len++] = (uint8_t)label_len;
    memcpy(info + len, label, label_len);
    len += label_len;
    info[len++] = (uint8_t)context_len;
    if (context_len)
        memcpy(info + len, context, context_len);
    len += context_len;
    info[len++] = 1;
    return hmac(secret, HASH, info, len, out);
}

static bool derive_psk(const uint8_t node[KEYS_PUBLIC], uint8_t psk[HASH]) {
    return hmac(PURPOSE, sizeof PURPOSE - 1, node, KEYS_PUBLIC, psk);
}

/* The key schedule from the PSK to the finished_key of its binder (RFC 8446 §7.1, §4.4.4). */
bool tls_proof_key(const uint8_t node[KEYS_PUBLIC], uint8_t key[TLS_PROOF_KEY]) {
    static const uint8_t ZEROS[HASH];
    uint8_t psk[HASH], early[HASH], binder[HASH], nothing[HASH];
    return derive_psk(node, psk) && hmac(ZEROS, HASH, psk, HASH, early) &&
           EVP_Digest("", 0, nothing, NULL, EVP_sha256(), NULL) &&
           expand_label(early, "tls13 ext binder", nothing, HASH, binder) &&
           expand_label(binder, "tls13 finished", NULL, 0, key);
}

/* -- the receiver -------------------------------------------------------------------------- */

ssize_t tls_proof_size(const void *data, size_t len) {
    const uint8_t *record = data;
    if ((len > 0 && record[0] != HANDSHAKE_RECORD) || (len > 1 && record[1] != 3))
        return -EPROTO;
    if (len < TLS_PROOF_HEADER)
        return TLS_PROOF_HEADER;
    size_t size = TLS_PROOF_HEADER + ((size_t)record[3] << 8 | record[4]);
    if (size < TLS_PROOF_HEADER + MESSAGE_MIN || size > TLS_PROOF_HELLO_MAX)
        return -EPROTO;
    return (ssize_t)size;
}

/* Whether a record's content is one message, a ClientHello, that may end in a binder. */
static bool is_hello(const uint8_t *message, size_t len) {
    size_t size = (size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3];
    return message[0] == CLIENT_HELLO && size == len - MESSAGE_HEADER &&
           memcmp(message + len - BINDERS, BINDERS_HEADER, sizeof BINDERS_HEADER) == 0;
}

bool tls_proof_check(const uint8_t key[TLS_PROOF_KEY], const void *record, size_t len) {
    if (len < TLS_PROOF_HEADER + MESSAGE_MIN || tls_proof_size(record, len) != (ssize_t)len)
        return false;
    const uint8_t *message = (const uint8_t *)record + TLS_PROOF_HEADER;
    uint8_t hash[HASH], right[HASH];
    len -= TLS_PROOF_HEADER;
    bool ok = EVP_Digest(message, len - BINDERS, hash, NULL, EVP_sha256(), NULL) &&
              hmac(key, TLS_PROOF_KEY, hash, HASH, right);
    ok = ok && CRYPTO_memcmp(right, message + len - HASH, HASH) == 0;
    return is_hello(message, len) && ok;
}

/* -- the sender ---------------------------------------------------------------------------- */

static SSL_SESSION *new_session(SSL *ssl, const uint8_t psk[HASH]) {
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, SUITE);
    SSL_SESSION *session = SSL_SESSION_new();
    if (session && cipher && SSL_SESSION_set1_master_key(session, psk, HASH) &&
        SSL_SESSION_set_cipher(session, cipher) &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

int tls_proof_offer(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *len,
                    SSL_SESSION **session) {
    (void)md;
    const struct tls_pin *pin = SSL_get_app_data(ssl);
    uint8_t psk[HASH];
    *session = derive_psk(pin->expected, psk) ? new_session(ssl, psk) : NULL;
    *identity = (const unsigned char *)IDENTITY;
    *len = sizeof IDENTITY - 1;
    return *session != NULL;
}
