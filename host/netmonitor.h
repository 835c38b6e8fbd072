/* Tells that the machine's network may have changed, or that the machine has slept. What has
 * changed is seen by listing it again (host/netif.h). */
#ifndef P2PD_HOST_NETMONITOR_H
#define P2PD_HOST_NETMONITOR_H

#include <ev.h>
#include <stdbool.h>

enum netmonitor_event {
    NETMONITOR_CHANGED = 1, /* an address, link, route or rule */
    NETMONITOR_AWAKE = 2,   /* the machine, or this process, was stopped for some seconds */
    NETMONITOR_POLL = 4,    /* the kernel tells nothing here: look for yourself */
};

/* In place: it must not move while open. Zeroed is closed. Loop thread only. */
struct netmonitor {
    void (*on_event)(void *owner); /* there is something to take */
    void *owner;

    bool open;
    unsigned events;     /* bits of enum netmonitor_event */
    ev_io socket, clock; /* rtnetlink; a timer that the kernel cancels when it wakes */
    ev_timer settle, beat;
    double first, lead, due;
};

/* Where netlink is denied it works too, by NETMONITOR_POLL. 0 or -errno. */
int netmonitor_open(struct netmonitor *m);
unsigned netmonitor_take(struct netmonitor *m); /* and forgets them */
void netmonitor_close(struct netmonitor *m);    /* may be called twice */

#endif
