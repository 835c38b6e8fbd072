/* What the terminal shows of a prompt and the line behind it; under the user's character set. */
#ifndef P2PD_HOST_EDITLINE_SCREEN_H
#define P2PD_HOST_EDITLINE_SCREEN_H

#include "host/editline/library.h"

struct editline_screen {
    const struct editline_library *lib;
    EditLine *el;
    char *prompt; /* the owner frees it */
};

/* Prompt and line vanish, and the cursor stands where the prompt began. */
void editline_screen_erase(const struct editline_screen *s);

/* Both are shown again, from the cursor on. */
void editline_screen_draw(const struct editline_screen *s);

/* Another prompt, or another text in place of what is typed, the cursor at its end; no drawing. */
void editline_screen_prompt(struct editline_screen *s, const char *prompt);
void editline_screen_replace(const struct editline_screen *s, const char *text);

#endif
