/* Joins two streams: what one end reads the other one writes. */
#ifndef P2PD_HOST_MQTT_TUNNEL_H
#define P2PD_HOST_MQTT_TUNNEL_H

#include "host/stream.h"

struct mqtt_tunnel;

/* Takes both streams: `near` is a socket whose peer is in this process, `far` ends at the broker.
 * on_room: bytes have left the near socket. Loop thread only, as all that follows. Never NULL. */
struct mqtt_tunnel *mqtt_tunnel_new(struct stream *near, struct stream *far,
                                    void (*on_room)(void *owner), void *owner);

/* The descriptor of the connection to the broker. */
int mqtt_tunnel_fd(const struct mqtt_tunnel *t);

/* Bytes that wait in the near socket. */
size_t mqtt_tunnel_waiting(const struct mqtt_tunnel *t);

/* What the broker has sent first, as far as it fits into 4096 bytes. */
const char *mqtt_tunnel_head(const struct mqtt_tunnel *t, size_t *len);
void mqtt_tunnel_forget_head(struct mqtt_tunnel *t);

/* Sends a packet of a few bytes between paho's, unless some of those wait to be sent. */
void mqtt_tunnel_insert(struct mqtt_tunnel *t, const void *packet, size_t len);

/* Why the broker's end is over: 0 while it is not, -ENODATA when the broker has ended it, else the
 * -errno that it failed with. */
int mqtt_tunnel_error(const struct mqtt_tunnel *t);
const char *mqtt_tunnel_reason(const struct mqtt_tunnel *t); /* the same in words, or NULL */

/* All that came from the near end has arrived at the broker. */
bool mqtt_tunnel_is_idle(const struct mqtt_tunnel *t);

/* Frees it. What the near end's peer has written before it closed that goes out; `orderly`: with
 * care that it arrives, see transport_leave(). */
void mqtt_tunnel_close(struct mqtt_tunnel *t, bool orderly);

#endif
