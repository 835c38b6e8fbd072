/*
 * The scheduler of tasks, which are coroutines. The only lua_resume() of the program is here, and
 * it is never on the stack of a libev callback: callbacks put tasks into a first-in-first-out queue
 * (libev serves fed events newest first), and the queue is run between two turns of the loop.
 *
 * A task stays in the list where it waits until it is resumed, so whoever comes later can see that
 * somebody is ahead; a task that is cancelled between its wake and its resumption passes the wake
 * on.
 */
#include "bindings/scheduler.h"

#include <lauxlib.h>
#include <math.h>
#include <signal.h>
#include <string.h>

#include "bindings/bind.h"
#include "host/log.h"
#include "host/loop.h"

/* Instructions that a task may still run after an interrupt: most wait before, and are cancelled in
 * peace. */
#define STOP_AFTER 1000

static struct { struct task *first, *last; } ready;
static struct task *running;
static bool turning; /* task_run_ready() is on the stack, maybe between two tasks */
static uint64_t tickets;
static const char anchors_key;
static int alive;
static int lingering;                  /* of those, the ones that task_linger() has named */
static volatile sig_atomic_t stopping; /* the running task is interrupted */

/* -- where tasks wait ---------------------------------------------------------------------- */

/* NULL: in front of all. */
static void insert_after(struct waitlist *list, struct task *prev, struct task *t) {
    t->list = list;
    t->prev = prev;
    t->next = prev ? prev->next : list->first;
    *(prev ? &prev->next : &list->first) = t;
    *(t->next ? &t->next->prev : &list->last) = t;
}

/* In the place that its ticket gives it; most often that is one of the two ends. */
static void insert_in_order(struct waitlist *list, struct task *t) {
    struct task *prev = task_is_next(list) ? NULL : list->last;
    while (prev && prev->ticket > t->ticket)
        prev = prev->prev;
    insert_after(list, prev, t);
}

static void take_out(struct task *t) {
    if (!t->list)
        return;
    *(t->prev ? &t->prev->next : &t->list->first) = t->next;
    *(t->next ? &t->next->prev : &t->list->last) = t->prev;
    t->list = NULL;
}

static void make_ready(struct task *t) {
    if (t->queued)
        return;
    t->queued = true;
    t->next_ready = NULL;
    *(ready.last ? &ready.last->next_ready : &ready.first) = t;
    ready.last = t;
}

bool task_wake(struct waitlist *list) {
    struct task *t = list->first;
    while (t && t->woken)
        t = t->next;
    if (!t)
        return false;
    t->woken = true;
    make_ready(t);
    return true;
}

void task_wake_all(struct waitlist *list) {
    for (struct task *t = list->first; t; t = t->next) {
        t->woken = true;
        make_ready(t);
    }
}

static void on_timer(struct ev_loop *l, ev_timer *w, int events) {
    (void)l, (void)events;
    make_ready(w->data);
}

/* -- waiting ------------------------------------------------------------------------------- */

void task_prepare(lua_State *L) {
    if (!running)
        luaL_error(L, "cannot wait outside a task: use p2pd.run(fn)");
    if (running->co != L)
        luaL_error(L, "cannot wait in a coroutine inside a task, or while a task is closed: "
                      "use p2pd.spawn(fn)");
    if (!lua_isyieldable(L))
        luaL_error(L, "cannot wait here: a function that cannot yield is on the stack");
}

double task_deadline(lua_State *L, int arg) {
    if (lua_isnoneornil(L, arg))
        return INFINITY;
    lua_Number seconds = luaL_checknumber(L, arg);
    luaL_argcheck(L, seconds >= 0, arg, "a timeout in seconds, 0 or more, expected");
    return loop_now() + seconds;
}

static int wait_on(lua_State *L, lua_KContext ctx, lua_KFunction k) {
    struct task *t = running;
    t->state = TASK_WAITING;
    t->woken = false;
    if (isfinite(t->deadline)) {
        double left = t->deadline - loop_now();
        ev_now_update(loop_get());
        ev_timer_set(&t->timer, left > 0 ? left : 0, 0);
        ev_timer_start(loop_get(), &t->timer);
    }
    return lua_yieldk(L, 0, ctx, k);
}

int task_wait(lua_State *L, struct waitlist *list, double deadline, lua_KContext ctx,
              lua_KFunction k) {
    running->deadline = deadline;
    running->ticket = tickets++;
    if (list)
        insert_after(list, list->last, running);
    return wait_on(L, ctx, k);
}

int task_wait_again(lua_State *L, struct waitlist *list, lua_KContext ctx, lua_KFunction k) {
    if (!running || running->co != L)
        return luaL_error(L, "the coroutine of a task that waits was resumed by somebody else");
    if (list)
        insert_in_order(list, running);
    return wait_on(L, ctx, k);
}

bool task_is_next(const struct waitlist *list) {
    return !list->first || (running && running->ticket < list->first->ticket);
}

bool task_expired(void) {
    return running && running->deadline <= loop_now();
}

bool task_was_woken(void) {
    return running && running->woken;
}

int task_push_timeout(lua_State *L) {
    return push_failure(L, "ETIMEDOUT", "timed out");
}

int task_wait_or_time_out(lua_State *L, struct waitlist *list, bool first_try, double deadline,
                          lua_KContext ctx, lua_KFunction k) {
    if (first_try)
        return task_wait(L, list, deadline, ctx, k);
    return task_expired() ? task_push_timeout(L) : task_wait_again(L, list, ctx, k);
}

/* -- life and end -------------------------------------------------------------------------- */

static void push_anchors(lua_State *L) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
}

static void release(lua_State *L, struct task *t) {
    push_anchors(L);
    luaL_unref(L, -1, t->anchor);
    lua_pop(L, 1);
}

