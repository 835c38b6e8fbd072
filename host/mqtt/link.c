/*
 * paho speaks MQTT over one end of a socket pair; a tunnel joins the other one with the stream to
 * the broker. So names, addresses, TLS and TCP's settings are those of all our connections, and why
 * one has ended is known in our words.
 */
#include "host/mqtt/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "host/fd.h"
#include "host/loop.h"
#include "host/mqtt/connack.h"
#include "host/mqtt/tunnel.h"

#define TEXT_MAX 256

/* paho queues without limit, and goes on up to a second late after its socket was full
 * (https://github.com/eclipse-paho/paho.mqtt.c/issues/1404): so the socket always has room for the
 * next message, which may take 128 KiB. */
#define WINDOW 32 /* messages inside paho */
#define WINDOW_BYTES (64 * 1024)
#define SOCKET_BYTES (256 * 1024)

#define KEEPALIVE_PART 0.75 /* of the broker's interval, from one packet to the next */

struct mqtt_link {
    struct paho_handle *handle;
    struct mqtt_tunnel *tunnel;
    size_t handed; /* bytes given to paho since it had sent all */
    int version, asked_keepalive_s;
    struct mqtt_connack connack;
    ev_timer keepalive; /* active when the broker's is shorter than paho's */
    void (*on_event)(void *owner, const struct mqtt_event *event);
    void *owner;
};

/* -- what the broker asks for ---------------------------------------------------------------- */

/* paho 1.3.12 keeps to its own interval (MQTT 5 §3.2.2.3.14 has the broker's count). */
static void on_keepalive(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct mqtt_link *link = w->data;
    static const uint8_t PINGREQ[] = {0xc0, 0};
    mqtt_tunnel_insert(link->tunnel, PINGREQ, sizeof PINGREQ);
}

static void keep_alive(struct mqtt_link *link) {
    int interval = link->connack.keepalive_s;
    if (interval <= 0 || interval >= link->asked_keepalive_s)
        return;
    ev_timer_set(&link->keepalive, interval * KEEPALIVE_PART, interval * KEEPALIVE_PART);
    ev_now_update(loop_get());
    ev_timer_start(loop_get(), &link->keepalive);
}

/* What answers to a CONNECT that is not MQTT, in words; NULL: it is. */
static const char *other_protocol(const struct mqtt_link *link) {
    size_t len;
    const char *head = mqtt_tunnel_head(link->tunnel, &len);
    if (len >= 2 && memcmp(head, "\x15\x03", 2) == 0) /* RFC 8446 §5.1: an alert */
        return "this port speaks TLS";
    if (len >= 5 && memcmp(head, "HTTP/", 5) == 0)
        return "this port speaks HTTP";
    return NULL;
}

static void read_connack(struct mqtt_link *link) {
    size_t len;
    const char *head = mqtt_tunnel_head(link->tunnel, &len);
    mqtt_connack_parse(head, len, &link->connack);
    mqtt_tunnel_forget_head(link->tunnel);
}

/* -- events ---------------------------------------------------------------------------------- */

/* Where paho only knows that it is over, the tunnel knows why; NULL: paho knows more. */
static const char *tunnel_words(const struct mqtt_link *link, const struct mqtt_event *e) {
    const char *words = mqtt_tunnel_reason(link->tunnel);
    if (e->kind == MQTT_LOST && !*e->text)
        return words ? words : "the broker does not answer";
    const char *other = e->kind == MQTT_FAILED ? other_protocol(link) : NULL;
    if (other)
        return other;
    bool failed = mqtt_tunnel_error(link->tunnel) != -ENODATA;
    return e->kind == MQTT_FAILED && e->closed_early && failed ? words : NULL;
}

/* The words are copied: whoever is told may close the link. */
static void on_handle(void *owner, const struct mqtt_event *event) {
    struct mqtt_link *link = owner;
    struct mqtt_event e = *event;
    char text[TEXT_MAX];
    const char *words = tunnel_words(link, event);
    if (words) {
        snprintf(text, sizeof text, "%s", words);
        e.text = text;
    }
    if ((e.kind == MQTT_UP || e.kind == MQTT_FAILED) && link->version == 5)
        read_connack(link);
    if (e.kind == MQTT_UP)
        keep_alive(link);
    if (e.kind == MQTT_FAILED && link->connack.reference[0])
        e.reference = link->connack.reference;
    link->on_event(link->owner, &e);
}

static void on_room(void *owner) {
    struct mqtt_link *link = owner;
    link->on_event(link->owner, &(struct mqtt_event){.kind = MQTT_ROOM});
}

struct mqtt_link *mqtt_link_new(struct stream *broker, const struct mqtt_options *options,
                                int version, void (*on_event)(void *, const struct mqtt_event *),
                                void *owner) {
    int ends[2];
    struct mqtt_link *link = calloc(1, sizeof *link);
    if (!link)
        abort();
    mqtt_link_hand_over(link, on_event, owner);
    link->version = version;
    link->asked_keepalive_s = options->keepalive_s;
    ev_init(&link->keepalive, on_keepalive);
    link->keepalive.data = link;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0) {
        link->tunnel =
            mqtt_tunnel_new(stream_new(fd_transport(ends[0], true)), broker, on_room, link);
        setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &(int){SOCKET_BYTES}, sizeof(int));
        link->handle = paho_handle_open(ends[1], options, version, on_handle, link);
    } else {
        stream_abort(broker);
    }
    if (!link->handle) {
        mqtt_link_close(link);
        return NULL;
    }
    return link;
}

void mqtt_link_hand_over(struct mqtt_link *link,
                         void (*on_event)(void *, const struct mqtt_event *), void *owner) {
    link->on_event = on_event;
    link->owner = owner;
}

bool mqtt_link_has_room(struct mqtt_link *link) {
    int unsent = paho_handle_unsent(link->handle);
    if (unsent == 0)
        link->handed = 0;
    return unsent < WINDOW && link->handed + mqtt_tunnel_waiting(link->tunnel) < WINDOW_BYTES;
}

void mqtt_link_send(struct mqtt_link *link, const struct mqtt_message *message) {
    link->handed += message->topic_len + message->len;
    paho_handle_send(link->handle, message);
}

int mqtt_link_unsent(const struct mqtt_link *link) {
    return paho_handle_unsent(link->handle);
}

int mqtt_link_take_sent(struct mqtt_link *link) {
    return paho_handle_take_sent(link->handle);
}

int mqtt_link_fd(const struct mqtt_link *link) {
    return mqtt_tunnel_fd(link->tunnel);
}

int mqtt_link_error(const struct mqtt_link *link) {
    return mqtt_tunnel_error(link->tunnel);
}

size_t mqtt_link_packet_max(const struct mqtt_link *link) {
    return link->connack.packet_max;
}

/* When all messages have arrived there is only paho's DISCONNECT left, which nobody waits for. */
void mqtt_link_close(struct mqtt_link *link) {
    bool idle = link->handle && mqtt_link_unsent(link) == 0 && mqtt_tunnel_is_idle(link->tunnel);
    ev_timer_stop(loop_get(), &link->keepalive);
    if (link->handle)
        paho_handle_close(link->handle);
    if (link->tunnel)
        mqtt_tunnel_close(link->tunnel, !idle);
    free(link);
}
