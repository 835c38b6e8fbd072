/* What a broker's answer to CONNECT says besides yes or no (MQTT 5 §3.2.2.3). */
#ifndef P2PD_HOST_MQTT_CONNACK_H
#define P2PD_HOST_MQTT_CONNACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MQTT_REFERENCE_MAX 255

struct mqtt_connack {
    int keepalive_s;                        /* Server Keep Alive; 0: the one that was asked for */
    uint32_t packet_max;                    /* bytes; 0: no limit */
    char reference[MQTT_REFERENCE_MAX + 1]; /* another server; "": none */
};

/* Reads a CONNACK of MQTT 5. False, and all zero, when that is not what the bytes begin with. */
bool mqtt_connack_parse(const void *bytes, size_t len, struct mqtt_connack *out);

/* A server reference, "HOST", "HOST:PORT" or "[IPv6]:PORT", the first of a list (MQTT 5 §4.13.2):
 * `host` has room for MQTT_REFERENCE_MAX characters; *port stays as it is when none is named. */
bool mqtt_reference_parse(const char *reference, char *host, int *port);

#endif
