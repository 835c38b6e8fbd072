/* The error of a TLS connection: an errno, and a sentence for people. */
#ifndef P2PD_HOST_TLS_FAILURE_H
#define P2PD_HOST_TLS_FAILURE_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "host/tls/pin.h"

struct tls_failure {
    int code;   /* -errno; 0: none */
    char *text; /* NULL: none */
};

/* Each replaces the text and returns the code. */
int tls_failure_set(struct tls_failure *failure, int code, const char *text);

/* The transport below has failed with -errno, or ended (0). Why, or NULL; `open`: after the
 * handshake. */
int tls_failure_below(struct tls_failure *failure, int error, const char *why, bool open);

/* A named server has ended the connection after the handshake, and has told nothing but that it
 * wanted a certificate: its alert may have been lost. */
int tls_failure_request(struct tls_failure *failure);

/* The peer is not who it should be. */
int tls_failure_certificate(struct tls_failure *failure, const struct tls_pin *pin);

/* OpenSSL has: what is in its queue of errors. */
int tls_failure_protocol(struct tls_failure *failure, SSL *ssl, bool open);

void tls_failure_fini(struct tls_failure *failure);

#endif
