/*
 * One thread fires for all punches of the process, so that never more than one of them spins or has
 * a real-time priority. It sleeps on an alarm (an absolute timerfd) until shortly before the next
 * first SYN is due, spins for the rest, and does one thing at a time under the lock: one connect(),
 * one verdict. The loop takes the same lock for moments; it inherits priorities and goes to
 * whoever waits, so neither keeps the other. The thread lives while there are punches.
 *
 * What has connected or is over is put on a list, and the loop is told when that was empty. To free
 * a punch the loop halts it under the lock, closes its sockets without, and leaves the memory to
 * the thread, which may hold events of the epoll set that point there.
 */
#include "host/punch.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "host/loop.h"
#include "host/punch/fire.h"
#include "host/thread.h"

#define SPIN_S 200e-6 /* a sleep in a virtual machine ends up to 280 us late, most often 160 */
#define SLICE_NS 100000
#define EVENTS_MAX 64
#define STACK_SIZE (128 * 1024)

static pthread_mutex_t lock;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Under the lock. */
static struct punch *punches, *dead, *news;
static bool is_running;
static int epoll = -1, alarm_fd = -1;
static const char *scheduler = "normal";

static void init(void) {
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&lock, &attr);
    pthread_mutexattr_destroy(&attr);
}

/* INFINITY: no alarm; what is past rings at once. */
static void set_alarm(double at) {
    struct itimerspec t = {0};
    if (isfinite(at) && at > 0) {
        t.it_value.tv_sec = (time_t)at;
        t.it_value.tv_nsec = (long)((at - floor(at)) * 1e9);
    }
    if (isfinite(at) && t.it_value.tv_sec == 0 && t.it_value.tv_nsec == 0)
        t.it_value.tv_nsec = 1;
    timerfd_settime(alarm_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void ring(void) {
    set_alarm(0);
}

/* -- telling the loop ------------------------------------------------------------------------ */

/* On the loop: the next punch to look at, or NULL. */
static struct punch *pop_news(void) {
    pthread_mutex_lock(&lock);
    struct punch *p = news;
    bool is_over = false;
    if (p) {
        news = p->next_news;
        p->has_news = false;
        is_over = p->unfinished == 0;
    }
    pthread_mutex_unlock(&lock);
    if (is_over && p->held) {
        p->held = false;
        loop_release();
    }
    return p;
}

static void deliver(void *unused) {
    (void)unused;
    for (struct punch *p; (p = pop_news());)
        p->on_event(p->owner);
}

static void tell(struct punch *p) {
    if (!p->changed || p->has_news)
        return;
    p->changed = false;
    p->has_news = true;
    p->next_news = news;
    if (!news)
        loop_post(deliver, NULL);
    news = p;
}

static void forget_news(struct punch *p) {
    for (struct punch **at = &news; *at; at = &(*at)->next_news)
        if (*at == p) {
            *at = p->next_news;
            return;
        }
}

/* -- the thread ------------------------------------------------------------------------------ */

/* The attempt for which something is to be done first, and when; NULL and INFINITY if none. */
static struct attempt *find_next(double *when) {
    struct attempt *next = NULL;
    *when = INFINITY;
    for (struct punch *p = punches; p; p = p->next)
        for (int i = 0; !p->halted && i < p->plan.n; i++)
            if (p->due[i] < *when) {
                *when = p->due[i];
                next = &p->attempts[i];
            }
    return next;
}

static void spin_until(double when) {
    while (loop_now() < when)
        ;
}

/* Does all that is due; then when the next thing is, and whether it is worth spinning for. */
static double act_on_all(bool *precise) {
    double when;
    struct attempt *a = find_next(&when);
    for (double now; a && when <= (now = loop_now()); a = find_next(&when)) {
        punch_act(a, now);
        tell(a->punch);
        pthread_mutex_unlock(&lock); /* the loop may come in between */
        pthread_mutex_lock(&lock);
    }
    *precise = a && a->state == ATTEMPT_NEW && when == a->planned;
    return when;
}

static void bury(void) {
    struct punch *next;
    for (struct punch *p = dead; p; p = next) {
        next = p->next;
        punch_delete(p);
    }
    dead = NULL;
}

/* NULL: the alarm. */
static void look_at(struct attempt *a) {
    if (!a || a->punch->halted)
        return;
    punch_judge(a);
    tell(a->punch);
}

static void serve(void) {
    struct epoll_event events[EVENTS_MAX];
    while (bury(), punches) {
        bool precise;
        double when = act_on_all(&precise);
        set_alarm(precise ? when - SPIN_S : when);
        pthread_mutex_unlock(&lock);
        int n = epoll_wait(epoll, events, EVENTS_MAX, -1);
        if (precise && when - loop_now() <= SPIN_S)
            spin_until(when);
        pthread_mutex_lock(&lock);
        for (int i = 0; i < n; i++)
            look_at(events[i].data.ptr);
    }
}

/* struct sched_attr of the kernel, which glibc 2.36 does not know. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static bool read_attributes(struct attributes *a) {
    *a = (struct attributes){0};
    return syscall(SYS_sched_getattr, 0, a, sizeof *a, 0) == 0;
}

/* The calling thread's slice of time: the former one, or 0 when it stays. A shorter one is served
 * earlier (Linux 6.12). */
static uint64_t change_slice(uint64_t ns) {
    struct attributes a;
    if (!read_attributes(&a))
        return 0;
    uint64_t former = a.runtime;
    a.size = sizeof a;
    a.runtime = ns;
    return syscall(SYS_sched_setattr, 0, &a, 0) == 0 ? former : 0;
}

static const char *find_scheduler(void) {
    struct attributes a;
    if (!read_attributes(&a))
        return "normal";
    if (a.policy == SCHED_FIFO)
        return "fifo";
    return a.runtime == SLICE_NS ? "slice" : "normal"; /* older kernels take no notice */
}

static void close_set(void) {
    close(alarm_fd);
    close(epoll);
    alarm_fd = epoll = -1;
}

static void *run(void *unused) {
    (void)unused;
    prctl(PR_SET_NAME, "p2pd-punch");
    prctl(PR_SET_TIMERSLACK, 1UL);
    pthread_mutex_lock(&lock);
    scheduler = find_scheduler();
    serve();
    close_set();
    is_running = false;
    pthread_mutex_unlock(&lock);
    return NULL;
}

static int open_set(void) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll = epoll_create1(EPOLL_CLOEXEC);
    alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (epoll >= 0 && alarm_fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, alarm_fd, &event) == 0)
        return 0;
    int err = -errno;
    close_set();
    return err;
}

