/* A growing queue of bytes: appended at the tail, taken from the head, no memory while empty. */
#ifndef P2PD_HOST_BUFFER_H
#define P2PD_HOST_BUFFER_H

#include <stddef.h>

struct buffer {
    char *data;
    size_t head, len, cap;
};

static inline const char *buffer_head(const struct buffer *b) {
    return b->data + b->head;
}

void buffer_append(struct buffer *b, const void *data, size_t len); /* aborts when out of memory */
void buffer_consume(struct buffer *b, size_t len);
void buffer_fini(struct buffer *b);

#endif
