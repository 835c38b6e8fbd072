/* One attempt to bring a client online: a stream to the broker, then MQTT over it. */
#ifndef P2PD_HOST_MQTT_ATTEMPT_H
#define P2PD_HOST_MQTT_ATTEMPT_H

#include "host/mqtt/link.h"

struct mqtt_attempt;

/* What it has come to: a link that is up, the owner's from now on, and its MQTT version; or NULL,
 * and why: an errno's name and a sentence. The attempt is gone then. */
struct mqtt_outcome {
    struct mqtt_link *link;
    int version;
    const char *code, *reason;
};

/* What is known of the broker from former times. */
struct mqtt_known {
    int version;           /* 5 or 4, which it has accepted before; 0: not known */
    const char *reference; /* the server that it has said to ask this time, or NULL; copied */
};

/* on_done comes from the
 * loop, never from here, unless the attempt is stopped before. The options outlive it. Loop thread
 * only. */
struct mqtt_attempt *
mqtt_attempt_start(const struct mqtt_options *options, struct mqtt_known known,
                   void (*on_done)(void *owner, const struct mqtt_outcome *outcome), void *owner);

void mqtt_attempt_stop(struct mqtt_attempt *a); /* NULL is nothing */

#endif
