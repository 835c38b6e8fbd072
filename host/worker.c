/*
 * Threads for calls that block. A thread is made only when a job comes and none is idle, and ends
 * when it has been idle for a while: most runs need one for a second, and an idle node keeps none.
 * Threads see neither Lua nor the loop: what they finish goes through loop_post(). They are
 * detached; a call that never returns must not keep the process from ending.
 */
#include "host/worker.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "host/loop.h"
#include "host/thread.h"

#define WORKER_THREADS_MAX 8
#define WORKER_IDLE_S 10
#define WORKER_STACK (256 * 1024) /* bytes; glibc's resolver needs some 80 KiB of them */

struct job {
    void (*work)(void *);
    void (*done)(void *);
    void *arg;
    struct job *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t arrival; /* on the monotonic clock */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct job *queue, **queue_tail = &queue;
static int threads, idle, queued;

static void init(void) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&arrival, &attr);
    pthread_condattr_destroy(&attr);
}

/* On the loop thread. */
static void deliver(void *arg) {
    struct job *job = arg;
    void (*done)(void *) = job->done;
    void *done_arg = job->arg;
    free(job);
    loop_release();
    done(done_arg);
}

static struct job *pop(void) {
    struct job *job = queue;
    queue = job->next;
    if (!queue)
        queue_tail = &queue;
    queued--;
    return job;
}

static void push(struct job *job) {
    job->next = NULL;
    *queue_tail = job;
    queue_tail = &job->next;
    queued++;
}

/* Under the lock: the next job, or NULL when the thread has been idle for long enough. */
static struct job *await_job(void) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WORKER_IDLE_S;
    int err = 0;
    idle++;
    while (!queue && err != ETIMEDOUT)
        err = pthread_cond_timedwait(&arrival, &lock, &until);
    idle--;
    return queue ? pop() : NULL;
}

static void *run(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    struct job *job;
    while ((job = await_job())) {
        pthread_mutex_unlock(&lock);
        job->work(job->arg);
        loop_post(deliver, job);
        pthread_mutex_lock(&lock);
    }
    threads--;
    pthread_mutex_unlock(&lock);
    return NULL;
}

static const struct thread_options THREAD = {.stack = WORKER_STACK};

/* Under the lock. A job that finds other threads at work can wait for one of them. */
static int provide_thread(void) {
    if (queued < idle || threads == WORKER_THREADS_MAX)
        return 0;
    int err = thread_start(run, &THREAD);
    if (err == 0)
        threads++;
    return threads > 0 ? 0 : err;
}

int worker_submit(void (*work)(void *arg), void (*done)(void *arg), void *arg) {
    struct job *job = malloc(sizeof *job);
    if (!job)
        return -ENOMEM;
    *job = (struct job){work, done, arg, NULL};
    pthread_once(&once, init);
    pthread_mutex_lock(&lock);
    int err = provide_thread();
    if (err == 0) {
        push(job);
        loop_hold();
        pthread_cond_signal(&arrival);
    }
    pthread_mutex_unlock(&lock);
    if (err)
        free(job);
    return err;
}
