/* The handshake of a WebSocket (RFC 6455 §4), as a client does it; host/websocket.h follows. */
#ifndef P2PD_HOST_MQTT_WEBSOCKET_H
#define P2PD_HOST_MQTT_WEBSOCKET_H

#include "host/mqtt/http.h"

#define WEBSOCKET_KEY_SIZE 25    /* with its NUL */
#define WEBSOCKET_ACCEPT_SIZE 29 /* with its NUL */

/* A random Sec-WebSocket-Key. */
void websocket_new_key(char key[WEBSOCKET_KEY_SIZE]);

/* The Sec-WebSocket-Accept that belongs to a key of 24 characters. */
void websocket_accept_of(const char *key, char accept[WEBSOCKET_ACCEPT_SIZE]);

/* What is wrong with an answer to a request that had that key and asked for `protocol`; NULL:
 * nothing, the transport below is a WebSocket now. */
const char *websocket_find_fault(const struct http_answer *answer, const char *key,
                                 const char *protocol);

#endif
