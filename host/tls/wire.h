/* An OpenSSL BIO over the transport below, with buffers for what was read before TLS began and for
 * what could not be written yet. */
#ifndef P2PD_HOST_TLS_WIRE_H
#define P2PD_HOST_TLS_WIRE_H

#include <openssl/bio.h>

#include "host/transport.h"

struct tls_wire {
    struct transport *lower;
    struct buffer early; /* read before TLS began: the first of its input */
    struct buffer out;   /* given by OpenSSL and not yet taken by lower */
    int error;           /* -errno of lower in the present call */
    int write_error;     /* -errno of its first failed write */
    bool drained;        /* it has given all it had in the present call */
    bool ended;
};

/* A BIO, the caller's, that reads and writes through the wire, which must outlive it. */
BIO *tls_wire_bio(struct tls_wire *wire);

/* Before each call of OpenSSL. */
void tls_wire_prepare(struct tls_wire *wire);

/* Reads until `early` has `size` bytes: 0, -EAGAIN, -errno, or -ECONNRESET at the end. */
int tls_wire_fill(struct tls_wire *wire, size_t size);

/* Sends what waits: 0 when nothing is left, -EAGAIN, -errno. */
int tls_wire_flush(struct tls_wire *wire);

void tls_wire_fini(struct tls_wire *wire); /* lower stays the caller's */

#endif
