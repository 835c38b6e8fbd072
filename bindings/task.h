/*
 * Tasks: coroutines run by the host, and how a binding lets one wait.
 *
 * A waiting method checks its arguments, calls task_prepare(), looks at the world, and if it has to
 * wait starts its watcher and returns task_wait(...). The continuation looks at the world again
 * and, if it was woken for nothing, waits on with task_wait_again(); task_expired() tells when to
 * give up.
 */
#ifndef P2PD_TASK_H
#define P2PD_TASK_H

#include <lua.h>
#include <stdbool.h>

struct task;

/* Tasks that wait for one thing, oldest first. Zeroed = empty. Must outlive its tasks' waits: keep
 * it in a userdata that is on the waiting coroutine's stack. */
struct waitlist {
    struct task *first, *last;
};

/* Raises unless L is the running task's own coroutine. Nothing between it and task_wait() may
 * raise. */
void task_prepare(lua_State *L);

/* The optional timeout (seconds, >= 0) at arg, as a deadline on loop_now()'s scale; INFINITY if
 * none. */
double task_deadline(lua_State *L, int arg);

/* Yields until woken or the deadline; then calls k. `list` may be NULL (then only the deadline
 * wakes). Use as `return task_wait(...)`. */
int task_wait(lua_State *L, struct waitlist *list, double deadline, lua_KContext ctx,
              lua_KFunction k);

/* In a continuation: waits on with the same deadline, in front of those who came later. */
int task_wait_again(lua_State *L, struct waitlist *list, lua_KContext ctx, lua_KFunction k);

/* In a continuation: does nobody wait there who came before the running task? */
bool task_is_next(const struct waitlist *list);

/* In a continuation: has the deadline passed? */
bool task_expired(void);

/* In a continuation: was it task_wake(), not the deadline? */
bool task_was_woken(void);

/* The running task's coroutine, or NULL. Async-signal-safe. */
lua_State *task_coroutine(void);

/* Pushes nil, "timed out", "ETIMEDOUT"; returns 3. */
int task_push_timeout(lua_State *L);

/* Wakes the oldest waiting task, or all. Callable from any callback of the loop; never runs Lua. */
bool task_wake(struct waitlist *list);
void task_wake_all(struct waitlist *list);

/* For the executable: cancels every task there is, so that their <close> variables run. */
void task_cancel_all(lua_State *L);

#endif
