/*
 * Which of several servers to believe: the intersection algorithm of RFC 5905 §11.2.1.
 *
 * It looks for the largest number of servers whose intervals have something in common and whose
 * offsets lie there, and asks for more than half. A handful of servers needs no sorting.
 */
#include <math.h>

#include "host/ntp.h"

/* Servers that are right may differ by more than they admit. Half of MINDISP, RFC 5905 §11.2. */
#define VOTE_BOUND_MIN 2.5e-3

#define WEIGHED_BOUND_MIN 1e-6 /* seconds; nobody is surer than that */

static double vote_bound(const struct ntp_interval *s) {
    return fmax(s->bound, VOTE_BOUND_MIN);
}

static double low_edge(const struct ntp_interval *s) {
    return s->offset - vote_bound(s);
}

static double high_edge(const struct ntp_interval *s) {
    return s->offset + vote_bound(s);
}

static size_t count_around(const struct ntp_interval *servers, size_t count, double point) {
    size_t around = 0;
    for (size_t i = 0; i < count; i++)
        around += low_edge(&servers[i]) <= point && point <= high_edge(&servers[i]);
    return around;
}

/* The first and the last point that so many intervals have in common. */
static bool find_common(const struct ntp_interval *servers, size_t count, size_t wanted,
                        double *low, double *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t i = 0; i < count; i++) {
        double from = low_edge(&servers[i]), to = high_edge(&servers[i]);
        if (from < *low && count_around(servers, count, from) >= wanted)
            *low = from;
        if (to > *high && count_around(servers, count, to) >= wanted)
            *high = to;
    }
    return *low <= *high;
}

static size_t mark_inside(const struct ntp_interval *servers, size_t count, double low, double high,
                          bool *agrees) {
    size_t inside = 0;
    for (size_t i = 0; i < count; i++) {
        agrees[i] = low <= servers[i].offset && servers[i].offset <= high;
        inside += agrees[i];
    }
    return inside;
}

static const struct ntp_interval *find_best(const struct ntp_interval *servers, size_t count,
                                            const bool *agrees) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (agrees[i] && (!agrees[best] || servers[i].bound < servers[best].bound))
            best = i;
    return &servers[best];
}

/* The mean, each weighted by how little it may err; it errs no more than the best one of them may,
 * and by what it differs from that one. */
static void combine(const struct ntp_interval *servers, size_t count, const bool *agrees,
                    struct ntp_interval *combined) {
    const struct ntp_interval *best = find_best(servers, count, agrees);
    double sum = 0, weights = 0;
    for (size_t i = 0; i < count; i++) {
        if (!agrees[i])
            continue;
        double weight = 1 / fmax(servers[i].bound, WEIGHED_BOUND_MIN);
        sum += weight * (servers[i].offset - best->offset);
        weights += weight;
    }
    double shift = sum / weights;
    *combined =
        (struct ntp_interval){.offset = best->offset + shift, .bound = best->bound + fabs(shift)};
}

int ntp_select(const struct ntp_interval *servers, size_t count, bool *agrees,
               struct ntp_interval *combined) {
    for (size_t wrong = 0; 2 * wrong < count; wrong++) {
        double low, high;
        if (!find_common(servers, count, count - wrong, &low, &high))
            continue;
        size_t inside = mark_inside(servers, count, low, high, agrees);
        if (inside == 0 || count - inside > wrong)
            continue;
        combine(servers, count, agrees, combined);
        return (int)inside;
    }
    for (size_t i = 0; i < count; i++)
        agrees[i] = false;
    return 0;
}
