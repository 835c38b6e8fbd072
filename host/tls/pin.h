/* Pinning: the peer that a TLS connection expects, and the verification of the one it meets. */
#ifndef P2PD_HOST_TLS_PIN_H
#define P2PD_HOST_TLS_PIN_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "host/keys.h"

#define TLS_HOST_MAX 253 /* characters, RFC 1035 §2.3.4 */

/* Whom a connection is meant for: `host` (a name or an address) with a context that trusts
 * authorities; else the node with that `key`, NULL: any node, see tls_peer(). Copied. */
struct tls_expected {
    const uint8_t *key;
    const char *host;
};

struct tls_pin {
    uint8_t expected[KEYS_PUBLIC];
    char host[TLS_HOST_MAX + 1]; /* "": a node is expected */
    bool any;                    /* every node that holds its key is welcome */
    bool verified;
    char peer[KEYS_ID_MAX]; /* the id in the certificate; "" when that has no node key */
    bool asked;             /* a named server wants a certificate of ours, and there is none */
    int fault;              /* X509_V_ERR_... of a named server's certificate */
};

void tls_pin_init(struct tls_pin *pin, const struct tls_expected *expected);

/* OpenSSL's callbacks, for connections whose app data is a pin: in place of the verification of a
 * node's chain, and after each step of a named server's. */
int tls_pin_verify(X509_STORE_CTX *store, void *unused);
int tls_pin_on_chain(int ok, X509_STORE_CTX *store);

/* When a named server wants a certificate and there is none: notes it, and goes on without. */
int tls_pin_on_request(SSL *ssl, X509 **certificate, EVP_PKEY **key);

#endif
