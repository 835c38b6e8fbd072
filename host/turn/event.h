/* The events of a TURN client, and the queue they wait in. */
#ifndef P2PD_HOST_TURN_EVENT_H
#define P2PD_HOST_TURN_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "host/inet.h"

#define TURN_REASON_MAX 160

enum turn_event_kind {
    TURN_ALLOCATED,  /* addr is the relayed address, mapped the local one as the server sees it */
    TURN_PERMITTED,  /* addr, port 0 */
    TURN_BOUND,      /* addr has a channel; its address is permitted as well */
    TURN_ATTEMPT,    /* addr has connected to the relayed address: turn_join() the connection */
    TURN_CONNECTED,  /* the server has connected to addr for us: turn_join() the connection */
    TURN_JOINED,     /* what follows on the connection are the peer's bytes */
    TURN_FAILED,     /* a request about addr or connection has: request, code, error, reason */
    TURN_REDIRECTED, /* instead of an allocation: addr is the server to ask */
    TURN_LOST,       /* there is no allocation any more: the same */
    TURN_CLOSED,     /* the server has let go, or was asked in vain */
};

struct turn_event {
    enum turn_event_kind kind;
    const char *request; /* which one has failed, "allocate" and so on; NULL: none */
    struct inet_addr addr, mapped;
    struct inet_addr other; /* TURN_ALLOCATED: another relayed address; of len 0: none */
    uint32_t connection;
    uint32_t lifetime; /* seconds */
    double rtt;        /* seconds, of the exchange that allocated; < 0: unknown */
    int code;          /* of the server's error response; 0: it was none */
    int error;         /* -errno that says the same */
    char reason[TURN_REASON_MAX];
};

struct turn_events {
    struct turn_events_entry *first, *last;
    int count;
};

/* A zeroed event of that kind at the end of the queue, to be filled in. */
struct turn_event *turn_events_push(struct turn_events *queue, enum turn_event_kind kind);

bool turn_events_pop(struct turn_events *queue, struct turn_event *event);
void turn_events_clear(struct turn_events *queue);

#endif
