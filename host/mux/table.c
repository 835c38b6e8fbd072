/* Streams by number: a table of chains that grows with them; and lists of them. */
#include <stdlib.h>

#include "host/mux/state.h"

#define BUCKETS_FIRST 8

static size_t bucket_of(size_t count, uint32_t number) {
    return (number >> 1) & (count - 1); /* numbers of one side are all odd or all even */
}

static void grow(struct mux_machine *m) {
    size_t count = m->bucket_count ? m->bucket_count * 2 : BUCKETS_FIRST;
    struct mux_stream **buckets = calloc(count, sizeof(struct mux_stream *));
    if (!buckets)
        abort();
    for (size_t i = 0; i < m->bucket_count; i++) {
        for (struct mux_stream *s = m->buckets[i], *next; s; s = next) {
            struct mux_stream **bucket = &buckets[bucket_of(count, s->number)];
            next = s->next;
            s->next = *bucket;
            *bucket = s;
        }
    }
    free(m->buckets);
    m->buckets = buckets;
    m->bucket_count = count;
}

struct mux_stream *table_find(const struct mux_machine *m, uint32_t number) {
    if (!m->bucket_count)
        return NULL;
    struct mux_stream *s = m->buckets[bucket_of(m->bucket_count, number)];
    while (s && s->number != number)
        s = s->next;
    return s;
}

void table_add(struct mux_machine *m, struct mux_stream *s) {
    if (m->stream_count >= m->bucket_count)
        grow(m);
    struct mux_stream **bucket = &m->buckets[bucket_of(m->bucket_count, s->number)];
    s->next = *bucket;
    *bucket = s;
    m->stream_count++;
}

void table_remove(struct mux_machine *m, struct mux_stream *s) {
    struct mux_stream **at = &m->buckets[bucket_of(m->bucket_count, s->number)];
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    m->stream_count--;
}

void list_append(struct mux_list *list, struct mux_stream *s, struct mux_link *link) {
    if (link->list)
        return;
    ptrdiff_t offset = (char *)link - (char *)s;
    *link = (struct mux_link){list->last, NULL, list};
    if (list->last)
        ((struct mux_link *)((char *)list->last + offset))->next = s;
    else
        list->first = s;
    list->last = s;
    list->count++;
}

void list_remove(struct mux_stream *s, struct mux_link *link) {
    struct mux_list *list = link->list;
    if (!list)
        return;
    ptrdiff_t offset = (char *)link - (char *)s;
    if (link->prev)
        ((struct mux_link *)((char *)link->prev + offset))->next = link->next;
    else
        list->first = link->next;
    if (link->next)
        ((struct mux_link *)((char *)link->next + offset))->prev = link->prev;
    else
        list->last = link->prev;
    list->count--;
    *link = (struct mux_link){0};
}
