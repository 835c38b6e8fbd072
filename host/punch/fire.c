/*
 * Each attempt has one instant at which something is to be done for it: its first SYN, a retry, the
 * TTL to raise, the end. They are an array that is searched from end to end: for a thousand that
 * takes a tenth of what a connect() does.
 *
 * Never more than one connect() is out for a mapping, and it is only replaced after it has failed:
 * a socket that is closed over its SYN leaves a half-open connection behind, and the next SYN's
 * other sequence number confuses the peer. The gaps are random since equal ones on both sides lock
 * in phase. An RST ends the mapping in the local NAT, an ICMP message does not: the peer's SYN may
 * pass it in the gap, and a port that does not connect would answer with an RST. So after one
 * the gap counts from the SYN that failed, and is most often over already.
 */
#include "host/punch/fire.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "host/loop.h"

#define GAP_LEAST 0.2
#define GAP_SPAN 1.6
#define RATE_WINDOW_S 1

static void append(struct attempt **first, struct attempt **last, struct attempt *a) {
    a->next = NULL;
    *(*first ? &(*last)->next : first) = a;
    *last = a;
}

static void set_due(struct attempt *a, double due) {
    struct punch *p = a->punch;
    p->due[a - p->attempts] = due < a->ends ? due : a->ends;
}

static void finish(struct attempt *a, enum attempt_state state) {
    struct punch *p = a->punch;
    a->state = state;
    p->due[a - p->attempts] = INFINITY;
    if (--p->unfinished == 0)
        p->changed = true;
}

/* One socket fewer is open: the turn of the one that has waited longest. */
static void release_place(struct punch *p) {
    p->open--;
    struct attempt *a = p->first_blocked;
    while (a && a->state == ATTEMPT_ENDED)
        a = a->next;
    p->first_blocked = a ? a->next : NULL;
    if (a)
        set_due(a, 0);
}

static int open_socket(struct attempt *a) {
    int err = attempt_open(a);
    if (err == 0)
        a->punch->open++;
    return err;
}

static void unwatch(struct attempt *a) {
    if (a->watched)
        epoll_ctl(a->punch->epoll, EPOLL_CTL_DEL, a->fd, NULL);
    a->watched = false;
}

/* A close alone would not do: a child that has yet to execute its program keeps the socket, and
 * with it the place in the epoll set. */
static void close_socket(struct attempt *a) {
    if (a->fd < 0)
        return;
    unwatch(a);
    close(a->fd);
    a->fd = -1;
}

static void note_error(struct attempt *a, int err) {
    a->last_error = -err;
    if (-err < PUNCH_ERRNO_MAX)
        a->punch->errors[-err]++;
}

static void give_up(struct attempt *a) {
    if (a->state == ATTEMPT_CONNECTING)
        a->punch->errors[ETIMEDOUT]++;
    if (!a->last_error)
        a->last_error = ETIMEDOUT;
    finish(a, ATTEMPT_ENDED);
    if (a->fd < 0)
        return;
    close_socket(a);
    release_place(a->punch);
}

static double random_gap(struct punch *p) {
    return p->plan.gap_s * (GAP_LEAST + GAP_SPAN * erand48(p->seed));
}

static void fail(struct attempt *a, int err) {
    a->punch->failed++;
    note_error(a, err);
    unwatch(a);
    a->state = ATTEMPT_PAUSED;
    double since = attempt_was_unreachable(err) ? a->sent : loop_now();
    if (attempt_may_retry(err))
        set_due(a, since + random_gap(a->punch));
    else
        give_up(a);
}

static void establish(struct attempt *a) {
    struct punch *p = a->punch;
    attempt_settle(a);
    p->established++;
    unwatch(a);
    append(&p->first_established, &p->last_established, a);
    finish(a, ATTEMPT_ESTABLISHED);
    p->changed = true;
}

static int watch(struct attempt *a) {
    struct epoll_event event = {.events = EPOLLOUT | EPOLLONESHOT, .data.ptr = a};
    int op = a->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(a->punch->epoll, op, a->fd, &event) < 0)
        return -errno;
    a->watched = true;
    return 0;
}

/* What connect() has come to: 0, -EINPROGRESS or an error. */
static void conclude(struct attempt *a, int err) {
    if (err == -EINPROGRESS)
        err = watch(a);
    else if (err == 0)
        establish(a);
    if (err < 0)
        fail(a, err);
}

void punch_judge(struct attempt *a) {
    if (a->state == ATTEMPT_CONNECTING)
        conclude(a, attempt_verdict(a));
}

