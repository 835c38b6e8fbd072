/* What a TURN client has to tell, oldest first. */
#ifndef P2PD_TURN_EVENT_H
#define P2PD_TURN_EVENT_H

#include "host/turn.h"

struct turn_events {
    struct turn_events_entry *first, *last;
    int count;
};

/* A zeroed event of that kind at the end of the queue, to be filled in. */
struct turn_event *turn_events_push(struct turn_events *queue, enum turn_event_kind kind);

bool turn_events_pop(struct turn_events *queue, struct turn_event *event);
void turn_events_clear(struct turn_events *queue);

#endif
