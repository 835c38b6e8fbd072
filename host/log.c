/* One write(2) a line, so that lines of threads and of child processes never mix. */
#include "host/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048
#define WIPE "\r\033[K" /* what stands in a terminal's line */

static const char *const NAMES[] = {"error", "warn", "info", "debug"};
static int level = -1;
static void (*sink)(const char *line);
static atomic_bool over_progress;

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

void log_over_progress(bool shown) {
    over_progress = shown;
}

/* A peer's text must not steer the reader's terminal; a traceback keeps its line breaks. */
static void defuse(char *text) {
    for (; *text; text++)
        if (((unsigned char)*text < ' ' && *text != '\n' && *text != '\t') || *text == 127)
            *text = '?';
}

static void put(const char *line) {
    if (write(STDERR_FILENO, line, strlen(line)) < 0)
        return;
}

void log_write(enum log_level wanted, const char *format, ...) {
    if (wanted > log_level())
        return;
    char text[LINE_MAX_BYTES] = WIPE, *line = text + strlen(WIPE);
    size_t size = sizeof text - strlen(WIPE);
    int start = snprintf(line, size, "p2pd: %s: ", NAMES[wanted]);
    va_list args;
    va_start(args, format);
    vsnprintf(line + start, size - (size_t)start - 1, format, args);
    va_end(args);
    defuse(line);
    strcat(line, "\n");
    if (sink)
        sink(line);
    else
        put(atomic_exchange(&over_progress, false) ? text : line);
}
