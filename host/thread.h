/* Making threads: detached, on a small stack, with every signal blocked: signals are the loop's. */
#ifndef P2PD_HOST_THREAD_H
#define P2PD_HOST_THREAD_H

#include <stdbool.h>
#include <stddef.h>

struct thread_options {
    size_t stack;   /* bytes */
    bool real_time; /* SCHED_FIFO, lowest priority; -EPERM where not allowed */
};

/* 0 or -errno. */
int thread_start(void *(*run)(void *unused), const struct thread_options *options);

#endif
