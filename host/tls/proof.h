/* The proof, in a ClientHello, that its sender knows the id of the node that receives it: the
 * binder (RFC 8446 §4.2.11.2) of an external PSK that follows from the id. It is checked before
 * OpenSSL sees a byte. The PSK is never selected: both sides still prove their keys. */
#ifndef P2PD_HOST_TLS_PROOF_H
#define P2PD_HOST_TLS_PROOF_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/keys.h"

#define TLS_PROOF_KEY 32
#define TLS_PROOF_HEADER 5
#define TLS_PROOF_HELLO_MAX                                                                        \
    2048 /* bytes of the record that a ClientHello may fill; ours has 250                          \
          */

/* The key of the binders that are meant for a node. False when OpenSSL fails. */
bool tls_proof_key(const uint8_t node[KEYS_PUBLIC], uint8_t key[TLS_PROOF_KEY]);

/* How many bytes the record with the ClientHello has, or, while there are fewer than five, 5.
 * -EPROTO when it can't be the record of a ClientHello that has a proof. */
ssize_t tls_proof_size(const void *data, size_t len);

/* Whether such a record, complete, has the proof. In constant time for a given length. */
bool tls_proof_check(const uint8_t key[TLS_PROOF_KEY], const void *record, size_t len);

/* OpenSSL's callback, for clients whose app data is a pin: offers the PSK of the expected node. */
int tls_proof_offer(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *len,
                    SSL_SESSION **session);

#endif
