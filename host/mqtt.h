/* MQTT clients: each stays connected to one broker until it is closed. */
#ifndef P2PD_HOST_MQTT_H
#define P2PD_HOST_MQTT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/inet.h"
#include "host/mqtt/options.h"
#include "host/mqtt/queue.h"

/* MQTT_REFUSED: the broker takes us, and refuses a topic; it is asked again after a minute or so.
 */
enum mqtt_state { MQTT_CONNECTING, MQTT_ONLINE, MQTT_OFFLINE, MQTT_REFUSED, MQTT_CLOSED };

struct mqtt_stats {
    uint64_t received, sent, dropped, reconnects;
    int protocol; /* 5 or 4 (3.1.1), of the last connection; 0 before the first */
};

/* The loop's callbacks: the state (or the subscriptions) changed; a message waits in
 * mqtt_receive(). */
struct mqtt_events {
    void (*on_change)(void *owner);
    void (*on_message)(void *owner);
    void *owner;
};

struct mqtt;

/* All below: loop thread only. The strings are copied. Starts connecting; -errno of the ca file. */
int mqtt_open(struct mqtt **out, const struct mqtt_options *options, struct mqtt_events events);

/* No more callbacks; what is queued is still sent for a moment, then the client frees itself. */
void mqtt_close(struct mqtt *m);

enum mqtt_state mqtt_state(const struct mqtt *m);
const char *mqtt_state_name(enum mqtt_state state);
const char *mqtt_reason(const struct mqtt *m); /* of the last failure, "" before any */
const char *mqtt_code(const struct mqtt *m);   /* its errno's name */
unsigned mqtt_failures(const struct mqtt *m);  /* attempts that have failed so far */
bool mqtt_is_subscribed(const struct mqtt *m); /* online, and every topic acknowledged */
size_t mqtt_packet_max(const struct mqtt *m);  /* bytes that the broker takes; 0: any number */
struct mqtt_stats mqtt_stats(struct mqtt *m);

/* The ends of the connection, ours and the broker's; -ENOTCONN while there is none. */
int mqtt_local(const struct mqtt *m, struct inet_addr *addr);
int mqtt_remote(const struct mqtt *m, struct inet_addr *addr);

/* Gives up the connection, or the attempt, and begins anew at once: the network is another one. */
void mqtt_reconnect(struct mqtt *m, const char *why);

/* Remembers the topic for this connection and all later ones. */
void mqtt_subscribe(struct mqtt *m, const char *topic);

/* 0, or -ENOTCONN, -EMSGSIZE, -ENOBUFS (too much is waiting already). */
int mqtt_publish(struct mqtt *m, const char *topic, const void *payload, size_t len, int expiry_s);

/* The oldest message that waits, or NULL; it goes with mqtt_drop_first(). */
const struct mqtt_message *mqtt_first(const struct mqtt *m);
void mqtt_drop_first(struct mqtt *m);

/* Before the process ends: turns the loop until closed clients are gone, for one second at most. */
void mqtt_shutdown(void);

#endif
