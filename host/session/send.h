/* What a session sends by a path. */
#ifndef P2PD_HOST_SESSION_SEND_H
#define P2PD_HOST_SESSION_SEND_H

#include "host/session/state.h"

/* The next bytes, 0: none; and that n of them have left. */
size_t session_next(struct session_machine *m, struct session_path *p, const uint8_t **data,
                    double now);
void session_left(struct session_machine *m, struct session_path *p, size_t n, double now);

#endif
