/*
 * A node's certificate only carries the node key: nobody looks at names, dates or issuers; the key
 * is compared with the one that is expected, and TLS has the peer prove that it holds the private
 * half.
 */
#include "host/tls/pin.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

void tls_pin_init(struct tls_pin *pin, const struct tls_expected *expected) {
    *pin = (struct tls_pin){.any = !expected->key && !expected->host};
    if (expected->key)
        memcpy(pin->expected, expected->key, KEYS_PUBLIC);
    if (expected->host)
        snprintf(pin->host, sizeof pin->host, "%s", expected->host);
}

/* -- the peer's ---------------------------------------------------------------------------- */

/* A key of small order is nobody's, since anybody can sign for it: no node's. */
static bool read_key(X509 *certificate, uint8_t key[KEYS_PUBLIC], char id[KEYS_ID_MAX]) {
    size_t len = KEYS_PUBLIC;
    EVP_PKEY *pkey = certificate ? X509_get0_pubkey(certificate) : NULL;
    bool ok = pkey && EVP_PKEY_get_id(pkey) == EVP_PKEY_ED25519 &&
              EVP_PKEY_get_raw_public_key(pkey, key, &len) == 1 && len == KEYS_PUBLIC;
    if (ok)
        keys_id(key, id);
    if (ok && keys_parse_id(id, strlen(id), key) == 0)
        return true;
    id[0] = '\0';
    return false;
}

/* Stands in for the whole verification of the chain. */
int tls_pin_verify(X509_STORE_CTX *store, void *unused) {
    (void)unused;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_pin *pin = SSL_get_app_data(ssl);
    uint8_t key[KEYS_PUBLIC];
    bool read = read_key(X509_STORE_CTX_get0_cert(store), key, pin->peer);
    pin->verified = read && (pin->any || CRYPTO_memcmp(key, pin->expected, sizeof key) == 0);
    X509_STORE_CTX_set_error(store, pin->verified ? X509_V_OK : X509_V_ERR_CERT_REJECTED);
    return pin->verified;
}

/* -- a named server's ------------------------------------------------------------------------ */

/* The chain has been looked at, up to this certificate. */
int tls_pin_on_chain(int ok, X509_STORE_CTX *store) {
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_pin *pin = SSL_get_app_data(ssl);
    pin->verified = ok && X509_STORE_CTX_get_error_depth(store) == 0;
    if (!ok)
        pin->fault = X509_STORE_CTX_get_error(store);
    return ok;
}

int tls_pin_on_request(SSL *ssl, X509 **certificate, EVP_PKEY **key) {
    (void)certificate, (void)key;
    struct tls_pin *pin = SSL_get_app_data(ssl);
    pin->asked = true;
    return 0;
}
