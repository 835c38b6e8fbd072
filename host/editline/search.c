#include "host/editline/search.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CTRL_G 7
#define CTRL_H 8
#define CTRL_R 18
#define DELETE 127

static char *copy_of(const char *text, size_t len) {
    char *copy = strndup(text, len);
    if (!copy)
        abort();
    return copy;
}

void editline_search_begin(struct editline_search *s, const struct editline_library *lib,
                           History *history, const LineInfo *line, const char *prompt) {
    editline_search_end(s);
    s->lib = lib;
    s->history = history;
    s->original = copy_of(line->buffer, (size_t)(line->lastchar - line->buffer));
    s->former_prompt = copy_of(prompt, strlen(prompt));
}

/* The nth match, the newest is the 0th, each text once; NULL: there are not so many. It belongs to
 * the history. */
static const char *find(struct editline_search *s, int nth) {
    HistEvent event;
    const char *last = NULL;
    for (int more = s->lib->history(s->history, &event, H_FIRST); more >= 0;
         more = s->lib->history(s->history, &event, H_NEXT)) {
        if (!strstr(event.str, s->words) || (last && strcmp(last, event.str) == 0))
            continue;
        if (nth-- == 0)
            return event.str;
        last = event.str;
    }
    return NULL;
}

/* Shows the nth match; when there is none, the one before stays. */
static void look(struct editline_search *s, int nth) {
    const char *found = s->words[0] ? find(s, nth) : NULL;
    s->failed = s->words[0] && !found;
    if (!found)
        return;
    free(s->match);
    s->match = copy_of(found, strlen(found));
    s->skipped = nth;
}

static void look_anew(struct editline_search *s) {
    free(s->match);
    s->match = NULL;
    look(s, 0);
}

static void append(struct editline_search *s, wchar_t key) {
    char bytes[MB_LEN_MAX];
    mbstate_t state = {0};
    size_t n = wcrtomb(bytes, key, &state), len = strlen(s->words);
    if (n == (size_t)-1 || len + n > SEARCH_WORDS_MAX)
        return;
    memcpy(s->words + len, bytes, n);
    s->words[len + n] = '\0';
}

static void shorten(struct editline_search *s) {
    size_t len = strlen(s->words);
    while (len && (s->words[len - 1] & 0xc0) == 0x80)
        len--;
    if (len)
        s->words[len - 1] = '\0';
}

enum editline_search_result editline_search_key(struct editline_search *s, wchar_t key) {
    if (key == CTRL_G)
        return SEARCH_GIVEN_UP;
    if (key == CTRL_R) {
        look(s, s->match ? s->skipped + 1 : 0);
    } else if (key == CTRL_H || key == DELETE) {
        shorten(s);
        look_anew(s);
    } else if (key >= L' ') {
        append(s, key);
        look_anew(s);
    } else {
        return SEARCH_ACCEPTED;
    }
    return SEARCH_GOES_ON;
}

const char *editline_search_match(const struct editline_search *s) {
    return s->match;
}

const char *editline_search_original(const struct editline_search *s) {
    return s->original;
}

const char *editline_search_former_prompt(const struct editline_search *s) {
    return s->former_prompt;
}

const char *editline_search_prompt(struct editline_search *s) {
    snprintf(s->prompt, sizeof s->prompt, "(%s`%s') ", s->failed ? "not found " : "search ",
             s->words);
    return s->prompt;
}

void editline_search_end(struct editline_search *s) {
    free(s->match);
    free(s->original);
    free(s->former_prompt);
    *s = (struct editline_search){0};
}
