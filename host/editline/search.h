/* The search of what was typed before, one key at a time: libedit's own waits for its keys. */
#ifndef P2PD_HOST_EDITLINE_SEARCH_H
#define P2PD_HOST_EDITLINE_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <wchar.h>

#include "host/editline/library.h"

#define SEARCH_WORDS_MAX 128 /* bytes that can be looked for */

enum editline_search_result {
    SEARCH_GOES_ON,
    SEARCH_GIVEN_UP, /* the line is to be as it was */
    SEARCH_ACCEPTED, /* the line is what was found; the key is still to be served */
};

struct editline_search { /* all zero: none is under way */
    const struct editline_library *lib;
    History *history;
    char words[SEARCH_WORDS_MAX + 1];
    char prompt[SEARCH_WORDS_MAX + 32];
    char *match, *original, *former_prompt;
    int skipped; /* matches that are newer than the one that is shown */
    bool failed;
};

void editline_search_begin(struct editline_search *s, const struct editline_library *lib,
                           History *history, const LineInfo *line, const char *prompt);
enum editline_search_result editline_search_key(struct editline_search *s, wchar_t key);

/* What was found last, or NULL. */
const char *editline_search_match(const struct editline_search *s);
const char *editline_search_prompt(struct editline_search *s);

/* What stood there when it began. */
const char *editline_search_original(const struct editline_search *s);
const char *editline_search_former_prompt(const struct editline_search *s);

void editline_search_end(struct editline_search *s); /* can be called twice */

#endif
