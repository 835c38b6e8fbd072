/*
 * Tasks: coroutines run by the host. The only lua_resume() of the program is here, and it is never
 * on the stack of a libev callback: callbacks put tasks into a first-in-first-out queue (libev
 * serves fed events newest first), and the queue is run between two turns of the loop.
 *
 * A task stays linked where it waits until it is resumed, so whoever comes later can see that
 * somebody is ahead; a task that is cancelled between its wake and its resumption passes the wake
 * on.
 */
#include "bindings/task.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/condition.h"
#include "bindings/interrupt.h"
#include "bindings/stream.h"
#include "host/log.h"
#include "host/loop.h"
#include "host/process.h"

#define TASK_CLASS "p2pd.task"
/* What run() waits at its end for what was closed: streams to drain, children to end. */
#define RUN_LINGER_S 2.0

enum state { NEW, READY, RUNNING, WAITING, CLOSING, DONE, FAILED, CANCELLED };
static const char *const STATES[] = {"new",     "ready", "running", "waiting",
                                     "closing", "done",  "failed",  "cancelled"};

struct task {
    lua_State *co; /* kept by the userdata's user value; results stay on its stack */
    int anchor;    /* reference in the table of live tasks, until done and not queued */
    int nargs;
    enum state state;
    bool queued, woken, joined;
    double deadline;
    ev_timer timer;
    uint64_t ticket; /* its place among those who wait: lower numbers came first */
    struct task *next_ready;
    struct waitlist *list;
    struct task *prev, *next;
    struct waitlist joiners;
};

static struct { struct task *first, *last; } ready;
static struct task *running;
static bool turning; /* run_ready() is on the stack, maybe between two tasks */
static uint64_t tickets;
static const char anchors_key;
static int alive;

/* -- where tasks wait ---------------------------------------------------------------------- */

/* NULL: in front of all. */
static void link_after(struct waitlist *list, struct task *prev, struct task *t) {
    t->list = list;
    t->prev = prev;
    t->next = prev ? prev->next : list->first;
    *(prev ? &prev->next : &list->first) = t;
    *(t->next ? &t->next->prev : &list->last) = t;
}

/* In the place that its ticket gives it; most often that is one of the two ends. */
static void link_in_order(struct waitlist *list, struct task *t) {
    struct task *prev = task_is_next(list) ? NULL : list->last;
    while (prev && prev->ticket > t->ticket)
        prev = prev->prev;
    link_after(list, prev, t);
}

static void unlink_task(struct task *t) {
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
    t->state = WAITING;
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
        link_after(list, list->last, running);
    return wait_on(L, ctx, k);
}

int task_wait_again(lua_State *L, struct waitlist *list, lua_KContext ctx, lua_KFunction k) {
    if (!running || running->co != L)
        return luaL_error(L, "the coroutine of a task that waits was resumed by somebody else");
    if (list)
        link_in_order(list, running);
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

lua_State *task_coroutine(void) {
    return running ? running->co : NULL;
}

int task_push_timeout(lua_State *L) {
    return push_failure(L, "ETIMEDOUT", "timed out");
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
    unlink_task(t);
    ev_timer_stop(loop_get(), &t->timer);
}

static void settle(lua_State *L, struct task *t, enum state state) {
    t->state = state;
    alive--;
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
static void fail(lua_State *L, struct task *t) {
    t->state = CLOSING;
    luaL_traceback(L, t->co, push_text(L, t->co), 0);
    lua_remove(L, -2);
    lua_resetthread(t->co);
    bool known =
        t->joiners.first || t->joined || interrupt_pending(); /* run() tells of an interrupt */
    if (!known)
        log_write(LOG_ERROR, "a task failed: %s", lua_tostring(L, -1));
    lua_xmove(L, t->co, 1);
    settle(L, t, FAILED);
}

static void resume(lua_State *L, struct task *t) {
    leave_wait(t);
    int nargs = t->nargs, nresults;
    t->nargs = 0;
    t->state = RUNNING;
    running = t;
    int status = lua_resume(t->co, L, nargs, &nresults);
    running = NULL;
    if (interrupt_pending())
        lua_sethook(t->co, NULL, 0, 0);
    if (status == LUA_OK) {
        settle(L, t, DONE);
    } else if (status != LUA_YIELD) {
        fail(L, t);
    } else if (t->state == RUNNING) { /* a bare coroutine.yield(): let the others run */
        lua_pop(t->co, nresults);
        t->state = READY;
        make_ready(t);
    }
}

static void run_ready(lua_State *L) {
    struct task *last = ready.last;
    while (ready.first) {
        struct task *t = ready.first;
        bool was_last = t == last;
        ready.first = t->next_ready;
        if (!ready.first)
            ready.last = NULL;
        t->queued = false;
        if (t->state >= DONE)
            release(L, t);
        else
            resume(L, t);
        if (was_last)
            return;
    }
}

static bool is_over(const struct task *t) {
    return t->state >= CLOSING;
}

/* Closing the coroutine runs its <close> variables; they can't wait, but they can spawn. */
static void cancel(lua_State *L, struct task *t) {
    luaL_checkstack(L, 8, "too many tasks");
    struct waitlist *list = t->list;
    bool had_wake = t->woken && t->queued;
    leave_wait(t);
    if (list && had_wake)
        task_wake(list);
    t->state = CLOSING;
    if (lua_resetthread(t->co) != LUA_OK) {
        log_write(LOG_ERROR, "closing a cancelled task: %s", push_text(L, t->co));
        lua_pop(L, 1);
    }
    lua_settop(t->co, 0);
    settle(L, t, CANCELLED);
}

void task_cancel_all(lua_State *L) {
    lua_settop(L, 0);
    push_anchors(L);
    lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 1, i);
        struct task *t = luaL_testudata(L, -1, TASK_CLASS);
        if (t && !is_over(t) && t != running)
            cancel(L, t);
        lua_settop(L, 1);
    }
    lua_pop(L, 1);
}

