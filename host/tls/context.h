/* What tls.c needs to know of a context. */
#ifndef P2PD_TLS_CONTEXT_H
#define P2PD_TLS_CONTEXT_H

#include <openssl/ssl.h>

#include "host/tls.h"

/* Whom a connection accepts, and whom it has met. */
struct tls_pin {
    uint8_t expected[KEYS_PUBLIC];
    char host[TLS_HOST_MAX + 1]; /* "": a node is expected */
    bool any;                    /* every node that holds its key is welcome */
    bool verified;
    char peer[KEYS_ID_MAX]; /* the id in the certificate; "" when that has no node key */
    int fault;              /* X509_V_ERR_... of a named server's certificate */
};

void tls_pin_init(struct tls_pin *pin, const struct tls_expected *expected);

/* A connection, the caller's, that takes nobody but whom pin expects; pin must outlive it. NULL
 * when OpenSSL fails. */
SSL *tls_context_connection(struct tls_context *context, enum tls_role role, struct tls_pin *pin);

#endif
