/* A line editor on the terminal behind stdin and stdout, driven by the loop: typing never blocks
 * it. */
#ifndef P2PD_HOST_EDITLINE_H
#define P2PD_HOST_EDITLINE_H

#include <stdbool.h>
#include <stddef.h>

struct editline;

enum editline_event {
    EDITLINE_NONE,
    EDITLINE_LINE,      /* a line was typed: editline_text() has it, without its end */
    EDITLINE_END,       /* Ctrl-D on an empty line, or the terminal is gone */
    EDITLINE_COMPLETE,  /* TAB: editline_text() is what stands before the cursor */
    EDITLINE_INTERRUPT, /* editline_interrupt() gave the line up */
};

/*
 * on_event(owner) comes once for each event; then the keyboard is not read until editline_resume()
 * or the next editline_start(). NULL with errno: no such terminal, or an editor is open already.
 * Loop thread only, as all below.
 */
struct editline *editline_new(void (*on_event)(void *owner), void *owner);

/* Shows the prompt and takes the terminal, until stop; both can be called twice. */
void editline_start(struct editline *e, const char *prompt);
void editline_stop(struct editline *e);

/* What happened since start or resume. The text lives until the next event. */
enum editline_event editline_event(const struct editline *e);
const char *editline_text(const struct editline *e);

/* After EDITLINE_COMPLETE: inserts text at the cursor ("" for none) and reads on. */
void editline_resume(struct editline *e, const char *text);

/* Gives up what is being typed, as a shell does on Ctrl-C. Nothing while no prompt is shown. */
void editline_interrupt(struct editline *e);

/* Writes to stdout, above the prompt and what is being typed if they are shown. */
void editline_print(struct editline *e, const char *text, size_t len);

void editline_add_history(struct editline *e, const char *line);
int editline_columns(void);

void editline_free(struct editline *e); /* gives the terminal back as it was found */

/* Gives the terminal back without ending the editor: for a process that dies. Async-signal-safe. */
void editline_leave(void);

/* Appends lines to a file that only its owner may read; makes it and its folders. 0 or -errno. */
int editline_save(const char *path, const char *line);

#endif
