/*
 * What carries one path of a session: its transport, between which and the machine the bytes go.
 * Loop thread only.
 */
#ifndef P2PD_HOST_SESSION_CARRIER_H
#define P2PD_HOST_SESSION_CARRIER_H

#include "host/session/machine.h"
#include "host/transport.h"

struct carrier {
    struct carrier *next; /* for its owner */
    struct session_machine *machine;
    struct transport *transport;
    uint32_t number;
    char *greeting; /* that is expected, then the line that has come */
    bool ungreeted; /* it has not come yet */
    struct buffer line;
    size_t unsent; /* when we last looked */
    bool blocked;  /* it takes no more now */
    bool readable; /* it may have more */
    void (*on_ready)(struct carrier *);
    void *owner;
};

/* Takes the transport over. With a greeting the peer says a line that begins so before the path's
 * frames. Never NULL. */
struct carrier *carrier_new(struct session_machine *machine, uint32_t number,
                            struct transport *transport, const char *greeting,
                            void (*on_ready)(struct carrier *), void *owner);

/* From now on it tells; `early` was read before. */
void carrier_begin(struct carrier *c, struct buffer early);

void carrier_want(struct carrier *c);
void carrier_send(struct carrier *c); /* what the machine has for it, as far as it is taken */
void carrier_drain(struct carrier *c);

/* Reads once, so that what is in order goes to `data`, see sm_give() and sm_take(). */
void carrier_read_some(struct carrier *c, char *data, size_t room);

/* What the layers below know of the path; `before`: when this was last looked at. */
void carrier_look_below(struct carrier *c, double before);

const char *carrier_greeting(const struct carrier *c); /* the line that has come, or NULL */

/* Its path is over: it is freed, and the transport leaves with what the machine has for it. */
void carrier_let_go(struct carrier *c);

#endif
