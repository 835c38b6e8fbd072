/*
 * A session as a transport. Paths are read whenever they have something, so that acknowledgements
 * and probes never wait for a slow reader; but when the reader waits it is told, and its own read
 * takes the bytes from the path. A full frame leaves at once; the rest of a long write at the
 * loop's next turn, so that the next write can fill it up.
 *
 * Whoever is told of something may give the session up at that moment: it is freed when no call is
 * on the stack.
 */
#include "host/session.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "host/loop.h"
#include "host/session/carrier.h"
#include "host/session/codec.h"
#include "host/session/facts.h"

#define LOOK_S 0.2 /* between looks at what the layers below know of a path */
#define TOLD_MAX 4 /* events of paths that a reader who was told may let pass before it reads */
#define HEAR_EACH (128 * 1024) /* bytes that are written between two reads */

struct session {
    struct transport base;
    struct session_machine *machine;
    struct carrier *carriers;
    void (*on_event)(struct session *); /* NULL: the handle is given up */
    void *owner;
    ev_timer timer;
    double timer_due; /* on loop_now()'s scale */
    int wanted;       /* by the stream's owner */
    double looked_at; /* below */
    int told;         /* > 0: the reader was, and how many events of paths ago */
    size_t unheard;   /* bytes written since hear() last read the paths */
    bool taken;       /* the stream was given away */
    bool freed;       /* and its owner has done with it */
    bool held_back;   /* the rest of a long write */
    bool closing;     /* nobody reads or writes any more */
    bool leaving;     /* by transport_leave() */
    int depth;        /* calls that are on the stack */
};

static struct session *self(struct transport *t) {
    return (struct session *)t;
}

/* -- paths out ------------------------------------------------------------------------------ */

static void send_all(struct session *s) {
    s->held_back = false;
    for (struct carrier *c = s->carriers; c; c = c->next)
        carrier_send(c);
}

static void sweep(struct session *s) {
    struct carrier **link = &s->carriers;
    while (*link) {
        struct carrier *c = *link;
        if (sm_path_state(s->machine, c->number) == PATH_LIVE) {
            link = &c->next;
            continue;
        }
        *link = c->next;
        carrier_let_go(c);
        link = &s->carriers;
    }
}

/* -- after each call ------------------------------------------------------------------------ */

static int ready(const struct session *s) {
    return (sm_is_readable(s->machine) ? EV_READ : 0) | (sm_is_writable(s->machine) ? EV_WRITE : 0);
}

static bool is_over(const struct session *s) {
    struct session_info info;
    sm_info(s->machine, &info);
    return info.state >= SESSION_ENDED;
}

static void destroy(struct session *s) {
    ev_timer_stop(loop_get(), &s->timer);
    sm_free(s->machine);
    free(s);
}

/* Nobody holds it any more, and it has nothing left to do. */
static bool is_done(const struct session *s) {
    bool used = s->taken && !s->freed;
    return !used && !s->on_event && is_over(s) && !s->carriers;
}

static void arm(struct session *s) {
    bool telling = s->base.on_ready && (s->wanted & ready(s));
    double due = s->held_back || telling ? 0 : sm_due(s->machine);
    if (ev_is_active(&s->timer) && s->timer_due <= due)
        return; /* it comes too early, and then looks again */
    if (ev_is_active(&s->timer))
        ev_timer_stop(loop_get(), &s->timer);
    s->timer_due = due;
    if (isinf(due))
        return;
    if (due)
        ev_now_update(loop_get());
    ev_timer_set(&s->timer, due ? fmax(due - loop_now(), 0) : 0, 0);
    ev_timer_start(loop_get(), &s->timer);
}

static void notify(struct session *s, int events) {
    int told = s->wanted & events;
    bool settled = s->leaving && sm_is_settled(s->machine);
    if (!s->base.on_ready || (!told && !settled))
        return;
    s->told = told & EV_READ ? 1 : s->told;
    s->base.on_ready(&s->base, settled ? EV_READ : told);
}

static void enter(struct session *s) {
    s->depth++;
}

/* What was changed shows. */
static void leave(struct session *s) {
    if (s->depth == 1) {
        sweep(s);
        if (s->on_event && sm_has_event(s->machine))
            s->on_event(s);
        if (s->leaving)
            notify(s, 0);
    }
    if (--s->depth)
        return;
    if (is_done(s))
        destroy(s);
    else
        arm(s);
}

/* -- paths in ------------------------------------------------------------------------------- */

/* Or it has just been told, and is about to read. */
static bool is_reader_waiting(struct session *s) {
    if (s->told && s->told < TOLD_MAX) {
        s->told++;
        return true;
    }
    return (s->wanted & EV_READ) && s->base.on_ready;
}

