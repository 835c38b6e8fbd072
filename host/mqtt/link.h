/* One connection to a broker over one paho handle. Made for an attempt, used once, thrown away. */
#ifndef P2PD_MQTT_LINK_H
#define P2PD_MQTT_LINK_H

#include <stdbool.h>

#include "host/inet.h"
#include "host/mqtt.h"

#define MQTT_LINK_ADDRS_MAX 8
#define MQTT_LINK_WINDOW 32 /* messages inside paho at a time: it queues without limit itself */

struct mqtt_link_config {
    const struct mqtt_options *options; /* outlives the link */
    int version;                        /* 5 or 4 */
    struct inet_addr addrs[MQTT_LINK_ADDRS_MAX];
    int addr_count;
    int addr; /* the one that answered */
};

enum mqtt_link_kind {
    MQTT_LINK_UP,
    MQTT_LINK_FAILED, /* never came up; code, text and closed_early say why */
    MQTT_LINK_LOST,
    MQTT_LINK_SUBACK,  /* text is the topic, code is not 0 when it was refused */
    MQTT_LINK_DRAINED, /* paho has sent all that it was given */
    MQTT_LINK_MESSAGE, /* message is the receiver's to free */
    MQTT_LINK_DROPPED, /* an incoming message was too big, or too many are on their way */
};

struct mqtt_link_event {
    enum mqtt_link_kind kind;
    int code;          /* paho's, the broker's reason code or the CONNACK return code */
    bool closed_early; /* the broker closed the connection in answer to CONNECT */
    const char *text;
    struct mqtt_message *message;
};

struct mqtt_link;

/* Events come on the loop thread, until `owner` is cleared by mqtt_link_orphan(). */
struct mqtt_link *mqtt_link_new(const struct mqtt_link_config *config, void *owner,
                                void (*on_event)(void *owner, const struct mqtt_link_event *event));
void mqtt_link_orphan(struct mqtt_link *link);
int mqtt_link_take_sent(struct mqtt_link *link); /* how many went out since the last call */
int mqtt_link_unsent(struct mqtt_link *link);    /* any thread */

/* The following block: worker threads only, one at a time for one link (closing an unopened one is
 * quick). */
int mqtt_link_open(struct mqtt_link *link); /* 0, or paho's error: then there is no event */
void mqtt_link_send(struct mqtt_link *link, struct mqtt_message *list); /* takes the list */
void mqtt_link_close(struct mqtt_link *link); /* frees the link, once the loop has had its events */

#endif
