/*
 * Regular expressions by PCRE2, on bytes, with limits on what a match may take: patterns and texts
 * come from others. The library is loaded when a pattern is first compiled.
 *
 * Any thread, one at a time for each pattern.
 */
#ifndef P2PD_HOST_PATTERN_H
#define P2PD_HOST_PATTERN_H

#include <stddef.h>

#define PATTERN_MAX 1024         /* bytes of a pattern */
#define PATTERN_ERROR_MAX 160    /* bytes of an error's text, with its NUL */
#define PATTERN_STEPS_MAX 100000 /* of one match: some milliseconds */

struct pattern;

/* 0; -ELIBACC: no library; -EINVAL, and what is wrong in `error`; -ENOMEM. */
int pattern_new(struct pattern **pattern, const char *text, size_t len,
                char error[PATTERN_ERROR_MAX]);
void pattern_free(struct pattern *pattern);

/* 1: it occurs in the text; 0: it does not; -E2BIG: a limit was hit. */
int pattern_find(struct pattern *pattern, const char *text, size_t len);

#endif
