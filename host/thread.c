#include "host/thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

static void set_attributes(pthread_attr_t *attr, const struct thread_options *options) {
    pthread_attr_setdetachstate(attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(attr, options->stack);
    if (!options->real_time)
        return;
    struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
    pthread_attr_setinheritsched(attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(attr, SCHED_FIFO);
    pthread_attr_setschedparam(attr, &lowest);
}

/* A thread inherits the mask of who makes it. */
int thread_start(void *(*run)(void *unused), const struct thread_options *options) {
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t deaf, before;
    int err = pthread_attr_init(&attr);
    if (err)
        return -err;
    set_attributes(&attr, options);
    sigfillset(&deaf);
    pthread_sigmask(SIG_SETMASK, &deaf, &before);
    err = pthread_create(&thread, &attr, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return -err;
}