static void leave_wait(struct task *t) {
    take_out(t);
    ev_timer_stop(loop_get(), &t->timer);
}

static void settle(lua_State *L, struct task *t, enum task_state state) {
    t->state = state;
    alive--;
    if (t->lingers)
        lingering--;
    task_wake_all(&t->joiners);
    if (!t->queued)
        release(L, t);
}

static int l_tostring(lua_State *L) {
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* Pushes onto L what the error on top of co says; an error's own __tostring may fail. */
static const char *push_text(lua_State *L, lua_State *co) {
    lua_pushcfunction(L, l_tostring);
    lua_pushvalue(co, -1);
    lua_xmove(co, L, 1);
    return lua_pcall(L, 1, 1, 0) == LUA_OK ? lua_tostring(L, -1) : "(no text)";
}

/* Leaves the error and its traceback on the coroutine's stack, after its <close> variables have
 * run. */
static void fail(lua_State *L, struct task *t, bool interrupted) {
    t->state = TASK_CLOSING;
    luaL_traceback(L, t->co, push_text(L, t->co), 0);
    lua_remove(L, -2);
    lua_resetthread(t->co);
    bool known = t->joiners.first || t->joined;
    if (!known && !interrupted) /* of an interrupt run() tells */
        log_write(LOG_ERROR, "a task failed: %s", lua_tostring(L, -1));
    lua_xmove(L, t->co, 1);
    settle(L, t, TASK_FAILED);
}

static void resume(lua_State *L, struct task *t) {
    leave_wait(t);
    int nargs = t->nargs, nresults;
    t->nargs = 0;
    t->state = TASK_RUNNING;
    running = t;
    int status = lua_resume(t->co, L, nargs, &nresults);
    running = NULL;
    bool interrupted = stopping;
    stopping = 0;
    if (interrupted)
        lua_sethook(t->co, NULL, 0, 0);
    if (status == LUA_OK) {
        settle(L, t, TASK_DONE);
    } else if (status != LUA_YIELD) {
        fail(L, t, interrupted);
    } else if (t->state == TASK_RUNNING) { /* a bare coroutine.yield(): let the others run */
        lua_pop(t->co, nresults);
        t->state = TASK_READY;
        make_ready(t);
    }
}

void task_run_ready(lua_State *L) {
    struct task *last = ready.last;
    turning = true;
    while (ready.first) {
        struct task *t = ready.first;
        bool was_last = t == last;
        ready.first = t->next_ready;
        if (!ready.first)
            ready.last = NULL;
        t->queued = false;
        if (t->state >= TASK_DONE)
            release(L, t);
        else
            resume(L, t);
        if (was_last)
            break;
    }
    turning = false;
}

void task_linger(struct task *t) {
    if (t->lingers || t->state >= TASK_DONE)
        return;
    t->lingers = true;
    lingering++;
}

bool task_any_lingering(void) {
    return lingering > 0;
}

bool task_is_over(const struct task *t) {
    return t->state >= TASK_CLOSING;
}

/* Closing the coroutine runs its <close> variables; they can't wait, but they can spawn. */
void task_cancel(lua_State *L, struct task *t) {
    luaL_checkstack(L, 8, "too many tasks");
    struct waitlist *list = t->list;
    bool had_wake = t->woken && t->queued;
    leave_wait(t);
    if (list && had_wake)
        task_wake(list);
    t->state = TASK_CLOSING;
    if (lua_resetthread(t->co) != LUA_OK) {
        log_write(LOG_ERROR, "closing a cancelled task: %s", push_text(L, t->co));
        lua_pop(L, 1);
    }
    lua_settop(t->co, 0);
    settle(L, t, TASK_CANCELLED);
}

void task_cancel_all(lua_State *L) {
    lua_settop(L, 0);
    push_anchors(L);
    lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        struct task *t = luaL_testudata(L, -1, TASK_CLASS);
        if (t && !task_is_over(t) && t != running)
            task_cancel(L, t);
        lua_settop(L, 1);
    }
    lua_pop(L, 1);
}

struct task *task_spawn(lua_State *L, int nargs) {
    struct task *t = bind_new(L, TASK_CLASS, sizeof *t);
    t->co = lua_newthread(L);
    lua_setiuservalue(L, -2, 1);
    ev_init(&t->timer, on_timer);
    t->timer.data = t;
    lua_insert(L, -(nargs + 2));
    luaL_checkstack(t->co, nargs + 1, "too many arguments");
    lua_xmove(L, t->co, nargs + 1);
    push_anchors(L);
    lua_pushvalue(L, -2);
    t->anchor = luaL_ref(L, -2);
    lua_pop(L, 1);
    t->nargs = nargs;
    t->state = TASK_READY;
    alive++;
    make_ready(t);
    return t;
}

void task_forget(struct task *t) {
    if (t->co)
        leave_wait(t);
}

void task_prepare_scheduler(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key) == LUA_TNIL) { /* opened before: keep all */
        lua_newtable(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &anchors_key);
    }
    lua_pop(L, 1);
}

/* -- what one can ask ---------------------------------------------------------------------- */

struct task *task_running(void) {
    return running;
}

bool task_push_running(lua_State *L) {
    if (!running)
        return false;
    push_anchors(L);
    lua_rawgeti(L, -1, running->anchor);
    return true;
}

bool task_any_ready(void) {
    return ready.first != NULL;
}

bool task_is_turning(void) {
    return running || turning;
}

int task_count(void) {
    return alive;
}

/* -- interrupts ---------------------------------------------------------------------------- */

static void stop_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    luaL_error(L, "interrupted!");
}

void task_interrupt(void) {
    if (!running)
        return;
    stopping = 1;
    lua_sethook(running->co, stop_hook, LUA_MASKCOUNT, STOP_AFTER);
}
