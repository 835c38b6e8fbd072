/* The TLS contexts that clients of brokers share: one for each set of authorities. */
#ifndef P2PD_HOST_MQTT_AUTHORITY_H
#define P2PD_HOST_MQTT_AUTHORITY_H

#include "host/tls.h"

/* The context that trusts `ca` (a PEM file; NULL: the system's store), and shows a certificate of
 * ours (PEM files, or NULL), as they are now. One reference, the caller's; NULL, and *why, when
 * there is nothing to read. Loop thread only. */
struct tls_context *mqtt_authority(const char *ca, const char *cert, const char *key,
                                   const char **why);

#endif