static void note_first(struct attempt *a, double now) {
    a->lateness_s = now - a->planned;
    if (now + a->punch->plan.hold_s < a->ends)
        a->ends = now + a->punch->plan.hold_s;
}

static void send_syn(struct attempt *a) {
    struct punch *p = a->punch;
    double now = loop_now();
    int err = attempt_connect(a);
    p->sent[p->fired++ % p->plan.rate] = a->sent = now;
    if (a->state == ATTEMPT_NEW)
        note_first(a, now);
    a->state = ATTEMPT_CONNECTING;
    if (p->plan.ttl_for_s <= 0)
        attempt_raise_ttl(a);
    set_due(a, a->is_low ? now + p->plan.ttl_for_s : INFINITY);
    conclude(a, err);
}

static void block(struct attempt *a) {
    struct punch *p = a->punch;
    append(&p->first_blocked, &p->last_blocked, a);
    set_due(a, INFINITY);
}

static int provide_socket(struct attempt *a) {
    if (a->state == ATTEMPT_PAUSED)
        return attempt_renew(a);
    return a->fd < 0 ? open_socket(a) : 0;
}

static void fire(struct attempt *a, double now) {
    struct punch *p = a->punch;
    if (p->plan.syns_max && p->fired >= p->plan.syns_max) {
        give_up(a);
        return;
    }
    double allowed = p->sent[p->fired % p->plan.rate] + RATE_WINDOW_S;
    if (allowed > now) {
        set_due(a, allowed);
        return;
    }
    if (a->fd < 0 && p->open >= p->plan.max_open) {
        block(a);
        return;
    }
    int err = provide_socket(a);
    if (err < 0) {
        note_error(a, err);
        set_due(a, loop_now() + random_gap(p));
        return;
    }
    send_syn(a);
}

void punch_act(struct attempt *a, double now) {
    if (now >= a->ends) {
        give_up(a);
    } else if (a->state == ATTEMPT_CONNECTING) {
        attempt_raise_ttl(a);
        set_due(a, INFINITY);
    } else {
        fire(a, now);
    }
}

int punch_pop(struct punch *p, int *place) {
    struct attempt *a = p->first_established;
    if (!a)
        return -1;
    int fd = a->fd;
    p->first_established = a->next;
    *place = a->place;
    a->fd = -1;
    a->state = ATTEMPT_ENDED;
    release_place(p);
    return fd;
}

/* -- begin and end --------------------------------------------------------------------------- */

static int by_instant(const void *a, const void *b) {
    const struct attempt *x = a, *y = b;
    if (x->planned != y->planned)
        return x->planned < y->planned ? -1 : 1;
    return x->place - y->place;
}

static void *allocate(int n, size_t size) {
    void *array = calloc((size_t)n, size);
    if (!array)
        abort();
    return array;
}

struct punch *punch_new(const struct punch_plan *plan) {
    struct punch *p = allocate(1, sizeof *p);
    p->plan = *plan;
    p->plan.mappings = NULL;
    p->epoll = -1;
    p->unfinished = plan->n;
    p->attempts = allocate(plan->n, sizeof *p->attempts);
    p->due = allocate(plan->n, sizeof *p->due);
    p->sent = allocate(plan->rate, sizeof *p->sent);
    for (int i = 0; i < plan->rate; i++)
        p->sent[i] = -INFINITY;
    for (int i = 0; i < plan->n; i++)
        p->attempts[i] = (struct attempt){.punch = p,
                                          .mapping = plan->mappings[i],
                                          .place = i,
                                          .fd = -1,
                                          .lateness_s = NAN,
                                          .planned = plan->at + plan->mappings[i].after_s,
                                          .ends = plan->deadline};
    if (getrandom(p->seed, sizeof p->seed, GRND_NONBLOCK) < 0)
        p->seed[0] = (unsigned short)getpid();
    qsort(p->attempts, (size_t)plan->n, sizeof *p->attempts, by_instant);
    for (int i = 0; i < plan->n; i++)
        set_due(&p->attempts[i], p->attempts[i].planned);
    return p;
}

int punch_open(struct punch *p, int *place) {
    int most = p->plan.n < p->plan.max_open ? p->plan.n : p->plan.max_open;
    for (int i = 0; i < most; i++) {
        int err = open_socket(&p->attempts[i]);
        *place = p->attempts[i].place;
        if (err < 0)
            return err;
    }
    *place = -1;
    return 0;
}

void punch_close(struct punch *p) {
    for (int i = 0; i < p->plan.n; i++)
        close_socket(&p->attempts[i]);
}

void punch_delete(struct punch *p) {
    free(p->attempts);
    free(p->due);
    free(p->sent);
    free(p);
}
