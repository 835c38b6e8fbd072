/* The TLS contexts that clients of brokers share: one for each set of authorities. */
#ifndef P2PD_HOST_MQTT_AUTHORITY_H
#define P2PD_HOST_MQTT_AUTHORITY_H

#include "host/tls.h"

/* The context that trusts `ca` (a PEM file; NULL: the system's store), as it is now. One reference,
 * the caller's; NULL when there is nothing to read. Loop thread only. */
struct tls_context *mqtt_authority(const char *ca);

#endif
