/* A sorted array: there are few ranges, and nearly all changes are at its ends. */
#include "host/reliable/ranges.h"

#include <stdlib.h>
#include <string.h>

static void make_room(struct ranges *r) {
    if (r->count < r->room)
        return;
    int room = r->room ? 2 * r->room : 8;
    struct range *list = realloc(r->list, (size_t)room * sizeof *list);
    if (!list)
        abort();
    r->list = list;
    r->room = room;
}

/* Takes n ranges out at i, and gives the memory back with the last one. */
static void drop(struct ranges *r, int i, int n) {
    if (n == 0)
        return;
    r->count -= n;
    if (r->count == 0)
        ranges_fini(r);
    else
        memmove(r->list + i, r->list + i + n, (size_t)(r->count - i) * sizeof *r->list);
}

/* The first range that ends at `number` or later. */
static int find(const struct ranges *r, uint64_t number) {
    int low = 0, high = r->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (r->list[middle].to < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void ranges_add(struct ranges *r, uint64_t from, uint64_t to) {
    if (from >= to)
        return;
    int i = find(r, from), n = 0;
    for (; i + n < r->count && r->list[i + n].from <= to; n++) {
        from = r->list[i + n].from < from ? r->list[i + n].from : from;
        to = r->list[i + n].to > to ? r->list[i + n].to : to;
    }
    if (n == 0) {
        make_room(r);
        memmove(r->list + i + 1, r->list + i, (size_t)(r->count - i) * sizeof *r->list);
        r->count++;
        n = 1;
    }
    r->list[i] = (struct range){from, to};
    drop(r, i + 1, n - 1);
}

void ranges_cut(struct ranges *r, uint64_t floor) {
    int n = 0;
    while (n < r->count && r->list[n].to <= floor)
        n++;
    drop(r, 0, n);
    if (r->count && r->list[0].from < floor)
        r->list[0].from = floor;
}

void ranges_fini(struct ranges *r) {
    free(r->list);
    *r = (struct ranges){0};
}
