/*
 * A binary heap of packets, and for each flow when its last packet is due: a later one never comes
 * before it. Flows share a table by their hash; two that meet there wait for each other at worst.
 */
#include "netdelay/schedule.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define FLOWS 65536

static struct packet *heap;
static size_t count, capacity;
static uint64_t arrivals;
static int64_t last_due_ns[FLOWS];

static bool is_before(const struct packet *a, const struct packet *b) {
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void swap(size_t a, size_t b) {
    struct packet kept = heap[a];
    heap[a] = heap[b];
    heap[b] = kept;
}

static void rise(size_t i) {
    for (; i > 0 && is_before(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2)
        swap(i, (i - 1) / 2);
}

static void sink(size_t i) {
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < count; child++)
            if (is_before(&heap[child], &heap[least]))
                least = child;
        if (least == i)
            return;
        swap(i, least);
        i = least;
    }
}

static int grow(void) {
    size_t wanted = capacity ? capacity * 2 : 1024;
    struct packet *bigger = realloc(heap, wanted * sizeof *heap);
    if (!bigger)
        return -ENOMEM;
    heap = bigger;
    capacity = wanted;
    return 0;
}

int schedule_add(uint32_t id, int64_t due_ns, uint32_t flow) {
    if (count == capacity && grow() < 0)
        return -ENOMEM;
    int64_t *last = &last_due_ns[flow % FLOWS];
    if (due_ns < *last)
        due_ns = *last;
    *last = due_ns;
    heap[count] = (struct packet){id, due_ns, arrivals++};
    rise(count++);
    return 0;
}

const struct packet *schedule_first(void) {
    return count > 0 ? &heap[0] : NULL;
}

void schedule_remove_first(void) {
    heap[0] = heap[--count];
    sink(0);
}
