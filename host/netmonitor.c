/*
 * One change makes a dozen messages (an address goes, its routes go, others come): they are told of
 * as one, when there has been silence for a moment. That a machine slept shows in the clock that
 * counts sleep running ahead of the one that does not; a timer that is far too late means the same
 * for a process that was stopped.
 */
#include "host/netmonitor.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "host/loop.h"

#define SETTLE_S 0.06     /* silence after which a change is told of */
#define SETTLE_MAX_S 0.25 /* and after which it is told of anyway */
#define BEAT_S 5.0        /* between two looks at the clocks */
#define POLL_S 2.5        /* where the kernel tells nothing */
#define ASLEEP_S 1.0      /* of sleep that counts */
#define LATE_S 5.0        /* by which a timer is late only if we were stopped */

static const int GROUPS[] = {RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                             RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_RULE,
                             RTNLGRP_IPV6_RULE};

static double seconds_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double find_lead(void) {
    return seconds_of(CLOCK_BOOTTIME) - seconds_of(CLOCK_MONOTONIC);
}

static void tell(struct netmonitor *m, unsigned events) {
    m->events |= events;
    if (m->on_event)
        m->on_event(m->owner);
}

/* -- the network ----------------------------------------------------------------------------- */

static void restart(ev_timer *w, double after, double repeat) {
    ev_timer_stop(loop_get(), w);
    ev_timer_set(w, after, repeat);
    ev_timer_start(loop_get(), w);
}

static void on_settled(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct netmonitor *m = w->data;
    m->first = 0;
    tell(m, NETMONITOR_CHANGED);
}

/* The local table's routes come and go with addresses, which are told of themselves. */
static bool is_news(const struct nlmsghdr *head) {
    const struct rtmsg *route = NLMSG_DATA(head);
    if (head->nlmsg_type != RTM_NEWROUTE && head->nlmsg_type != RTM_DELROUTE)
        return true;
    return route->rtm_table != RT_TABLE_LOCAL && !(route->rtm_flags & RTM_F_CLONED);
}

static bool has_news(const char *data, ssize_t size) {
    const struct nlmsghdr *head = (const struct nlmsghdr *)data;
    int left = (int)size;
    for (; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left))
        if (is_news(head))
            return true;
    return false;
}

/* ENOBUFS: some were lost, which is news enough. */
static bool drain(int fd) {
    _Alignas(struct nlmsghdr) char data[16384];
    bool news = false;
    for (;;) {
        ssize_t size = recv(fd, data, sizeof data, 0);
        if (size < 0 && errno == ENOBUFS)
            news = true;
        else if (size < 0 && errno != EINTR)
            return news;
        else if (size > 0 && !news)
            news = has_news(data, size);
    }
}

static void on_socket(struct ev_loop *loop, ev_io *w, int events) {
    (void)events;
    struct netmonitor *m = w->data;
    if (!drain(w->fd))
        return;
    ev_now_update(loop);
    double now = loop_now();
    if (m->first == 0)
        m->first = now;
    double left = m->first + SETTLE_MAX_S - now;
    restart(&m->settle, left < 0 ? 0 : left < SETTLE_S ? left : SETTLE_S, 0);
}

static int open_socket(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    struct sockaddr_nl self = {.nl_family = AF_NETLINK};
    int joined = 0;
    if (bind(fd, (struct sockaddr *)&self, sizeof self) == 0)
        for (size_t i = 0; i < sizeof GROUPS / sizeof *GROUPS; i++)
            if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &GROUPS[i], sizeof *GROUPS) ==
                0)
                joined++;
    if (joined)
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

/* -- sleep ----------------------------------------------------------------------------------- */

static void check_clocks(struct netmonitor *m, bool late) {
    double lead = find_lead();
    bool slept = lead - m->lead > ASLEEP_S;
    m->lead = lead;
    if (slept || late)
        tell(m, NETMONITOR_AWAKE);
}

static void on_beat(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct netmonitor *m = w->data;
    double now = loop_now();
    bool late = now - m->due > LATE_S;
    m->due = now + w->repeat;
    check_clocks(m, late);
    if (!ev_is_active(&m->socket))
        tell(m, NETMONITOR_POLL);
}

/* The wall clock was set, as it is after every sleep. */
static void on_clock(struct ev_loop *loop, ev_io *w, int events) {
    (void)events;
    uint64_t count;
    ssize_t n = read(w->fd, &count, sizeof count);
    if (n < 0 && errno != ECANCELED && errno != EAGAIN)
        ev_io_stop(loop, w);
    check_clocks(w->data, false);
}

static int open_clock(void) {
    int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    struct itimerspec never = {.it_value.tv_sec = INT32_MAX};
    if (fd >= 0 &&
        timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* -- begin and end --------------------------------------------------------------------------- */

static void watch(ev_io *w, int fd, void (*fn)(struct ev_loop *, ev_io *, int), void *owner) {
    ev_io_init(w, fn, fd, EV_READ);
    w->data = owner;
    if (fd >= 0)
        ev_io_start(loop_get(), w);
}

int netmonitor_open(struct netmonitor *m) {
    int fd = open_socket();
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
        return fd;
    m->open = true;
    m->lead = find_lead();
    ev_now_update(loop_get());
    watch(&m->socket, fd, on_socket, m);
    watch(&m->clock, open_clock(), on_clock, m);
    double period = fd < 0 ? POLL_S : BEAT_S;
    m->due = loop_now() + period;
    ev_init(&m->settle, on_settled);
    ev_timer_init(&m->beat, on_beat, period, period);
    m->settle.data = m->beat.data = m;
    ev_timer_start(loop_get(), &m->beat);
    return 0;
}

unsigned netmonitor_take(struct netmonitor *m) {
    unsigned events = m->events;
    m->events = 0;
    return events;
}

static void unwatch(ev_io *w) {
    ev_io_stop(loop_get(), w);
    if (w->fd >= 0)
        close(w->fd);
}

void netmonitor_close(struct netmonitor *m) {
    if (!m->open)
        return;
    m->open = false;
    unwatch(&m->socket);
    unwatch(&m->clock);
    ev_timer_stop(loop_get(), &m->settle);
    ev_timer_stop(loop_get(), &m->beat);
}
