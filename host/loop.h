/* The one event loop of the process, and the only door into it from another thread. */
#ifndef P2PD_HOST_LOOP_H
#define P2PD_HOST_LOOP_H

#include <ev.h>

/* The loop, made on first use; lives as long as the process. Loop thread only. */
struct ev_loop *loop_get(void);

/* CLOCK_MONOTONIC in seconds: the scale of every deadline in the program. Any thread. */
double loop_now(void);

/* Runs fn(arg) on the loop thread, in the order of posting. Any thread; arg stays the caller's. */
void loop_post(void (*fn)(void *arg), void *arg);

/* Makes the loop's present wait return. Any thread, and signal handlers. */
void loop_wakeup(void);

/* Between hold and release the loop waits although it watches nothing: somebody will post. */
void loop_hold(void);
void loop_release(void);

/* One turn: waits until `deadline` at most (0: not at all). False when nothing can ever happen. */
int loop_turn(double deadline);

#endif
