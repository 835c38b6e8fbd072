/*
 * What is written leaves at the loop's next turn, so that small writes share a datagram. Whoever is
 * told of something may end the link at that moment: then it is freed when run() is through.
 */
#include "host/reliable/link.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "host/loop.h"

static const char *const STATES[] = {"opening", "open", "ended", "failed", "gone"};

struct reliable_link {
    struct transport base;
    struct reliable *machine;
    struct datagrams *carrier;
    void (*on_change)(struct reliable_link *); /* NULL: it is a transport */
    void *owner;
    ev_timer timer;
    int wanted;   /* by the transport's owner */
    bool touched; /* there may be something to send */
    bool blocked; /* the carrier has no room, or has ended */
    bool ended;   /* the carrier has */
    bool left;
    bool running; /* run() is on the stack */
    bool dead;    /* to be freed after that */
};

static struct reliable_link *self(struct transport *t) {
    return (struct reliable_link *)t;
}

/* -- readiness ----------------------------------------------------------------------------- */

static int ready(const struct reliable_link *l) {
    int events = reliable_is_readable(l->machine) ? EV_READ : 0;
    return events | (reliable_is_writable(l->machine) ? EV_WRITE : 0);
}

static bool is_gone(const struct reliable_link *l) {
    return l->left && (l->ended || reliable_state(l->machine) == RELIABLE_GONE);
}

static void notify(struct reliable_link *l) {
    if (l->on_change)
        l->on_change(l);
    if (l->on_change || !l->base.on_ready)
        return;
    int events = l->left ? (is_gone(l) ? EV_READ : 0) : l->wanted & ready(l);
    if (events)
        l->base.on_ready(&l->base, events);
}

/* -- the timer and what leaves ------------------------------------------------------------- */

static double wait(const struct reliable_link *l) {
    bool telling = !l->left && !l->on_change && (l->wanted & ready(l));
    if (is_gone(l))
        return INFINITY;
    if (l->touched || telling)
        return 0;
    double due = l->blocked && !l->left ? INFINITY : reliable_due(l->machine);
    return isfinite(due) ? fmax(due - loop_now(), 0) : INFINITY;
}

static void arm(struct reliable_link *l) {
    double seconds = wait(l);
    if (ev_is_active(&l->timer))
        ev_timer_stop(loop_get(), &l->timer);
    if (seconds == INFINITY)
        return;
    ev_timer_set(&l->timer, seconds, 0);
    ev_timer_start(loop_get(), &l->timer);
}

static void end(struct reliable_link *l, int err, const char *why) {
    l->ended = l->blocked = true;
    reliable_fail(l->machine, err, why);
}

static void send_all(struct reliable_link *l) {
    uint8_t datagram[RELIABLE_SIZE_MAX];
    size_t len;
    l->touched = false;
    while (!l->blocked &&
           (len = reliable_poll(l->machine, datagram, sizeof datagram, loop_now()))) {
        int err = l->carrier->ops->send(l->carrier, datagram, len);
        l->blocked = err == -EAGAIN;
        if (err && err != -EAGAIN && err != -EMSGSIZE)
            end(l, err, "the carrier has failed");
    }
    if (!l->ended)
        l->carrier->ops->flush(l->carrier);
}

static void destroy(struct reliable_link *l) {
    ev_timer_stop(loop_get(), &l->timer);
    l->carrier->ops->free(l->carrier);
    reliable_free(l->machine);
    free(l);
}

static void run(struct reliable_link *l) {
    l->running = true;
    notify(l);
    enum reliable_state before = reliable_state(l->machine);
    send_all(l);
    if (reliable_state(l->machine) != before)
        notify(l);
    l->running = false;
    if (l->dead)
        destroy(l);
    else
        arm(l);
}

/* A carrier that stays blocked must not keep a link that was left: time goes on for the machine. */
static void pass_time(struct reliable_link *l) {
    uint8_t datagram[RELIABLE_SIZE_MAX];
    if (l->left && l->blocked)
        reliable_poll(l->machine, datagram, sizeof datagram, loop_now());
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct reliable_link *l = w->data;
    pass_time(l);
    run(l);
}

/* -- the carrier --------------------------------------------------------------------------- */

static void on_datagram(struct datagrams *d, const void *data, size_t len) {
    struct reliable_link *l = d->owner;
    reliable_feed(l->machine, data, len, loop_now());
}

static void on_pause(struct datagrams *d) {
    run(d->owner);
}

static void on_room(struct datagrams *d) {
    struct reliable_link *l = d->owner;
    l->blocked = false;
    run(l);
}

static void on_end(struct datagrams *d, int err, const char *why) {
    struct reliable_link *l = d->owner;
    end(l, -abs(err), why);
    l->touched = true;
    arm(l);
}

/* -- the transport ------------------------------------------------------------------------- */

static ssize_t link_read(struct transport *t, void *data, size_t len) {
    ssize_t n = reliable_read(self(t)->machine, data, len);
    if (n > 0)
        reliable_link_touch(self(t));
    return n;
}

static ssize_t link_write(struct transport *t, const void *data, size_t len) {
    ssize_t n = reliable_write(self(t)->machine, data, len);
    if (n > 0)
        reliable_link_touch(self(t));
    return n;
}

