/* A WebSocket (RFC 6455), after its handshake, as a transport: what is written goes out in binary
 * messages, one for each write; what binary messages bring is read. Loop thread only. */
#ifndef P2PD_HOST_WEBSOCKET_H
#define P2PD_HOST_WEBSOCKET_H

#include "host/transport.h"

enum websocket_role { WEBSOCKET_CLIENT, WEBSOCKET_SERVER };

/* Takes `lower` and `early` over: the bytes that came behind the handshake. Never NULL. */
struct transport *websocket_transport(struct transport *lower, struct buffer early,
                                      enum websocket_role role);

/* What its shutdown() and its end tell the peer, instead of 1000: a code and a reason, of which
 * 123 bytes are sent. -EINVAL: it is no WebSocket. */
int websocket_end_with(struct transport *t, int code, const char *reason);

#endif
