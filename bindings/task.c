/***
Tasks: coroutines run by the host.
@module p2pd.core.task
@pragma nostrip
*/
#include <errno.h>
#include <lauxlib.h>
#include <math.h>

#include "bindings/bind.h"
#include "bindings/condition.h"
#include "bindings/interrupt.h"
#include "bindings/scheduler.h"
#include "host/loop.h"
#include "host/process.h"
#include "host/transport.h"

/* What run() waits at its end for what was closed: streams to drain, children to end. */
#define RUN_LINGER_S 2.0

static const char *const STATES[] = {"new",     "ready", "running", "waiting",
                                     "closing", "done",  "failed",  "cancelled"};

static struct task *check_task(lua_State *L, int arg) {
    return luaL_checkudata(L, arg, TASK_CLASS);
}

static int push_outcome(lua_State *L, struct task *t) {
    if (t->state == TASK_CANCELLED)
        return push_failure(L, "ECANCELED", "cancelled");
    if (t->state == TASK_FAILED) {
        lua_pushnil(L);
        lua_pushvalue(t->co, 1);
        lua_xmove(t->co, L, 1);
        return 2;
    }
    int n = lua_gettop(t->co);
    luaL_checkstack(L, n, "too many results");
    luaL_checkstack(t->co, n, "too many results");
    for (int i = 1; i <= n; i++)
        lua_pushvalue(t->co, i);
    lua_xmove(t->co, L, n);
    return n;
}

/* -- methods of a task --------------------------------------------------------------------- */

static int join_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    struct task *t = lua_touserdata(L, 1);
    if (t->state >= TASK_DONE)
        return push_outcome(L, t);
    if (task_expired())
        return task_push_timeout(L);
    return task_wait_again(L, &t->joiners, 0, join_k);
}

/***
Waits until the task is over.
@function task:join
@tparam[opt] number timeout seconds
@return what its function has returned; or nil and its error; or nil, message, code: ECANCELED,
ETIMEDOUT
*/
static int m_join(lua_State *L) {
    struct task *t = check_task(L, 1);
    double deadline = task_deadline(L, 2);
    if (t->state >= TASK_DONE)
        return push_outcome(L, t);
    task_prepare(L);
    luaL_argcheck(L, t != task_running(), 1, "a task cannot join itself");
    return task_wait(L, &t->joiners, deadline, 0, join_k);
}

/***
Closes its coroutine, which runs its `<close>` variables.
@function task:cancel
@treturn boolean false when it was over already
*/
static int m_cancel(lua_State *L) {
    struct task *t = check_task(L, 1);
    luaL_argcheck(L, t != task_running(), 1,
                  "a task cannot cancel itself: return, or raise an error");
    bool live = !task_is_over(t);
    if (live)
        task_cancel(L, t);
    lua_pushboolean(L, live);
    return 1;
}

/***
Has run() wait for it at its end, as for bytes that are on their way: two seconds at most.
@function task:linger
*/
static int m_linger(lua_State *L) {
    task_linger(check_task(L, 1));
    return 0;
}

static int m_close(lua_State *L) {
    struct task *t = check_task(L, 1);
    if (!task_is_over(t) && t != task_running())
        task_cancel(L, t);
    return 0;
}

/***
In which state it is.
@function task:status
@treturn string "ready", "running", "waiting", "closing", "done", "failed" or "cancelled"
*/
static int m_status(lua_State *L) {
    lua_pushstring(L, STATES[check_task(L, 1)->state]);
    return 1;
}

/***
A failed task's traceback.
@function task:traceback
@treturn ?string
*/
static int m_traceback(lua_State *L) {
    struct task *t = check_task(L, 1);
    if (t->state != TASK_FAILED)
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
    task_forget(check_task(L, 1));
    return 0;
}

/* -- functions ----------------------------------------------------------------------------- */