static int create_thread(bool real_time) {
    struct thread_options options = {.stack = STACK_SIZE, .real_time = real_time};
    return thread_start(run, &options);
}

/* It is punctual from its birth, for a thread that has yet to ask may have to wait until it runs at
 * all: its maker gives it a real-time priority, or has a short slice himself meanwhile. */
static int start_thread(void) {
    if (create_thread(true) == 0)
        return 0;
    uint64_t former = change_slice(SLICE_NS);
    int err = create_thread(false);
    if (former)
        change_slice(former);
    return err;
}

static int provide_thread(void) {
    if (is_running)
        return 0;
    int err = open_set();
    if (err < 0)
        return err;
    err = start_thread();
    if (err < 0)
        close_set();
    is_running = err == 0;
    return err;
}

/* -- the loop's side ------------------------------------------------------------------------- */

static int launch(struct punch *p) {
    pthread_once(&once, init);
    pthread_mutex_lock(&lock);
    int err = provide_thread();
    if (err == 0) {
        p->epoll = epoll;
        p->next = punches;
        punches = p;
        ring();
    }
    pthread_mutex_unlock(&lock);
    return err;
}

int punch_start(struct punch **punch, const struct punch_plan *plan, void (*on_event)(void *owner),
                void *owner, int *place) {
    struct punch *p = punch_new(plan);
    p->on_event = on_event;
    p->owner = owner;
    int err = punch_open(p, place);
    if (err == 0)
        err = launch(p);
    if (err < 0) {
        punch_close(p);
        punch_delete(p);
        return err;
    }
    p->held = true;
    loop_hold();
    *punch = p;
    return 0;
}

int punch_take(struct punch *p, int *place) {
    pthread_mutex_lock(&lock);
    int fd = punch_pop(p, place);
    if (fd >= 0)
        ring(); /* another mapping may have its place */
    else
        fd = p->unfinished ? -EAGAIN : -ENODATA;
    pthread_mutex_unlock(&lock);
    return fd;
}

/* The error that most attempts ended with, or 0. */
static int find_reason(const struct punch *p) {
    int counts[PUNCH_ERRNO_MAX] = {0}, reason = 0;
    for (int i = 0; i < p->plan.n; i++) {
        int err = p->attempts[i].last_error;
        bool ended = p->attempts[i].state == ATTEMPT_ENDED && err < PUNCH_ERRNO_MAX;
        if (ended && err && ++counts[err] > counts[reason])
            reason = err;
    }
    return reason;
}

void punch_stats(const struct punch *p, struct punch_stats *stats) {
    pthread_mutex_lock(&lock);
    *stats = (struct punch_stats){.fired = p->fired,
                                  .failed = p->failed,
                                  .established = p->established,
                                  .open = p->open,
                                  .reason = find_reason(p),
                                  .over = p->unfinished == 0,
                                  .scheduler = scheduler};
    memcpy(stats->errors, p->errors, sizeof stats->errors);
    for (int i = 0; i < PUNCH_MAPPINGS_MAX; i++)
        stats->lateness_s[i] = NAN;
    for (int i = 0; i < p->plan.n; i++)
        stats->lateness_s[p->attempts[i].place] = p->attempts[i].lateness_s;
    pthread_mutex_unlock(&lock);
}

static void halt(struct punch *p) {
    pthread_mutex_lock(&lock);
    p->halted = true;
    forget_news(p);
    pthread_mutex_unlock(&lock);
}

static void hand_over(struct punch *p) {
    pthread_mutex_lock(&lock);
    struct punch **at = &punches;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->next = dead;
    dead = p;
    ring();
    pthread_mutex_unlock(&lock);
}

void punch_free(struct punch *p) {
    halt(p);
    if (p->held)
        loop_release();
    punch_close(p);
    hand_over(p);
}
