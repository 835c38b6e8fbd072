/*
 * Leaving: what happens to a transport after its user has closed it. A step is taken whenever the
 * transport is ready, and now and then, because acknowledgements make no descriptor ready. It is
 * given up when nothing has moved for as long as the transport is patient.
 *
 * Steps are taken, and transports freed, only from the timer here or from the call that begins: so
 * none is freed from within a call of its own, unless its owner begins there.
 */
#include "host/transport.h"

#include <errno.h>
#include <stdlib.h>

#include "host/loop.h"

#define ASK_S 0.02 /* until the first step of the timer; doubled each time */
#define ASK_MAX_S 0.5

struct leaving {
    struct transport *transport;
    struct buffer out; /* still to be written */
    bool shut;         /* our half is to be ended after that */
    bool settled;      /* nobody has to wait for it */
    ev_timer timer;
    double wait;     /* until the next step */
    size_t unsent;   /* when we last looked */
    double progress; /* when it was last less than before */
};

static int count, unsettled;

int transport_leaving(void) {
    return count;
}

int transport_unsettled(void) {
    return unsettled;
}

static void settle(struct leaving *l) {
    if (!l->settled)
        unsettled--;
    l->settled = true;
}

static int write_out(struct leaving *l) {
    struct transport *t = l->transport;
    while (l->out.len) {
        ssize_t n = t->ops->write(t, buffer_head(&l->out), l->out.len);
        if (n == -EAGAIN)
            t->ops->want(t, EV_WRITE);
        if (n < 0)
            return (int)n;
        buffer_consume(&l->out, (size_t)n);
    }
    return 0;
}

static int step(struct leaving *l) {
    struct transport *t = l->transport;
    int err = write_out(l);
    if (err)
        return err;
    if (l->shut)
        t->ops->shutdown(t);
    l->shut = false;
    err = t->ops->leave(t);
    if (t->ops->settled && t->ops->settled(t))
        settle(l);
    return err;
}

static void end(struct leaving *l) {
    settle(l);
    ev_timer_stop(loop_get(), &l->timer);
    l->transport->ops->free(l->transport);
    buffer_fini(&l->out);
    free(l);
    count--;
}

static void arm(struct leaving *l, double seconds) {
    ev_timer_stop(loop_get(), &l->timer);
    ev_timer_set(&l->timer, seconds, 0);
    ev_timer_start(loop_get(), &l->timer);
}

static size_t unsent(const struct leaving *l) {
    return l->out.len + l->transport->ops->unsent(l->transport);
}

static bool is_stuck(struct leaving *l, double now) {
    size_t left = unsent(l);
    if (left < l->unsent)
        l->progress = now;
    l->unsent = left;
    return now - l->progress > l->transport->patience;
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct leaving *l = w->data;
    if (step(l) != -EAGAIN || is_stuck(l, loop_now())) {
        end(l);
        return;
    }
    if (ev_is_active(&l->timer)) /* it became ready meanwhile */
        return;
    arm(l, l->wait);
    l->wait = l->wait * 2 < ASK_MAX_S ? l->wait * 2 : ASK_MAX_S;
}

static void on_ready(struct transport *t, int events) {
    (void)events;
    arm(t->owner, 0);
}

static void begin(struct transport *t, struct buffer out, bool shut, bool settled) {
    struct leaving *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    *l = (struct leaving){
        .transport = t, .out = out, .shut = shut, .settled = settled, .wait = ASK_S};
    ev_init(&l->timer, on_timer);
    l->timer.data = l;
    t->owner = l;
    t->on_ready = on_ready;
    t->ops->want(t, 0);
    count++;
    unsettled += !settled;
    if (step(l) != -EAGAIN) {
        end(l);
        return;
    }
    ev_now_update(loop_get());
    l->progress = loop_now();
    l->unsent = unsent(l);
    if (!ev_is_active(&l->timer))
        arm(l, l->wait);
}

void transport_leave(struct transport *t, struct buffer out, bool shut) {
    begin(t, out, shut, false);
}

void transport_leave_settled(struct transport *t, struct buffer out) {
    begin(t, out, false, true);
}

void transport_abort(struct transport *t) {
    if (!t->ops->abort) {
        t->ops->free(t);
        return;
    }
    t->ops->abort(t);
    begin(t, (struct buffer){0}, false, false);
}

void transport_set_silence(struct transport *t, double seconds) {
    if (t->ops->set_silence)
        t->ops->set_silence(t, seconds);
}

const char *transport_reason(const struct transport *t) {
    return t->ops->reason ? t->ops->reason(t) : NULL;
}

void transport_describe(const struct transport *t, transport_tell tell, void *arg) {
    if (t->ops->describe)
        t->ops->describe(t, tell, arg);
}

int transport_no_detach(struct transport *t) {
    (void)t;
    return -EOPNOTSUPP;
}
