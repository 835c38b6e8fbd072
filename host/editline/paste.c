#include "host/editline/paste.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_BYTES ((size_t)1 << 20)
#define SIZE_FIRST 256

static bool grow(struct editline_paste *p) {
    size_t size = p->size ? p->size * 2 : SIZE_FIRST;
    char *bytes = realloc(p->bytes, size);
    if (!bytes)
        return false;
    p->bytes = bytes;
    p->size = size;
    return true;
}

static bool ends_with(const struct editline_paste *p, const char *end) {
    size_t n = strlen(end);
    return p->len >= n && memcmp(p->bytes + p->len - n, end, n) == 0;
}

/* When it is full the last bytes are replaced, so that the end is still found. */
void editline_paste_add(struct editline_paste *p, char byte) {
    size_t tail = strlen(PASTE_END);
    if (p->len + 1 >= SIZE_MAX_BYTES) {
        memmove(p->bytes + p->len - tail, p->bytes + p->len - tail + 1, tail - 1);
        p->len--;
    } else if (p->len + 1 >= p->size && !grow(p)) {
        return;
    }
    p->bytes[p->len++] = byte;
    if (!ends_with(p, PASTE_END))
        return;
    p->len -= tail;
    p->whole = true;
}

bool editline_paste_is_whole(const struct editline_paste *p) {
    return p->whole;
}

static bool is_text(char c) {
    return c == '\n' || c == '\t' || ((unsigned char)c >= ' ' && c != 0x7f);
}

const char *editline_paste_text(struct editline_paste *p) {
    size_t len = 0;
    for (size_t i = 0; i < p->len; i++) {
        char c = p->bytes[i];
        if (c == '\n' && i && p->bytes[i - 1] == '\r')
            continue;
        if (c == '\r')
            c = '\n';
        if (is_text(c))
            p->bytes[len++] = c;
    }
    while (len && p->bytes[len - 1] == '\n')
        len--;
    if (!p->bytes)
        return "";
    p->bytes[len] = '\0';
    p->len = len;
    return p->bytes;
}

void editline_paste_clear(struct editline_paste *p) {
    free(p->bytes);
    *p = (struct editline_paste){0};
}
