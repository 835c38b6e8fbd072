/*
 * The lines: a small table by interface index. Times and losses of a packet's two lines add up,
 * each with a jitter of its own, equally likely from -JITTER to +JITTER.
 */
#include "netdelay/links.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_LINKS 1024
#define MAX_US 60000000
#define MILLION 1000000

struct link {
    uint32_t interface;
    int64_t up_us, down_us, jitter_us;
    int64_t loss_ppm;
};

static struct link links[MAX_LINKS];
static int count;

static struct link *find(uint32_t interface) {
    for (int i = 0; i < count; i++)
        if (links[i].interface == interface)
            return &links[i];
    return NULL;
}

static bool in_range(int64_t value, int64_t max) {
    return value >= 0 && value <= max;
}

const char *links_configure(char *line) {
    char name[IF_NAMESIZE];
    long long up, down, jitter, loss;
    char rest;
    int n = sscanf(line, "%15s %lld %lld %lld %lld %c", name, &up, &down, &jitter, &loss, &rest);
    if (n != 5)
        return "expected INTERFACE UP_US DOWN_US JITTER_US LOSS_PPM";
    if (!in_range(up, MAX_US) || !in_range(down, MAX_US) || !in_range(jitter, MAX_US))
        return "a time is not from 0 to 60 seconds";
    if (!in_range(loss, MILLION))
        return "a loss is not from 0 to 1000000";
    uint32_t interface = if_nametoindex(name);
    if (interface == 0)
        return "no such interface";
    struct link *link = find(interface);
    if (!link && count == MAX_LINKS)
        return "too many interfaces";
    if (!link)
        link = &links[count++];
    *link = (struct link){interface, up, down, jitter, loss};
    return NULL;
}

static bool is_lost(const struct link *link) {
    return link && link->loss_ppm > 0 && drand48() * MILLION < (double)link->loss_ppm;
}

static int64_t draw_jitter(const struct link *link) {
    if (!link || link->jitter_us == 0)
        return 0;
    return (int64_t)((drand48() * 2 - 1) * (double)link->jitter_us);
}

int64_t links_draw(uint32_t from, uint32_t to) {
    const struct link *in = find(from ? from : to), *out = find(to);
    if (is_lost(in) || is_lost(out))
        return -1;
    int64_t delay =
        (in ? in->up_us : 0) + (out ? out->down_us : 0) + draw_jitter(in) + draw_jitter(out);
    return delay > 0 ? delay : 0;
}