/* A reader that waits takes the bytes from the path itself. */
static void on_path(struct carrier *c) {
    struct session *s = c->owner;
    enter(s);
    if (!c->readable || !is_reader_waiting(s))
        carrier_drain(c);
    int told = c->readable ? EV_READ : 0;
    send_all(s);
    notify(s, told | ready(s));
    if (sm_path_state(s->machine, c->number) == PATH_LIVE)
        carrier_want(c);
    leave(s);
}

/* -- time ----------------------------------------------------------------------------------- */

static void look_below(struct session *s, double now) {
    double before = s->looked_at;
    s->looked_at = now;
    for (struct carrier *c = s->carriers; c; c = c->next)
        carrier_look_below(c, before);
}

/* Before a path is given up it is read once more: we may have been late. */
static void pass_time(struct session *s) {
    double now = loop_now();
    if (now - s->looked_at > LOOK_S)
        look_below(s, now);
    if (now < sm_due(s->machine))
        return;
    for (struct carrier *c = s->carriers; c; c = c->next)
        carrier_drain(c);
    sm_tick(s->machine, loop_now());
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    struct session *s = w->data;
    enter(s);
    pass_time(s);
    send_all(s);
    notify(s, ready(s));
    leave(s);
}

/* -- the transport -------------------------------------------------------------------------- */

static size_t read_direct(struct session *s, char *data, size_t len) {
    size_t total = 0;
    for (struct carrier *c = s->carriers; c; c = c->next) {
        while (c->readable && total < len && !sm_is_readable(s->machine)) {
            carrier_read_some(c, data + total, len - total);
            total += sm_take(s->machine);
        }
        if (c->readable)
            carrier_want(c);
    }
    return total;
}

static ssize_t session_read(struct transport *t, void *data, size_t len) {
    struct session *s = self(t);
    s->told = 0;
    enter(s);
    ssize_t n = sm_read(s->machine, data, len);
    size_t got = n > 0 ? (size_t)n : 0;
    if (n > 0 || n == -EAGAIN)
        got += read_direct(s, (char *)data + got, len - got);
    if (!got && n == -EAGAIN)
        n = sm_read(s->machine, data, len);
    send_all(s);
    leave(s);
    return got ? (ssize_t)got : n;
}

/* A writer that need not wait does not come back to the loop. So what is acknowledged meanwhile is
 * read here, and the same memory is used again while the cache has it. */
static void hear(struct session *s, size_t written) {
    s->unheard += written;
    if (s->unheard < HEAR_EACH)
        return;
    s->unheard = 0;
    for (struct carrier *c = s->carriers; c; c = c->next) {
        carrier_drain(c);
        if (sm_path_state(s->machine, c->number) == PATH_LIVE)
            carrier_want(c);
    }
}

/* The rest of a long write waits for the next one. */
static ssize_t session_write_pair(struct transport *t, const void *head, size_t head_len,
                                  const void *data, size_t len) {
    struct session *s = self(t);
    enter(s);
    ssize_t n = sm_write(s->machine, head, head_len);
    ssize_t more_n = n == (ssize_t)head_len && len ? sm_write(s->machine, data, len) : 0;
    n += more_n > 0 ? more_n : 0;
    bool more = n > SESSION_DATA_MAX;
    sm_hold(s->machine, more);
    send_all(s);
    sm_hold(s->machine, false);
    s->held_back = more;
    hear(s, n > 0 ? (size_t)n : 0);
    leave(s);
    return n;
}

static ssize_t session_write(struct transport *t, const void *data, size_t len) {
    return session_write_pair(t, data, len, NULL, 0);
}

static int session_shutdown(struct transport *t) {
    struct session *s = self(t);
    enter(s);
    int err = sm_shutdown(s->machine, loop_now());
    send_all(s);
    leave(s);
    return err;
}

static void session_want(struct transport *t, int events) {
    struct session *s = self(t);
    s->wanted = events;
    if (!s->depth)
        arm(s);
}

static int session_fd(const struct transport *t) {
    (void)t;
    return -1;
}

static size_t session_unsent(const struct transport *t) {
    struct session_info info;
    sm_info(((const struct session *)t)->machine, &info);
    return (size_t)info.unacked;
}

static double session_rtt(const struct transport *t) {
    struct session_info info;
    sm_info(((const struct session *)t)->machine, &info);
    return info.rtt;
}

static const char *session_why(const struct transport *t) {
    const struct session *s = (const struct session *)t;
    const char *reason = sm_reason(s->machine);
    return reason ? reason : s->closing ? "the session was closed" : NULL;
}

static void session_tell_all(const struct transport *t, transport_tell tell, void *arg) {
    session_describe((const struct session *)t, tell, arg);
}

static int session_leave(struct transport *t) {
    struct session *s = self(t);
    enter(s);
    s->leaving = s->closing = true;
    s->told = 0; /* nobody reads it any more */
    sm_close(s->machine, loop_now());
    send_all(s);
    bool over = is_over(s);
    if (--s->depth) /* whoever is on the stack sees to the rest */
        return over ? 0 : -EAGAIN;
    sweep(s);
    if (s->on_event && sm_has_event(s->machine))
        s->on_event(s);
    arm(s);
    return over ? 0 : -EAGAIN;
}

