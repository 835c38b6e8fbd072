/* MQTT messages, and the bounded queues they wait in. */
#ifndef P2PD_HOST_MQTT_QUEUE_H
#define P2PD_HOST_MQTT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#define MQTT_PAYLOAD_MAX (64 * 1024)
#define MQTT_QUEUE_MAX 512
#define MQTT_QUEUE_BYTES_MAX (1024 * 1024) /* topics and payloads */

/* A message on its way in or out; one allocation, freed with free(). */
struct mqtt_message {
    struct mqtt_message *next;
    bool subscribe; /* outgoing only: subscribe to topic; there is no payload */
    int expiry_s;   /* outgoing only: 0 for none */
    size_t topic_len, len;
    char *topic, *payload; /* inside the allocation; the topic ends in a NUL */
};

struct mqtt_message *mqtt_message_new(const char *topic, size_t topic_len, const void *payload,
                                      size_t len);

/* Zeroed = empty. */
struct mqtt_queue {
    struct mqtt_message *first, *last;
    int count;
    size_t bytes;
};

bool mqtt_queue_fits(const struct mqtt_queue *q, size_t size);

/* Takes the message, whether it fits or not. */
void mqtt_queue_push(struct mqtt_queue *q, struct mqtt_message *m);

/* The oldest, or NULL. */
struct mqtt_message *mqtt_queue_pop(struct mqtt_queue *q);

/* Frees all; how many of them were to be published. */
int mqtt_queue_clear(struct mqtt_queue *q);

#endif
