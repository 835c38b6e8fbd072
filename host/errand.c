#include "host/errand.h"

#include <errno.h>
#include <stdlib.h>

#include "host/worker.h"

enum state { RUNNING, DONE, ABANDONED };

/* Only the loop thread looks at the state and frees. */
struct errand {
    enum state state;
    struct errand_options options;
};

static void destroy(struct errand *e) {
    e->options.destroy(e->options.data);
    free(e);
}

static void work(void *arg) {
    struct errand *e = arg;
    e->options.work(e->options.data);
}

static void deliver(void *arg) {
    struct errand *e = arg;
    if (e->state == ABANDONED) {
        destroy(e);
        return;
    }
    e->state = DONE;
    e->options.on_done(e->options.owner);
}

struct errand *errand_start(const struct errand_options *options) {
    struct errand *e = malloc(sizeof *e);
    if (!e) {
        options->destroy(options->data);
        errno = ENOMEM;
        return NULL;
    }
    *e = (struct errand){RUNNING, *options};
    int err = worker_submit(work, deliver, e);
    if (err == 0)
        return e;
    destroy(e);
    errno = -err;
    return NULL;
}

bool errand_is_done(const struct errand *e) {
    return e->state == DONE;
}

void errand_free(struct errand *e) {
    if (!e)
        return;
    if (e->state == RUNNING)
        e->state = ABANDONED;
    else
        destroy(e);
}
