#include "host/turn/event.h"

#include <stdlib.h>

struct turn_events_entry {
    struct turn_events_entry *next;
    struct turn_event event;
};

struct turn_event *turn_events_push(struct turn_events *queue, enum turn_event_kind kind) {
    struct turn_events_entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        abort();
    entry->event.kind = kind;
    entry->event.rtt = -1;
    if (queue->last)
        queue->last->next = entry;
    else
        queue->first = entry;
    queue->last = entry;
    queue->count++;
    return &entry->event;
}

bool turn_events_pop(struct turn_events *queue, struct turn_event *event) {
    struct turn_events_entry *entry = queue->first;
    if (!entry)
        return false;
    *event = entry->event;
    queue->first = entry->next;
    if (!queue->first)
        queue->last = NULL;
    queue->count--;
    free(entry);
    return true;
}

void turn_events_clear(struct turn_events *queue) {
    struct turn_event event;
    while (turn_events_pop(queue, &event))
        continue;
}