static int link_shutdown(struct transport *t) {
    struct reliable_link *l = self(t);
    int err = reliable_shutdown(l->machine);
    if (err)
        return err;
    reliable_link_touch(l);
    return 0;
}

static void link_want(struct transport *t, int events) {
    struct reliable_link *l = self(t);
    bool more = events & ~l->wanted;
    l->wanted = events;
    if (more && (events & ready(l)))
        arm(l);
}

static int link_fd(const struct transport *t) {
    (void)t;
    return -1;
}

static size_t link_unsent(const struct transport *t) {
    struct reliable_info info;
    reliable_info(((const struct reliable_link *)t)->machine, &info);
    return info.unacked;
}

static double link_rtt(const struct transport *t) {
    struct reliable_info info;
    reliable_info(((const struct reliable_link *)t)->machine, &info);
    return info.rtt > 0 ? info.rtt : -1;
}

static void link_set_silence(struct transport *t, double seconds) {
    reliable_set_silence(self(t)->machine, seconds);
    arm(self(t));
}

static const char *link_reason(const struct transport *t) {
    return reliable_reason(((const struct reliable_link *)t)->machine);
}

#define COUNT(name, number)                                                                        \
    {                                                                                              \
        "link", name, FACT_COUNT, {                                                                \
            .count = (number)                                                                      \
        }                                                                                          \
    }

static void link_describe(const struct transport *t, transport_tell tell, void *arg) {
    const struct reliable *machine = ((const struct reliable_link *)t)->machine;
    struct reliable_info info;
    reliable_info(machine, &info);
    const struct transport_fact rtt = {"link", "rtt", FACT_NUMBER, {.number = info.rtt}};
    const struct transport_fact facts[] = {
        {"link", "state", FACT_TEXT, {.text = STATES[info.state]}},
        {"link", "reason", FACT_TEXT, {.text = reliable_reason(machine)}},
        COUNT("mtu", info.size),
        COUNT("window", info.window),
        COUNT("in_flight", info.in_flight),
        COUNT("unacked", info.unacked),
        COUNT("datagrams_out", info.datagrams_out),
        COUNT("datagrams_in", info.datagrams_in),
        COUNT("retransmitted", info.retransmitted),
        COUNT("lost", info.lost),
        COUNT("spurious", info.spurious),
        COUNT("duplicates", info.duplicates),
        COUNT("refused", info.refused),
    };
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        tell(arg, &facts[i]);
    if (info.rtt > 0)
        tell(arg, &rtt);
}

/* The machine's own timers see to it that this ends. */
static void give_up(struct reliable_link *l) {
    if (l->left)
        return;
    l->left = true;
    reliable_leave(l->machine, loop_now());
    reliable_link_touch(l);
}

static int link_leave(struct transport *t) {
    struct reliable_link *l = self(t);
    if (!l->left)
        reliable_shutdown(l->machine);
    give_up(l);
    return is_gone(l) ? 0 : -EAGAIN;
}

static void link_abort(struct transport *t) {
    give_up(self(t));
}

static void link_free(struct transport *t) {
    struct reliable_link *l = self(t);
    l->base.on_ready = NULL;
    l->dead = true;
    if (!l->running)
        destroy(l);
}

static const struct transport_ops OPS = {
    .read = link_read,
    .write = link_write,
    .shutdown = link_shutdown,
    .want = link_want,
    .fd = link_fd,
    .detach = transport_no_detach,
    .unsent = link_unsent,
    .rtt = link_rtt,
    .set_silence = link_set_silence,
    .reason = link_reason,
    .describe = link_describe,
    .leave = link_leave,
    .abort = link_abort,
    .free = link_free,
};

struct transport *reliable_link_transport(struct reliable_link *l) {
    l->on_change = NULL;
    l->owner = NULL;
    return &l->base;
}

/* -- the link ------------------------------------------------------------------------------ */

struct reliable_link *reliable_link_new(const struct reliable_options *options,
                                        struct datagrams *carrier,
                                        void (*on_change)(struct reliable_link *), void *owner) {
    struct reliable_link *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    struct reliable_options fitting = *options;
    if (fitting.size > carrier->size_max)
        fitting.size = carrier->size_max;
    l->base = (struct transport){.ops = &OPS, .patience = INFINITY};
    l->machine = reliable_new(&fitting, loop_now());
    l->carrier = carrier;
    l->on_change = on_change;
    l->owner = owner;
    l->touched = true;
    carrier->owner = l;
    carrier->on_datagram = on_datagram;
    carrier->on_pause = on_pause;
    carrier->on_room = on_room;
    carrier->on_end = on_end;
    ev_init(&l->timer, on_timer);
    l->timer.data = l;
    carrier->ops->receive(carrier, true);
    arm(l);
    return l;
}

void *reliable_link_owner(const struct reliable_link *l) {
    return l->owner;
}

struct reliable *reliable_link_machine(const struct reliable_link *l) {
    return l->machine;
}

void reliable_link_touch(struct reliable_link *l) {
    if (l->touched)
        return;
    l->touched = true;
    arm(l);
}

const char *reliable_link_state(const struct reliable_link *l) {
    return STATES[reliable_state(l->machine)];
}

void reliable_link_describe(const struct reliable_link *l, transport_tell tell, void *arg) {
    link_describe(&l->base, tell, arg);
}

void reliable_link_abort(struct reliable_link *l) {
    transport_abort(reliable_link_transport(l));
}
