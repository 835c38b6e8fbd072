/*
 * The scheduler of tasks, which are coroutines: how a binding lets one wait, and their lives.
 *
 * A waiting method checks its arguments, calls task_prepare(), looks at the world, and if it has to
 * wait starts its watcher and returns task_wait(...). The continuation looks at the world again
 * and, if it was woken for nothing, waits on with task_wait_again(); task_expired() tells when to
 * give up.
 */
#ifndef P2PD_BINDINGS_SCHEDULER_H
#define P2PD_BINDINGS_SCHEDULER_H

#include <ev.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

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

/* Both, for a function that is the call and its continuation: the first try waits; a later one
 * waits on, or pushes the timeout (task_push_timeout) when the deadline has passed. */
int task_wait_or_time_out(lua_State *L, struct waitlist *list, bool first_try, double deadline,
                          lua_KContext ctx, lua_KFunction k);

/* In a continuation: does nobody wait there who came before the running task? */
bool task_is_next(const struct waitlist *list);

/* In a continuation: has the deadline passed? */
bool task_expired(void);

/* In a continuation: was it task_wake(), not the deadline? */
bool task_was_woken(void);

/* Pushes nil, "timed out", "ETIMEDOUT"; returns 3. */
int task_push_timeout(lua_State *L);

/* Wakes the oldest waiting task, or all. Callable from any callback of the loop; never runs Lua. */
bool task_wake(struct waitlist *list);
void task_wake_all(struct waitlist *list);

/* -- lives: for core.task and the executable ----------------------------------------------- */

#define TASK_CLASS "p2pd.task"

enum task_state {
    TASK_NEW,
    TASK_READY,
    TASK_RUNNING,
    TASK_WAITING,
    TASK_CLOSING,
    TASK_DONE,
    TASK_FAILED,
    TASK_CANCELLED,
};

struct task {
    lua_State *co; /* kept by the userdata's user value; results stay on its stack */
    int anchor;    /* reference in the table of live tasks, until done and not queued */
    int nargs;
    enum task_state state;
    bool queued, woken;
    bool joined; /* somebody will tell of its failure */
    bool lingers;
    double deadline;
    ev_timer timer;
    uint64_t ticket; /* its place among those who wait: lower numbers came first */
    struct task *next_ready;
    struct waitlist *list;
    struct task *prev, *next;
    struct waitlist joiners;
};

/* Once for each Lua state, before anything else. */
void task_prepare_scheduler(lua_State *L);

/* Function and arguments are on top of L; leaves the task's userdata instead. */
struct task *task_spawn(lua_State *L, int nargs);

/* Closes the coroutine, which runs its <close> variables; they can't wait, but they can spawn. Only
 * for a task that is not over and not running. */
void task_cancel(lua_State *L, struct task *t);

/* Cancels every task there is, for the end of the program. */
void task_cancel_all(lua_State *L);

/* Whether it has ended, or is being closed. */
bool task_is_over(const struct task *t);

/* run() ends no earlier than it does, within bounds: it has to say something to others. */
void task_linger(struct task *t);
bool task_any_lingering(void);

/* The userdata is collected. */
void task_forget(struct task *t);

/* Resumes those that are ready by now, each once. */
void task_run_ready(lua_State *L);

struct task *task_running(void);      /* NULL: none */
bool task_push_running(lua_State *L); /* its userdata; false, and nothing: none */
bool task_any_ready(void);
bool task_is_turning(void); /* task_run_ready() is on the stack */
int task_count(void);       /* that are not over */

/* The running task, if there is one, fails with "interrupted!" unless it waits or ends very soon.
 * Async-signal-safe as far as lua_sethook() is. */
void task_interrupt(void);

#endif
