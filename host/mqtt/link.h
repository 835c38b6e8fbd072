/* One MQTT connection over a stream to a broker: made for an attempt, used once, thrown away. */
#ifndef P2PD_HOST_MQTT_LINK_H
#define P2PD_HOST_MQTT_LINK_H

#include "host/mqtt/paho/handle.h"
#include "host/stream.h"

struct mqtt_link;

/* All below: loop thread only. Takes the stream. Events come from the loop until it is closed. NULL
 * when paho does not start. The options outlive the link. */
struct mqtt_link *mqtt_link_new(struct stream *broker, const struct mqtt_options *options,
                                int version,
                                void (*on_event)(void *owner, const struct mqtt_event *event),
                                void *owner);

/* From now on events go elsewhere. */
void mqtt_link_hand_over(struct mqtt_link *link,
                         void (*on_event)(void *owner, const struct mqtt_event *event),
                         void *owner);

/* False: MQTT_ROOM comes when it may be true again. */
bool mqtt_link_has_room(struct mqtt_link *link);

void mqtt_link_send(struct mqtt_link *link, const struct mqtt_message *message);
int mqtt_link_unsent(const struct mqtt_link *link);
int mqtt_link_take_sent(struct mqtt_link *link); /* how many went out since the last call */

/* Bytes of the largest packet that the broker takes; 0: any. */
size_t mqtt_link_packet_max(const struct mqtt_link *link);
int mqtt_link_fd(const struct mqtt_link *link); /* of the connection to the broker */

/* -errno that the connection has ended with; -ENODATA: the broker has ended it; 0: paho has, or
 * nobody. */
int mqtt_link_error(const struct mqtt_link *link);

/* Disconnects. What was sent goes out behind it. */
void mqtt_link_close(struct mqtt_link *link);

#endif
