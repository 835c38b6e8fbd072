/* A stream to a broker: its name, its addresses, TCP, and what the broker or the way to it has
 * besides: a proxy, TLS, a WebSocket. */
#ifndef P2PD_HOST_MQTT_CARRIER_H
#define P2PD_HOST_MQTT_CARRIER_H

#include "host/mqtt/options.h"
#include "host/stream.h"

struct mqtt_carrier;

struct mqtt_carrier_failure {
    const char *code; /* an errno's name */
    const char *reason;
};

/* Starts at once; on_done comes from the loop, never from here, unless it is stopped before: with
 * the stream, which is the owner's, or NULL and why. The carrier is gone then. The options outlive
 * it. Loop thread only, as all that follows. */
struct mqtt_carrier *mqtt_carrier_start(const struct mqtt_options *options,
                                        void (*on_done)(void *owner, struct stream *stream,
                                                        const struct mqtt_carrier_failure *failure),
                                        void *owner);

void mqtt_carrier_stop(struct mqtt_carrier *c); /* NULL is nothing */

/* What it is about, for whoever loses patience: "TCP connect", "TLS",
 * "cannot resolve 'NAME'". Valid as long as c. */
const char *mqtt_carrier_step(const struct mqtt_carrier *c);

#endif
