/* Condition variables: a task waits for what another task signals. */
/***
@submodule p2pd.core.task
*/
#include "bindings/condition.h"

#include <lauxlib.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"

#define CONDITION_CLASS "p2pd.condition"

static struct waitlist *check_condition(lua_State *L) {
    return luaL_checkudata(L, 1, CONDITION_CLASS);
}

/***
A condition variable.
@function condition
@treturn p2pd.condition
*/
int condition_new(lua_State *L) {
    bind_new(L, CONDITION_CLASS, sizeof(struct waitlist));
    return 1;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    if (task_was_woken()) {
        lua_pushboolean(L, true);
        return 1;
    }
    return task_expired() ? task_push_timeout(L)
                          : task_wait_again(L, lua_touserdata(L, 1), 0, wait_k);
}

/***
Waits until it is signalled.
@function condition:wait
@tparam[opt] number timeout seconds
@return true; or nil, "timed out", "ETIMEDOUT"
*/
static int m_wait(lua_State *L) {
    struct waitlist *list = check_condition(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return task_wait(L, list, deadline, 0, wait_k);
}

/***
Wakes the task that has waited longest.
@function condition:signal
@treturn boolean whether there was one
*/
static int m_signal(lua_State *L) {
    lua_pushboolean(L, task_wake(check_condition(L)));
    return 1;
}

/***
Wakes all that wait.
@function condition:broadcast
*/
static int m_broadcast(lua_State *L) {
    task_wake_all(check_condition(L));
    return 0;
}

void condition_class(lua_State *L) {
    static const luaL_Reg METHODS[] = {
        {"wait", m_wait}, {"signal", m_signal}, {"broadcast", m_broadcast}, {NULL, NULL}};
    bind_class(L, CONDITION_CLASS, METHODS, NULL);
}
