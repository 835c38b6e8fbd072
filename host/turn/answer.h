/* What a TURN client does with the server's responses, and with requests that fail. */
#ifndef P2PD_HOST_TURN_ANSWER_H
#define P2PD_HOST_TURN_ANSWER_H

#include "host/turn/machine.h"

/* What the server says to a request under way: it is not among them any more afterwards, unless it
 * was challenged. */
void turn_on_success(struct turn *t, double now, struct turn_request *r,
                     const struct stun_message *m);
void turn_on_error(struct turn *t, struct turn_request *r, const struct stun_message *m);

/* The request has failed: by the server's code, or (0) otherwise. */
void turn_fail(struct turn *t, struct turn_request *r, int code, int error, const char *reason);

#endif
