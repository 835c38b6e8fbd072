/*
 * The one ev_loop. It is not libev's default loop, so that nobody's SIGCHLD handler is touched, and
 * it is turned by whoever runs the tasks: between two turns no callback is on the stack.
 */
#include "host/loop.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct post {
    void (*fn)(void *);
    void *arg;
    struct post *next;
};

static struct ev_loop *loop;
static ev_async door;
static ev_timer limit;
static int holds;

static pthread_mutex_t posts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct post *posts, **posts_tail = &posts;

static struct post *take_posts(void) {
    pthread_mutex_lock(&posts_lock);
    struct post *list = posts;
    posts = NULL;
    posts_tail = &posts;
    pthread_mutex_unlock(&posts_lock);
    return list;
}

static void on_door(struct ev_loop *l, ev_async *w, int events) {
    (void)l, (void)w, (void)events;
    struct post *next;
    for (struct post *p = take_posts(); p; p = next) {
        next = p->next;
        p->fn(p->arg);
        free(p);
    }
}

static void on_limit(struct ev_loop *l, ev_timer *w, int events) {
    (void)l, (void)w, (void)events;
}

struct ev_loop *loop_get(void) {
    if (loop)
        return loop;
    loop = ev_loop_new(EVFLAG_AUTO);
    if (!loop)
        abort();
    ev_async_init(&door, on_door);
    ev_async_start(loop, &door);
    ev_unref(loop);
    ev_init(&limit, on_limit);
    return loop;
}

double loop_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void loop_post(void (*fn)(void *), void *arg) {
    struct post *p = malloc(sizeof *p);
    if (!p)
        abort();
    *p = (struct post){fn, arg, NULL};
    pthread_mutex_lock(&posts_lock);
    int was_empty = posts == NULL;
    *posts_tail = p;
    posts_tail = &p->next;
    pthread_mutex_unlock(&posts_lock);
    if (was_empty)
        loop_wakeup();
}

void loop_wakeup(void) {
    if (loop)
        ev_async_send(loop, &door);
}

void loop_hold(void) {
    if (holds++ == 0)
        ev_ref(loop_get());
}

void loop_release(void) {
    if (--holds == 0)
        ev_unref(loop);
}

int loop_turn(double deadline) {
    loop_get();
    if (deadline <= 0)
        return ev_run(loop, EVRUN_NOWAIT);
    if (!isfinite(deadline))
        return ev_run(loop, EVRUN_ONCE);
    double left = deadline - loop_now();
    ev_now_update(loop);
    ev_timer_set(&limit, left > 0 ? left : 0, 0);
    ev_timer_start(loop, &limit);
    int active = ev_run(loop, EVRUN_ONCE) - (ev_is_active(&limit) ? 1 : 0);
    ev_timer_stop(loop, &limit);
    return active;
}
