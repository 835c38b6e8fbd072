#include "host/netif/table.h"

#include <linux/if_addr.h>
#include <stdlib.h>
#include <string.h>

struct netif *netif_table_add(struct netif_table *t, const char *name, unsigned index) {
    struct netif *list = realloc(t->list, (size_t)(t->n + 1) * sizeof *list);
    if (!list)
        return NULL;
    t->list = list;
    struct netif *nif = &list[t->n++];
    memset(nif, 0, sizeof *nif);
    strncpy(nif->name, name, sizeof nif->name - 1);
    nif->index = index;
    return nif;
}

void netif_set_flags(struct netif *nif, unsigned flags) {
    nif->up = (flags & IFF_UP) && (flags & IFF_RUNNING);
    nif->loopback = flags & IFF_LOOPBACK;
    nif->point_to_point = flags & IFF_POINTOPOINT;
}

static int by_index(const void *a, const void *b) {
    unsigned x = ((const struct netif *)a)->index, y = ((const struct netif *)b)->index;
    return (x > y) - (x < y);
}

void netif_table_sort(struct netif_table *t) {
    if (t->n)
        qsort(t->list, (size_t)t->n, sizeof *t->list, by_index);
}

struct netif *netif_table_at(const struct netif_table *t, unsigned index) {
    struct netif key = {.index = index};
    return t->n ? bsearch(&key, t->list, (size_t)t->n, sizeof *t->list, by_index) : NULL;
}

struct netif *netif_table_find(const struct netif_table *t, const char *name) {
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->list[i].name, name) == 0)
            return &t->list[i];
    return NULL;
}

static bool has(const struct netif *nif, const struct inet_addr *addr) {
    int bits = addr->any.sa_family == AF_INET6 ? 128 : 32;
    for (int i = 0; i < nif->naddrs; i++)
        if (inet_same_subnet(&nif->addrs[i].addr, addr, bits))
            return true;
    return false;
}

struct netif *netif_table_owner(const struct netif_table *t, const struct inet_addr *addr) {
    for (int i = 0; i < t->n; i++)
        if (has(&t->list[i], addr))
            return &t->list[i];
    return NULL;
}

struct netif_addr *netif_add_addr(struct netif *nif, int family, const void *bytes, int prefix) {
    struct netif_addr *addrs = realloc(nif->addrs, (size_t)(nif->naddrs + 1) * sizeof *addrs);
    if (!addrs)
        return NULL;
    nif->addrs = addrs;
    struct netif_addr *a = &addrs[nif->naddrs++];
    memset(a, 0, sizeof *a);
    a->prefix = prefix;
    a->addr.any.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        a->addr.len = sizeof a->addr.v4;
        memcpy(&a->addr.v4.sin_addr, bytes, sizeof a->addr.v4.sin_addr);
        return a;
    }
    a->addr.len = sizeof a->addr.v6;
    memcpy(&a->addr.v6.sin6_addr, bytes, sizeof a->addr.v6.sin6_addr);
    if (IN6_IS_ADDR_LINKLOCAL(&a->addr.v6.sin6_addr))
        a->addr.v6.sin6_scope_id = nif->index;
    return a;
}

/* An optimistic one (RFC 4429) may be used while it is looked at. */
void netif_set_addr_flags(struct netif_addr *a, unsigned flags) {
    a->tentative = (flags & IFA_F_TENTATIVE) && !(flags & IFA_F_OPTIMISTIC);
    a->failed = flags & IFA_F_DADFAILED;
    a->deprecated = flags & IFA_F_DEPRECATED;
    a->temporary = flags & IFA_F_TEMPORARY;
}

void netif_table_clear(struct netif_table *t) {
    for (int i = 0; i < t->n; i++)
        free(t->list[i].addrs);
    free(t->list);
    *t = (struct netif_table){0};
}
