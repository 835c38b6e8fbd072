/* The terminal that an editor takes and gives back, whatever ends the process: exit() or a deadly
 * signal. One for the process. */
#ifndef P2PD_HOST_EDITLINE_TERMINAL_H
#define P2PD_HOST_EDITLINE_TERMINAL_H

#include <stdbool.h>

/* Whether standard input and output are a terminal that can be drawn on. */
bool terminal_is_usable(void);

/* Remembers the terminal's state, and sees to it that it comes back. To be called before the
 * editor changes it. */
void terminal_take(void);

/* Asks it to bracket what is pasted. */
void terminal_bracket_pastes(void);

/* Puts the state back, as a stop needs it that is not the end. Async-signal-safe. */
void terminal_put_back(void);

/* The same for a process that ends: what it still says begins on a line of its own. */
void terminal_leave(void);

/* Ends what terminal_take() began; the state has been put back. */
void terminal_forget(void);

int terminal_columns(void);
int terminal_rows(void);

#endif
