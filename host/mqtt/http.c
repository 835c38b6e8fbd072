/* Pure: bytes in, words out. */
#include "host/mqtt/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char VERSION[] = "HTTP/1.";
#define STATUS_AT 9 /* "HTTP/1.1 " */

static bool parse_status(const char *line, size_t len, struct http_answer *out) {
    if (len < STATUS_AT + 3 || line[STATUS_AT - 1] != ' ')
        return false;
    for (int i = 0; i < 3; i++)
        if (!isdigit((unsigned char)line[STATUS_AT + i]))
            return false;
    out->status = atoi((char[]){line[STATUS_AT], line[STATUS_AT + 1], line[STATUS_AT + 2], 0});
    size_t at = STATUS_AT + 4, n = 0;
    for (; at < len && n < HTTP_REASON_MAX; at++)
        out->reason[n++] = isprint((unsigned char)line[at]) ? line[at] : '?';
    out->reason[n] = '\0';
    return out->status >= 100;
}

ssize_t http_parse(const char *data, size_t len, struct http_answer *out) {
    *out = (struct http_answer){.head = data};
    size_t known = len < sizeof VERSION - 1 ? len : sizeof VERSION - 1;
    if (len == 0)
        return 0;
    if (memcmp(data, VERSION, known) != 0)
        return -EPROTO;
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end)
        return len < HTTP_HEAD_MAX ? 0 : -EPROTO;
    out->len = (size_t)(end - data) + 4;
    const char *line_end = memmem(data, out->len, "\r\n", 2);
    return parse_status(data, (size_t)(line_end - data), out) ? (ssize_t)out->len : -EPROTO;
}

static const char *trim(const char *text, size_t *len) {
    while (*len && (*text == ' ' || *text == '\t'))
        text++, --*len;
    while (*len && (text[*len - 1] == ' ' || text[*len - 1] == '\t'))
        --*len;
    return text;
}

/* The value of the next header of that name from *at on, and moves on behind it; NULL: none. */
static const char *next_value(const struct http_answer *answer, const char **at, const char *name,
                              size_t *len) {
    const char *end = answer->head + answer->len;
    size_t name_len = strlen(name);
    while (*at < end) {
        const char *line = *at, *line_end = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!line_end)
            break;
        *at = line_end + 2;
        if ((size_t)(line_end - line) <= name_len || line[name_len] != ':' ||
            strncasecmp(line, name, name_len) != 0)
            continue;
        *len = (size_t)(line_end - line) - name_len - 1;
        return trim(line + name_len + 1, len);
    }
    return NULL;
}

static bool has_item(const char *list, size_t len, const char *value) {
    while (len) {
        const char *comma = memchr(list, ',', len);
        size_t item_len = comma ? (size_t)(comma - list) : len, trimmed = item_len;
        const char *item = trim(list, &trimmed);
        if (trimmed == strlen(value) && strncasecmp(item, value, trimmed) == 0)
            return true;
        size_t step = comma ? item_len + 1 : item_len;
        list += step;
        len -= step;
    }
    return false;
}

bool http_has(const struct http_answer *answer, const char *name, const char *value) {
    const char *at = answer->head, *found;
    size_t len;
    while ((found = next_value(answer, &at, name, &len)))
        if (has_item(found, len, value))
            return true;
    return false;
}

bool http_is(const struct http_answer *answer, const char *name, const char *value) {
    const char *at = answer->head;
    size_t len;
    const char *found = next_value(answer, &at, name, &len);
    return found && len == strlen(value) && memcmp(found, value, len) == 0;
}
