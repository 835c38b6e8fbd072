/*
 * A packet is lost when one sent later is acknowledged and either three more are, or some time is
 * over: RFC 9002 §6.1, after RFC 6675 and RACK (RFC 8985). Once a loss was spurious the count of
 * three is given up, and each time the patience grows.
 */
#include "host/reliable/sent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REORDER_PACKETS 3
#define PATIENCE_MAX 16
#define FIRST_ROOM 16
#define SPURIOUS_MAX (SENT_MAX / 4) /* packets later nobody waits for a lost one */

struct sent_packet *sent_get(const struct sent *s, uint64_t number) {
    return &s->list[number % s->room];
}

bool sent_is_full(const struct sent *s, size_t reserve) {
    return s->next - s->base + reserve >= SENT_MAX;
}

static void grow(struct sent *s) {
    size_t room = s->room ? 2 * s->room : FIRST_ROOM;
    struct sent_packet *list = malloc(room * sizeof *list);
    if (!list)
        abort();
    for (uint64_t n = s->base; n < s->next; n++)
        list[n % room] = *sent_get(s, n);
    free(s->list);
    s->list = list;
    s->room = room;
}

struct sent_packet *sent_add(struct sent *s, double now) {
    if (s->next - s->base == s->room)
        grow(s);
    struct sent_packet *p = sent_get(s, s->next++);
    *p = (struct sent_packet){.at = now};
    s->in_flight++;
    s->last_at = now;
    return p;
}

static void be_patient(struct sent *s, uint64_t number) {
    if (number < s->patient_to || s->patience == PATIENCE_MAX)
        return;
    s->patience++;
    s->patient_to = s->next;
}

bool sent_acked(struct sent *s, uint64_t number, bool *spurious) {
    struct sent_packet *p = sent_get(s, number);
    *spurious = p->fate == SENT_LOST;
    if (p->fate == SENT_ACKED)
        return false;
    if (p->fate == SENT_IN_FLIGHT)
        s->in_flight--;
    p->fate = SENT_ACKED;
    if (*spurious)
        be_patient(s, number);
    if (number >= s->highest)
        s->highest = number + 1;
    return true;
}

static double tolerance(const struct sent *s, const struct rtt *r) {
    double longest = fmax(fmax(r->smoothed, r->latest), 1e-3);
    return longest * (1 + (1 + s->patience) / 8.0);
}

struct sent_packet *sent_lose(struct sent *s, const struct rtt *r, double now, uint64_t *number,
                              double *due) {
    double wait = tolerance(s, r);
    for (uint64_t n = *number < s->base ? s->base : *number; n + 1 < s->highest; n++) {
        struct sent_packet *p = sent_get(s, n);
        if (p->fate != SENT_IN_FLIGHT)
            continue;
        bool overtaken = !s->patience && s->highest - 1 - n >= REORDER_PACKETS;
        if (overtaken || p->at + wait <= now) {
            p->fate = SENT_LOST;
            s->in_flight--;
            *number = n + 1;
            return p;
        }
        *due = fmin(*due, p->at + wait);
    }
    return NULL;
}

double sent_settle(struct sent *s, const struct rtt *r, double now) {
    double age = 2 * rtt_timeout(r);
    for (; s->base < s->next; s->base++) {
        const struct sent_packet *p = sent_get(s, s->base);
        bool awaited = p->fate == SENT_LOST && s->next - s->base < SPURIOUS_MAX;
        if (p->fate == SENT_IN_FLIGHT)
            return INFINITY;
        if (awaited && p->at + age > now)
            return p->at + age;
    }
    free(s->list);
    s->list = NULL;
    s->room = 0;
    return INFINITY;
}

void sent_fini(struct sent *s) {
    free(s->list);
    *s = (struct sent){0};
}
