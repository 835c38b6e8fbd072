/* One write(2) a line, so that lines of threads and of child processes never mix. */
#include "host/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static const char *const NAMES[] = {"error", "warn", "info", "debug"};
static int level = -1;
static void (*sink)(const char *line);

int log_parse_level(const char *name) {
    for (int i = 0; i <= LOG_DEBUG; i++)
        if (strcmp(name, NAMES[i]) == 0)
            return i;
    return -1;
}

enum log_level log_level(void) {
    if (level < 0) {
        const char *wanted = getenv("P2PD_LOG");
        int parsed = wanted ? log_parse_level(wanted) : -1;
        level = parsed < 0 ? LOG_WARN : parsed;
    }
    return (enum log_level)level;
}

void log_set_level(enum log_level wanted) {
    level = (int)wanted;
}

void log_redirect(void (*to)(const char *line)) {
    sink = to;
}

/* A peer's text must not steer the reader's terminal; a traceback keeps its line breaks. */
static void defuse(char *text) {
    for (; *text; text++)
        if (((unsigned char)*text < ' ' && *text != '\n' && *text != '\t') || *text == 127)
            *text = '?';
}

void log_write(enum log_level wanted, const char *format, ...) {
    if (wanted > log_level())
        return;
    char line[LINE_MAX_BYTES];
    int start = snprintf(line, sizeof line, "p2pd: %s: ", NAMES[wanted]);
    va_list args;
    va_start(args, format);
    vsnprintf(line + start, sizeof line - (size_t)start - 1, format, args);
    va_end(args);
    defuse(line);
    strcat(line, "\n");
    if (sink)
        sink(line);
    else if (write(STDERR_FILENO, line, strlen(line)) < 0)
        return;
}
