/* Packets on their way, by the time at which they arrive; those of one flow keep their order. */
#ifndef NETDELAY_SCHEDULE_H
#define NETDELAY_SCHEDULE_H

#include <stdint.h>

struct packet {
    uint32_t id;    /* the kernel's name for it */
    int64_t due_ns; /* CLOCK_MONOTONIC */
    uint64_t order; /* of arrival: who came first leaves first when both are due at once */
};

/* `flow`: any number that all packets of a flow share. 0, or -ENOMEM. */
int schedule_add(uint32_t id, int64_t due_ns, uint32_t flow);

/* The next one, or NULL. */
const struct packet *schedule_first(void);

void schedule_remove_first(void);

#endif
