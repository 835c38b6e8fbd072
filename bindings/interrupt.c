/*
 * SIGINT and SIGTERM while run() turns the loop. The handler only takes a note and, if Lua code is
 * running, sets a hook as lua.c does; what the signal means is decided between two turns of the
 * loop.
 */
/***
@submodule p2pd.core.task
*/
#include "bindings/interrupt.h"

#include <signal.h>

#include "bindings/scheduler.h"
#include "host/editline.h"
#include "host/loop.h"

static struct waitlist waiters;
static volatile sig_atomic_t pending;
static int last, seen;

bool interrupt_pending(void) {
    return pending != 0;
}

bool interrupt_expected(void) {
    return waiters.first != NULL;
}

/* Async-signal-safe as lua.c's is; a second signal before the first was served ends the process. */
static void on_signal(int number) {
    if (pending) {
        editline_leave();
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    pending = number;
    task_interrupt();
    loop_wakeup();
}

static const int SIGNALS[] = {SIGINT, SIGTERM};
static struct sigaction former[2];

void interrupt_catch(void) {
    last = pending = 0;
    struct sigaction action = {.sa_handler = on_signal};
    for (int i = 0; i < 2; i++) {
        sigaction(SIGNALS[i], NULL, &former[i]);
        if (former[i].sa_handler != SIG_IGN)
            sigaction(SIGNALS[i], &action, NULL);
    }
}

void interrupt_restore(void) {
    for (int i = 0; i < 2; i++)
        sigaction(SIGNALS[i], &former[i], NULL);
}

bool interrupt_serve(void) {
    int number = pending;
    pending = 0;
    if (number == SIGINT && waiters.first) {
        seen = number;
        task_wake_all(&waiters);
        return false;
    }
    last = number;
    return number != 0;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    if (task_was_woken()) {
        lua_pushinteger(L, seen);
        return 1;
    }
    return task_expired() ? task_push_timeout(L) : task_wait_again(L, &waiters, 0, wait_k);
}

/***
Waits for SIGINT, which then ends nothing.
@function wait_interrupt
@tparam[opt] number timeout seconds
@return its number; or nil, "timed out", "ETIMEDOUT"
*/
int interrupt_wait(lua_State *L) {
    double deadline = task_deadline(L, 1);
    task_prepare(L);
    return task_wait(L, &waiters, deadline, 0, wait_k);
}

/***
The signal that ended the last run().
@function interrupted
@treturn ?integer
*/
int interrupt_last(lua_State *L) {
    if (!last)
        return 0;
    lua_pushinteger(L, last);
    return 1;
}