static bool session_settled(const struct transport *t) {
    return sm_is_settled(((const struct session *)t)->machine);
}

static void session_break_off(struct transport *t) {
    session_abort(self(t), -ECONNABORTED, "the stream was aborted");
}

static void session_free(struct transport *t) {
    struct session *s = self(t);
    enter(s);
    sm_abort(s->machine, -ECONNABORTED, "the stream was given up");
    s->base.on_ready = NULL;
    s->wanted = 0;
    s->leaving = false;
    s->freed = true;
    send_all(s);
    leave(s);
}

static const struct transport_ops OPS = {
    .read = session_read,
    .write = session_write,
    .write_pair = session_write_pair,
    .shutdown = session_shutdown,
    .want = session_want,
    .fd = session_fd,
    .detach = transport_no_detach,
    .unsent = session_unsent,
    .rtt = session_rtt,
    .reason = session_why,
    .describe = session_tell_all,
    .leave = session_leave,
    .settled = session_settled,
    .abort = session_break_off,
    .free = session_free,
};

/* -- the handle ----------------------------------------------------------------------------- */

struct session *session_new(const struct session_options *options,
                            void (*on_event)(struct session *), void *owner) {
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->base = (struct transport){.ops = &OPS, .patience = INFINITY};
    s->machine = sm_new(options);
    s->on_event = on_event;
    s->owner = owner;
    ev_init(&s->timer, on_timer);
    s->timer.data = s;
    return s;
}

void *session_owner(const struct session *s) {
    return s->owner;
}

struct transport *session_transport(struct session *s) {
    if (s->taken)
        return NULL;
    s->taken = true;
    return &s->base;
}

const char *session_greeting(const struct session *s, uint32_t path) {
    for (const struct carrier *c = s->carriers; c; c = c->next)
        if (c->number == path)
            return carrier_greeting(c);
    return NULL;
}

int64_t session_attach(struct session *s, struct transport *path, struct buffer early,
                       const char *greeting) {
    int64_t number = sm_attach(s->machine, loop_now());
    if (number < 0)
        return number;
    struct carrier *c = carrier_new(s->machine, (uint32_t)number, path, greeting, on_path, s);
    c->next = s->carriers;
    s->carriers = c;
    enter(s);
    carrier_begin(c, early);
    send_all(s);
    notify(s, ready(s));
    leave(s);
    return number;
}

int session_switch(struct session *s, uint32_t path) {
    enter(s);
    int err = sm_switch(s->machine, path, loop_now());
    send_all(s);
    leave(s);
    return err;
}

int session_drop(struct session *s, uint32_t path, const char *why, bool at_once) {
    enter(s);
    int err = sm_drop(s->machine, path, why, at_once, loop_now());
    send_all(s);
    leave(s);
    return err;
}

void session_doubt(struct session *s) {
    enter(s);
    look_below(s, loop_now()); /* what was acknowledged before does not count */
    sm_doubt(s->machine, loop_now());
    send_all(s);
    leave(s);
}

bool session_event(struct session *s, struct session_event *event) {
    return sm_event(s->machine, event);
}

void session_info(const struct session *s, struct session_info *info) {
    sm_info(s->machine, info);
}

const char *session_reason(const struct session *s) {
    return sm_reason(s->machine);
}

int session_error(const struct session *s) {
    return sm_error(s->machine);
}

/* Its own facts, and those of the present path. */
void session_describe(const struct session *s, transport_tell tell, void *arg) {
    struct session_info info;
    sm_info(s->machine, &info);
    session_tell_facts(&info, sm_reason(s->machine), tell, arg);
    for (const struct carrier *c = s->carriers; c; c = c->next)
        if (c->number == info.path)
            transport_describe(c->transport, tell, arg);
}

void session_close(struct session *s) {
    if (s->closing)
        return;
    if (!s->taken) {
        s->taken = true;
        transport_leave(&s->base, (struct buffer){0}, false);
        return;
    }
    enter(s);
    s->closing = true;
    sm_close(s->machine, loop_now());
    send_all(s);
    notify(s, ready(s));
    leave(s);
}

void session_abort(struct session *s, int code, const char *why) {
    enter(s);
    s->closing = true;
    sm_abort(s->machine, code, why);
    send_all(s);
    notify(s, ready(s));
    leave(s);
}

void session_abandon(struct session *s) {
    enter(s);
    s->on_event = NULL;
    if (!s->taken)
        sm_abort(s->machine, -ECONNABORTED, "the session was given up");
    sm_abandon(s->machine);
    send_all(s);
    notify(s, ready(s));
    leave(s);
}
