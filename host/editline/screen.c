/* libedit draws from where it believes the prompt's first column to be. */
#include "host/editline/screen.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "host/editline/terminal.h"

#define TAB_STOP 8

static size_t character_width(wchar_t c) {
    int columns = wcwidth(c);
    return columns < 0 ? 2 : (size_t)columns; /* a control character is shown as ^X */
}

static size_t prompt_width(const char *prompt) {
    size_t width = 0;
    mbstate_t state = {0};
    wchar_t c;
    for (size_t used; *prompt; prompt += used) {
        used = mbrtowc(&c, prompt, MB_LEN_MAX, &state);
        if (used == (size_t)-1 || used == (size_t)-2)
            return width + strlen(prompt);
        width += character_width(c);
    }
    return width;
}

/* How many rows below the prompt's first one the cursor is. */
static size_t rows_above(const struct editline_screen *s) {
    const LineInfoW *line = s->lib->wline(s->el);
    size_t rows = 0, column = prompt_width(s->prompt), width = (size_t)terminal_columns();
    for (const wchar_t *c = line->buffer; c < line->cursor; c++) {
        if (*c == L'\n') {
            rows += column / width + 1;
            column = 0;
        } else if (*c == L'\t') {
            column += TAB_STOP - column % width % TAB_STOP;
        } else {
            column += character_width(*c);
        }
    }
    rows += column / width;
    size_t last = (size_t)terminal_rows() - 1;
    return rows < last ? rows : last;
}

void editline_screen_erase(const struct editline_screen *s) {
    size_t rows = rows_above(s);
    if (rows)
        fprintf(stdout, "\033[%zuA", rows);
    fputs("\r\033[J", stdout);
}

void editline_screen_prompt(struct editline_screen *s, const char *prompt) {
    char *copy = strdup(prompt);
    if (!copy)
        abort();
    free(s->prompt);
    s->prompt = copy;
}

void editline_screen_replace(const struct editline_screen *s, const char *text) {
    const LineInfoW *line = s->lib->wline(s->el);
    s->lib->cursor(s->el, (int)(line->lastchar - line->cursor));
    line = s->lib->wline(s->el);
    s->lib->deletestr(s->el, (int)(line->lastchar - line->buffer));
    if (*text)
        s->lib->insertstr(s->el, text);
}

void editline_screen_draw(const struct editline_screen *s) {
    s->lib->set(s->el, EL_REFRESH);
    fflush(stdout);
}