static struct task *check_task(lua_State *L, int arg) {
    return luaL_checkudata(L, arg, TASK_CLASS);
}

static int push_outcome(lua_State *L, struct task *t) {
    if (t->state == CANCELLED)
        return push_failure(L, "ECANCELED", "cancelled");
    if (t->state == FAILED) {
        lua_pushnil(L);
        lua_pushvalue(t->co, 1);
        lua_xmove(t->co, L, 1);
        lua_pushliteral(L, "EFAULT");
        return 3;
    }
    int n = lua_gettop(t->co);
    luaL_checkstack(L, n, "too many results");
    luaL_checkstack(t->co, n, "too many results");
    for (int i = 1; i <= n; i++)
        lua_pushvalue(t->co, i);
    lua_xmove(t->co, L, n);
    return n;
}

/* Function and arguments are on top of L; leaves the task instead. */
static struct task *spawn(lua_State *L, int nargs) {
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
    t->state = READY;
    alive++;
    make_ready(t);
    return t;
}

/* -- methods of a task --------------------------------------------------------------------- */

static int join_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    struct task *t = lua_touserdata(L, 1);
    if (t->state >= DONE)
        return push_outcome(L, t);
    if (task_expired())
        return task_push_timeout(L);
    return task_wait_again(L, &t->joiners, 0, join_k);
}

static int m_join(lua_State *L) {
    struct task *t = check_task(L, 1);
    double deadline = task_deadline(L, 2);
    if (t->state >= DONE)
        return push_outcome(L, t);
    task_prepare(L);
    luaL_argcheck(L, t != running, 1, "a task cannot join itself");
    return task_wait(L, &t->joiners, deadline, 0, join_k);
}

static int m_cancel(lua_State *L) {
    struct task *t = check_task(L, 1);
    luaL_argcheck(L, t != running, 1, "a task cannot cancel itself: return, or raise an error");
    bool live = !is_over(t);
    if (live)
        cancel(L, t);
    lua_pushboolean(L, live);
    return 1;
}

static int m_close(lua_State *L) {
    struct task *t = check_task(L, 1);
    if (!is_over(t) && t != running)
        cancel(L, t);
    return 0;
}

static int m_status(lua_State *L) {
    lua_pushstring(L, STATES[check_task(L, 1)->state]);
    return 1;
}

static int m_traceback(lua_State *L) {
    struct task *t = check_task(L, 1);
    if (t->state != FAILED)
        return 0;
    lua_pushvalue(t->co, 2);
    lua_xmove(t->co, L, 1);
    return 1;
}

static int m_tostring(lua_State *L) {
    struct task *t = check_task(L, 1);
    lua_pushfstring(L, "task (%s): %p", STATES[t->state], (void *)t);
    return 1;
}

/* Only reached when nothing anchors the task: it is over, or the whole state is closing. */
static int m_gc(lua_State *L) {
    struct task *t = check_task(L, 1);
    if (t->co)
        leave_wait(t);
    return 0;
}

/* -- functions ----------------------------------------------------------------------------- */

