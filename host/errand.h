/* Work on a worker thread that nobody has to wait for: who started it may leave before it ends. */
#ifndef P2PD_HOST_ERRAND_H
#define P2PD_HOST_ERRAND_H

#include <stdbool.h>

struct errand;

struct errand_options {
    void (*work)(void *data);    /* on a worker thread, which alone touches the data meanwhile */
    void (*destroy)(void *data); /* on the loop thread */
    void *data;
    void (*on_done)(void *owner); /* on the loop thread, unless it was freed before */
    void *owner;
};

/* Takes the data over. NULL and errno, the data being destroyed, when there is no thread. Loop
 * thread only, as all that follows. */
struct errand *errand_start(const struct errand_options *options);

bool errand_is_done(const struct errand *e);

/* Frees it and its data; if it still runs, when it has ended. NULL is nothing. */
void errand_free(struct errand *e);

#endif
