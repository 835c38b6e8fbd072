/* The settings that TLS connections share: a node's certificate, or the authorities it trusts. */
#ifndef P2PD_HOST_TLS_CONTEXT_H
#define P2PD_HOST_TLS_CONTEXT_H

#include <openssl/types.h>

#include "host/keys.h"
#include "host/tls/pin.h"
#include "host/tls/proof.h"

#define TLS_KEY_RECORDS_MAX (1ULL << 23) /* below the 2^24.5 of RFC 8446 §5.5 */

enum tls_role { TLS_CLIENT, TLS_SERVER };

/* What a node's connections share, in either role: its certificate and the settings. Counted by
 * reference; loop thread only. */
struct tls_context;

/* One reference, the caller's; NULL when OpenSSL fails. */
struct tls_context *tls_context_new(const struct keys *keys);

/* For clients of servers with names (TLS 1.2 and 1.3): `ca` is a file of certificates or a folder
 * of them, NULL the system's. One reference, the caller's; NULL when nothing can be read there. */
struct tls_context *tls_context_trusting(const char *ca);

/* Has a context that trusts authorities show a certificate of ours (PEM files) to servers that ask
 * for one. False when they cannot be read, or do not belong together. */
bool tls_context_identify(struct tls_context *context, const char *cert, const char *key);

struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context *context); /* NULL is fine */

/* How many records are sent under one key before there is a new one: TLS_KEY_RECORDS_MAX unless
 * less is said. */
void tls_context_limit(struct tls_context *context, uint64_t key_records);
uint64_t tls_context_key_records(const struct tls_context *context);

/* Of the proofs that are meant for its node (host/tls/proof.h), borrowed; NULL when it has none. */
const uint8_t *tls_context_proof_key(const struct tls_context *context);

/* A connection, the caller's, that takes nobody but whom pin expects; pin must outlive it. NULL
 * when OpenSSL fails. */
SSL *tls_context_connection(struct tls_context *context, enum tls_role role, struct tls_pin *pin);

#endif
