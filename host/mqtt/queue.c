/*
 * A singly linked list that counts. One allocation a message, so that threads can hand it over
 * whole.
 */
#include "host/mqtt/queue.h"

#include <stdlib.h>
#include <string.h>

struct mqtt_message *mqtt_message_new(const char *topic, size_t topic_len, const void *payload,
                                      size_t len) {
    struct mqtt_message *m = malloc(sizeof *m + topic_len + 1 + len);
    if (!m)
        abort();
    *m = (struct mqtt_message){.topic_len = topic_len, .len = len, .topic = (char *)(m + 1)};
    m->payload = m->topic + topic_len + 1;
    memcpy(m->topic, topic, topic_len);
    m->topic[topic_len] = '\0';
    if (len)
        memcpy(m->payload, payload, len);
    return m;
}

bool mqtt_queue_fits(const struct mqtt_queue *q, size_t size) {
    return q->count < MQTT_QUEUE_MAX && q->bytes + size <= MQTT_QUEUE_BYTES_MAX;
}

void mqtt_queue_push(struct mqtt_queue *q, struct mqtt_message *m) {
    *(q->last ? &q->last->next : &q->first) = m;
    q->last = m;
    q->count++;
    q->bytes += m->topic_len + m->len;
}

struct mqtt_message *mqtt_queue_pop(struct mqtt_queue *q) {
    struct mqtt_message *m = q->first;
    if (!m)
        return NULL;
    q->first = m->next;
    if (!q->first)
        q->last = NULL;
    m->next = NULL;
    q->count--;
    q->bytes -= m->topic_len + m->len;
    return m;
}

int mqtt_queue_clear(struct mqtt_queue *q) {
    int dropped = 0;
    for (struct mqtt_message *m; (m = mqtt_queue_pop(q)); free(m))
        dropped += !m->subscribe;
    return dropped;
}
