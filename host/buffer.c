/* Memory is given back as soon as a buffer is empty: ten thousand idle pipes hold none. */
#include "host/buffer.h"

#include <stdlib.h>
#include <string.h>

static void make_room(struct buffer *b, size_t len) {
    if (b->head + b->len + len <= b->cap)
        return;
    if (b->head > 0 && b->len + len <= b->cap) {
        memmove(b->data, b->data + b->head, b->len);
        b->head = 0;
        return;
    }
    size_t cap = b->cap ? b->cap : 256;
    while (cap < b->len + len)
        cap *= 2;
    char *data = malloc(cap);
    if (!data)
        abort();
    if (b->len)
        memcpy(data, b->data + b->head, b->len);
    free(b->data);
    b->data = data;
    b->head = 0;
    b->cap = cap;
}

void buffer_append(struct buffer *b, const void *data, size_t len) {
    if (len == 0)
        return;
    make_room(b, len);
    memcpy(b->data + b->head + b->len, data, len);
    b->len += len;
}

void buffer_consume(struct buffer *b, size_t len) {
    b->head += len;
    b->len -= len;
    if (b->len == 0)
        buffer_fini(b);
}

void buffer_fini(struct buffer *b) {
    free(b->data);
    *b = (struct buffer){0};
}