static int l_spawn(lua_State *L) {
    luaL_checkany(L, 1);
    if (!lua_isfunction(L, 1) && luaL_getmetafield(L, 1, "__call") == LUA_TNIL)
        return luaL_typeerror(L, 1, "function");
    lua_settop(L, lua_isfunction(L, 1) ? lua_gettop(L) : lua_gettop(L) - 1);
    spawn(L, lua_gettop(L) - 1);
    return 1;
}

static int sleep_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return task_expired() ? 0 : task_wait_again(L, NULL, 0, sleep_k);
}

static int l_sleep(lua_State *L) {
    luaL_checknumber(L, 1);
    double deadline = task_deadline(L, 1);
    task_prepare(L);
    return task_wait(L, NULL, deadline, 0, sleep_k);
}

static int l_running(lua_State *L) {
    if (!running)
        return 0;
    push_anchors(L);
    lua_rawgeti(L, -1, running->anchor);
    return 1;
}

static int l_count(lua_State *L) {
    lua_pushinteger(L, alive);
    return 1;
}

/* -- the loop ------------------------------------------------------------------------------ */

static void check_not_turning(lua_State *L) {
    if (running || turning)
        luaL_error(L, "the loop is already turning");
}

static bool turn(lua_State *L, double deadline) {
    luaL_checkstack(L, 8, "too many tasks");
    bool expecting = interrupt_expected();
    if (expecting)
        loop_hold();
    bool possible = loop_turn(ready.first || interrupt_pending() ? 0 : deadline);
    if (expecting)
        loop_release();
    possible = possible || ready.first;
    turning = true;
    run_ready(L);
    turning = false;
    return possible;
}

static int l_step(lua_State *L) {
    double deadline = lua_isnoneornil(L, 1) ? 0 : task_deadline(L, 1);
    check_not_turning(L);
    lua_pushboolean(L, turn(L, deadline));
    return 1;
}

static void drain_lingering(lua_State *L) {
    double deadline = loop_now() + RUN_LINGER_S;
    while ((stream_lingering() || process_lingering()) && loop_now() < deadline &&
           !interrupt_pending())
        turn(L, deadline);
}

/* Turns the loop until t is over; the reason why it had to be given up, or NULL. */
static const char *turn_until_over(lua_State *L, struct task *t) {
    while (t->state < DONE) {
        bool possible = turn(L, INFINITY);
        if (interrupt_pending() && interrupt_serve())
            return "interrupted!";
        if (!possible && t->state < DONE)
            return "deadlock: the task waits for something that cannot happen";
    }
    return NULL;
}

static int run_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return lua_gettop(L);
}

static int raise_failure(lua_State *L, struct task *t) {
    int trace = lua_type(t->co, 1) == LUA_TSTRING ? 2 : 1;
    lua_pushvalue(t->co, trace);
    lua_xmove(t->co, L, 1);
    return lua_error(L);
}

static int l_run(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    if (running) {
        lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, run_k);
        return run_k(L, LUA_OK, 0);
    }
    check_not_turning(L);
    struct task *t = spawn(L, lua_gettop(L) - 1);
    t->joined = true;
    interrupt_catch();
    const char *reason = turn_until_over(L, t);
    if (reason && t->state < DONE)
        cancel(L, t);
    drain_lingering(L);
    if (!reason && interrupt_pending() && interrupt_serve())
        reason = "interrupted!";
    interrupt_restore();
    if (reason) {
        lua_pushstring(L, reason);
        return lua_error(L);
    }
    return t->state == FAILED ? raise_failure(L, t) : push_outcome(L, t);
}

/* -- the part ------------------------------------------------------------------------------ */

static const luaL_Reg TASK_METHODS[] = {{"join", m_join},
                                        {"cancel", m_cancel},
                                        {"status", m_status},
                                        {"traceback", m_traceback},
                                        {NULL, NULL}};
static const luaL_Reg TASK_META[] = {
    {"__gc", m_gc}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"run", l_run},
                                     {"spawn", l_spawn},
                                     {"sleep", l_sleep},
                                     {"step", l_step},
                                     {"running", l_running},
                                     {"count", l_count},
                                     {"condition", condition_new},
                                     {"wait_interrupt", interrupt_wait},
                                     {"interrupted", interrupt_last},
                                     {NULL, NULL}};

int bind_task(lua_State *L) {
    loop_get(); /* before there is a thread that could post */
    bind_class(L, TASK_CLASS, TASK_METHODS, TASK_META);
    condition_class(L);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key) == LUA_TNIL) { /* opened before: keep all */
        lua_newtable(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &anchors_key);
    }
    lua_pop(L, 1);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
