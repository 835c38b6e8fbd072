/* What a session receives by a path. */
#ifndef P2PD_HOST_SESSION_RECEIVE_H
#define P2PD_HOST_SESSION_RECEIVE_H

#include "host/session/state.h"

/* Bytes of a live path; whatever is wrong ends the path or the session. */
void session_receive(struct session_machine *m, struct session_path *p, const uint8_t *data,
                     size_t len, double now);

/* The position that the reader has come to, and what the peer may send up to. */
uint64_t session_read_position(const struct session_machine *m);
uint64_t session_window_end(const struct session_machine *m);

#endif
