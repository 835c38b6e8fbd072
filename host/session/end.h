/* How a session ends, and what it tells of its life. */
#ifndef P2PD_HOST_SESSION_END_H
#define P2PD_HOST_SESSION_END_H

#include "host/session/state.h"

/* Adds an event; the oldest is forgotten when nobody takes them. */
void session_tell(struct session_machine *m, const struct session_event *event, const char *reason);

/* It has failed, with -errno; `told`: the peer knows. */
void session_break(struct session_machine *m, int code, const char *why, bool told);

/* It has ended as it should. */
void session_finish(struct session_machine *m);

/* After something was acknowledged or received, or has left: are both halves through? */
void session_check_end(struct session_machine *m, double now);

#endif
