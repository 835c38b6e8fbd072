/* The state of one punch, and the steps of its attempts. For punch.c, under its lock. */
#ifndef P2PD_HOST_PUNCH_FIRE_H
#define P2PD_HOST_PUNCH_FIRE_H

#include "host/punch/attempt.h"

struct punch {
    struct punch_plan plan; /* without its mappings */
    int epoll;              /* where its sockets are watched; an event's data is the attempt */
    unsigned short seed[3]; /* of the gaps */
    struct attempt *attempts;
    double *due;    /* of each attempt; INFINITY: nothing is to be done any more */
    double *sent;   /* when the last plan.rate SYNs left, a ring */
    bool changed;   /* there is something new for the owner */
    bool halted;    /* the loop closes it: nothing happens to it any more */
    int unfinished; /* attempts that may still connect */
    int open;       /* sockets that are neither closed nor taken */
    int fired, failed, established;
    int errors[PUNCH_ERRNO_MAX];
    struct attempt *first_established, *last_established;
    struct attempt *first_blocked, *last_blocked;

    /* punch.c's */
    struct punch *next;      /* among the thread's, or among the dead */
    struct punch *next_news; /* among those that the loop is to look at */
    bool has_news, held;
    void (*on_event)(void *owner);
    void *owner;
};

/* Never NULL; has no socket yet. */
struct punch *punch_new(const struct punch_plan *plan);

/* Opens as many sockets as there may be, earliest mappings first; see punch_start(). */
int punch_open(struct punch *p, int *place);
void punch_close(struct punch *p);
void punch_delete(struct punch *p);

/* Does what is due for the attempt. */
void punch_act(struct attempt *a, double now);

/* Something has become of its connect(). */
void punch_judge(struct attempt *a);

/* The oldest established attempt leaves: its socket, or -1 when there is none. */
int punch_pop(struct punch *p, int *place);

#endif
