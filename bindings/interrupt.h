/* SIGINT and SIGTERM: they end the main task, or SIGINT wakes whoever waits for it. Loop thread. */
#ifndef P2PD_BINDINGS_INTERRUPT_H
#define P2PD_BINDINGS_INTERRUPT_H

#include <lua.h>
#include <stdbool.h>

/* Between these two the signals are caught here; one that was ignored before stays so. */
void interrupt_catch(void);
void interrupt_restore(void);

/* Has one come that was not served yet? */
bool interrupt_pending(void);

/* Does a task wait for one? */
bool interrupt_expected(void);

/* Serves it: true when it is to end the run; SIGINT is given to whoever waits for it instead. */
bool interrupt_serve(void);

/* The Lua functions: wait_interrupt([timeout]) gives the signal's number; interrupted() the one
 * that ended the last run, or nothing. */
int interrupt_wait(lua_State *L);
int interrupt_last(lua_State *L);

#endif
