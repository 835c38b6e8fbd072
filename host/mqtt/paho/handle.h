/* One MQTT connection over a descriptor, spoken by paho: made, used once, thrown away. */
#ifndef P2PD_HOST_MQTT_PAHO_HANDLE_H
#define P2PD_HOST_MQTT_PAHO_HANDLE_H

#include <stdbool.h>

#include "host/mqtt/options.h"
#include "host/mqtt/queue.h"

enum mqtt_event_kind {
    MQTT_UP,
    MQTT_FAILED, /* never came up; code, text and closed_early say why */
    MQTT_LOST,
    MQTT_SUBACK,  /* text is the topic, code is not 0 when it was refused */
    MQTT_ROOM,    /* paho has sent all that it was given, or there is room where it writes to */
    MQTT_MESSAGE, /* message is the receiver's to free */
    MQTT_DROPPED, /* an incoming message was too big, or too many are on their way */
};

struct mqtt_event {
    enum mqtt_event_kind kind;
    int code;          /* the broker's reason code or the CONNACK return code; else paho's, < 0 */
    bool closed_early; /* the connection ended in answer to CONNECT */
    const char *text;
    const char *reference; /* MQTT_FAILED, MQTT_LOST: the server to ask instead, or NULL */
    struct mqtt_message *message;
};

struct paho_handle;

/* All below: loop thread only; nothing blocks. */

/* Begins to connect, with MQTT `version` 5 or 4 (3.1.1), over fd, which it takes. Events come from
 * the loop until it is closed. NULL when paho does not start. The options outlive the handle. */
struct paho_handle *paho_handle_open(int fd, const struct mqtt_options *options, int version,
                                     void (*on_event)(void *owner, const struct mqtt_event *event),
                                     void *owner);

void paho_handle_send(struct paho_handle *handle, const struct mqtt_message *message);
int paho_handle_unsent(const struct paho_handle *handle); /* messages that paho still has */
int paho_handle_take_sent(struct paho_handle *handle);    /* sent since the last call */

/* Sends DISCONNECT where there is a connection, and closes the descriptor. */
void paho_handle_close(struct paho_handle *handle);

#endif
