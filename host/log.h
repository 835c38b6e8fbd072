/* The log on stderr, by level. Any thread. */
#ifndef P2PD_HOST_LOG_H
#define P2PD_HOST_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* The level until log_set_level() says otherwise: $P2PD_LOG, else "warn". */
enum log_level log_level(void);
void log_set_level(enum log_level level);

/* "error", "warn", "info", "debug" to a level, or -1. */
int log_parse_level(const char *name);

/* One line: "p2pd: LEVEL: text". Control characters in the text become "?". */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether what stands in the terminal's line is to be wiped out by the next line of the log. */
void log_over_progress(bool shown);

/* Called with each finished line instead of writing it to stderr; NULL restores that. */
void log_redirect(void (*sink)(const char *line));

#endif