/***
Starts a task.
@function spawn
@tparam function fn
@param ... its arguments
@treturn p2pd.task
*/
static int l_spawn(lua_State *L) {
    luaL_checkany(L, 1);
    if (!lua_isfunction(L, 1) && luaL_getmetafield(L, 1, "__call") == LUA_TNIL)
        return luaL_typeerror(L, 1, "function");
    lua_settop(L, lua_isfunction(L, 1) ? lua_gettop(L) : lua_gettop(L) - 1);
    task_spawn(L, lua_gettop(L) - 1);
    return 1;
}

static int sleep_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return task_expired() ? 0 : task_wait_again(L, NULL, 0, sleep_k);
}

/***
Waits.
@function sleep
@tparam number seconds
*/
static int l_sleep(lua_State *L) {
    luaL_checknumber(L, 1);
    double deadline = task_deadline(L, 1);
    task_prepare(L);
    return task_wait(L, NULL, deadline, 0, sleep_k);
}

/***
The task that runs.
@function running
@treturn ?p2pd.task
*/
static int l_running(lua_State *L) {
    return task_push_running(L) ? 1 : 0;
}

/***
How many tasks are not over.
@function count
@treturn integer
*/
static int l_count(lua_State *L) {
    lua_pushinteger(L, task_count());
    return 1;
}

/* -- the loop ------------------------------------------------------------------------------ */

static void check_not_turning(lua_State *L) {
    if (task_is_turning())
        luaL_error(L, "the loop is already turning");
}

static bool turn(lua_State *L, double deadline) {
    luaL_checkstack(L, 8, "too many tasks");
    bool expecting = interrupt_expected();
    if (expecting)
        loop_hold();
    bool possible = loop_turn(task_any_ready() || interrupt_pending() ? 0 : deadline);
    if (expecting)
        loop_release();
    possible = possible || task_any_ready();
    task_run_ready(L);
    return possible;
}

/***
Turns the loop once, for programs that own another loop.
@function step
@tparam[opt=0] number timeout seconds that it may wait
@treturn boolean false when nothing can ever happen
*/
static int l_step(lua_State *L) {
    double deadline = lua_isnoneornil(L, 1) ? 0 : task_deadline(L, 1);
    check_not_turning(L);
    lua_pushboolean(L, turn(L, deadline));
    return 1;
}

static void drain_lingering(lua_State *L) {
    double deadline = loop_now() + RUN_LINGER_S;
    while ((transport_unsettled() || process_lingering() || task_any_lingering()) &&
           loop_now() < deadline && !interrupt_pending())
        turn(L, deadline);
}

/* Turns the loop until t is over; the reason why it had to be given up, or NULL. */
static const char *turn_until_over(lua_State *L, struct task *t) {
    while (t->state < TASK_DONE) {
        bool possible = turn(L, INFINITY);
        if (interrupt_pending() && interrupt_serve())
            return "interrupted!";
        if (!possible && t->state < TASK_DONE)
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

/***
Runs a task, and the loop until it is over; inside a task it just calls the function.
@function run
@tparam function fn
@param ... its arguments
@return what it has returned
@raise its error, with the task's traceback; "interrupted!" after SIGINT or SIGTERM
*/
static int l_run(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    if (task_running()) {
        lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, run_k);
        return run_k(L, LUA_OK, 0);
    }
    check_not_turning(L);
    struct task *t = task_spawn(L, lua_gettop(L) - 1);
    t->joined = true;
    interrupt_catch();
    const char *reason = turn_until_over(L, t);
    if (reason && t->state < TASK_DONE)
        task_cancel(L, t);
    drain_lingering(L);
    if (!reason && interrupt_pending() && interrupt_serve())
        reason = "interrupted!";
    interrupt_restore();
    if (reason) {
        lua_pushstring(L, reason);
        return lua_error(L);
    }
    return t->state == TASK_FAILED ? raise_failure(L, t) : push_outcome(L, t);
}

/* -- the part ------------------------------------------------------------------------------ */

static const luaL_Reg TASK_METHODS[] = {{"join", m_join},           {"cancel", m_cancel},
                                        {"linger", m_linger},       {"status", m_status},
                                        {"traceback", m_traceback}, {NULL, NULL}};
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
    task_prepare_scheduler(L);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
