/* TLS as a transport over another one: TLS 1.3 between two nodes, both ends pinned to node keys; or
 * TLS 1.2 and 1.3 to a server with a name, whose certificate an authority has signed. */
#ifndef P2PD_HOST_TLS_H
#define P2PD_HOST_TLS_H

#include "host/tls/context.h"
#include "host/transport.h"

/*
 * Takes `lower` and `early` over: the bytes that were read from lower and not used are the first of
 * TLS's input. Until the handshake is done reads and writes give -EAGAIN; it goes on while either
 * is wanted. Nobody but the expected peer is talked to. Never NULL.
 */
struct transport *tls_transport(struct tls_context *context, enum tls_role role,
                                struct transport *lower, struct buffer early,
                                const struct tls_expected *expected);

/* Continues the handshake: 0 once the peer is verified, -EAGAIN (EV_READ tells when it is over), or
 * why it failed. The client is done when it has verified the server; whether the server takes the
 * client shows when it first reads. Only for a transport that is TLS. */
int tls_handshake(struct transport *t);

/* The id of the node, or the name of the server, at the other end, valid as long as t; NULL before
 * the handshake is done, or when t is not TLS. */
const char *tls_peer(const struct transport *t);

/* New keys for what we send, and with `both` for what the peer sends (RFC 8446 §4.6.3): 0, -EBUSY
 * while a write waits for the peer, -EOPNOTSUPP when t is not TLS. */
int tls_rekey(struct transport *t, bool both);

#endif
