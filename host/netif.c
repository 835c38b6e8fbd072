/*
 * Interfaces come from getifaddrs(), default routes from a dump of the main routing table over
 * rtnetlink (RFC 3549): only it tells the metric, both families and multipath routes alike.
 * Everything is a snapshot and nothing is kept: interfaces come and go.
 */
#include "host/netif.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <netpacket/packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

#define DUMP_SIZE 32768   /* bytes; the kernel fills at most this much a message */
#define DUMP_TIMEOUT_S 1  /* the kernel answers at once or not at all */
#define METRIC6_NONE 1024 /* what the kernel gives an IPv6 route without a metric */

struct table {
    struct netif *list;
    int n;
};

/* -- default routes ------------------------------------------------------------------------ */

/* A next hop's address, as RTA_GATEWAY has it. */
static void set_gateway(struct inet_addr *addr, int family, int index, const struct rtattr *attr) {
    *addr = (struct inet_addr){0};
    if (!attr)
        return;
    if (family == AF_INET && RTA_PAYLOAD(attr) == sizeof addr->v4.sin_addr) {
        addr->v4.sin_family = AF_INET;
        addr->len = sizeof addr->v4;
        memcpy(&addr->v4.sin_addr, RTA_DATA(attr), sizeof addr->v4.sin_addr);
    } else if (family == AF_INET6 && RTA_PAYLOAD(attr) == sizeof addr->v6.sin6_addr) {
        addr->v6.sin6_family = AF_INET6;
        addr->len = sizeof addr->v6;
        memcpy(&addr->v6.sin6_addr, RTA_DATA(attr), sizeof addr->v6.sin6_addr);
        if (IN6_IS_ADDR_LINKLOCAL(&addr->v6.sin6_addr))
            addr->v6.sin6_scope_id = (uint32_t)index;
    }
}

static void mark(const struct table *t, int family, int index, uint32_t metric,
                 const struct rtattr *gateway) {
    for (int i = 0; i < t->n; i++) {
        struct netif *nif = &t->list[i];
        struct netif_default *d = family == AF_INET6 ? &nif->default6 : &nif->default4;
        if (nif->index != (unsigned)index || (d->present && d->metric <= metric))
            continue;
        d->present = true;
        d->metric = metric;
        set_gateway(&d->gateway, family, index, gateway);
    }
}

static const struct rtattr *find_gateway(const struct rtattr *attr, int left) {
    for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
        if (attr->rta_type == RTA_GATEWAY)
            return attr;
    return NULL;
}

static void mark_hops(const struct table *t, int family, const struct rtattr *attr,
                      uint32_t metric) {
    const struct rtnexthop *hop = RTA_DATA(attr);
    int left = (int)RTA_PAYLOAD(attr);
    for (; RTNH_OK(hop, left); left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop))
        mark(t, family, hop->rtnh_ifindex, metric,
             find_gateway(RTNH_DATA(hop), hop->rtnh_len - (int)RTNH_LENGTH(0)));
}

static uint32_t read_u32(const struct rtattr *attr) {
    uint32_t value = 0;
    if (RTA_PAYLOAD(attr) >= sizeof value)
        memcpy(&value, RTA_DATA(attr), sizeof value);
    return value;
}

static void read_route(const struct table *t, const struct nlmsghdr *head) {
    const struct rtmsg *route = NLMSG_DATA(head);
    int left = (int)RTM_PAYLOAD(head), index = 0;
    uint32_t metric = 0;
    const struct rtattr *hops = NULL, *gateway = find_gateway(RTM_RTA(route), left);
    if (route->rtm_dst_len || route->rtm_type != RTN_UNICAST || route->rtm_table != RT_TABLE_MAIN)
        return;
    for (const struct rtattr *a = RTM_RTA(route); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == RTA_OIF)
            index = (int)read_u32(a);
        else if (a->rta_type == RTA_PRIORITY)
            metric = read_u32(a);
        else if (a->rta_type == RTA_MULTIPATH)
            hops = a;
    }
    if (route->rtm_family == AF_INET6 && metric == 0)
        metric = METRIC6_NONE;
    if (index)
        mark(t, route->rtm_family, index, metric, gateway);
    if (hops)
        mark_hops(t, route->rtm_family, hops, metric);
}

/* 1 while more is to come, 0 at the end, -errno. */
static int read_dump(const struct table *t, const char *data, size_t size) {
    const struct nlmsghdr *head = (const struct nlmsghdr *)data;
    int left = (int)size;
    for (; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
        if (head->nlmsg_type == NLMSG_DONE)
            return 0;
        if (head->nlmsg_type == NLMSG_ERROR)
            return ((const struct nlmsgerr *)NLMSG_DATA(head))->error;
        if (head->nlmsg_type == RTM_NEWROUTE)
            read_route(t, head);
    }
    return 1;
}

static int request_dump(int fd) {
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
    } request = {
        .head = {.nlmsg_len = sizeof request,
                 .nlmsg_type = RTM_GETROUTE,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .route = {.rtm_family = AF_UNSPEC},
    };
    return send(fd, &request, sizeof request, 0) < 0 ? -errno : 0;
}

static int receive_dump(const struct table *t, int fd) {
    char *data = malloc(DUMP_SIZE);
    int more = data ? 1 : -ENOMEM;
    while (more > 0) {
        ssize_t size = recv(fd, data, DUMP_SIZE, 0);
        if (size < 0 && errno == EINTR)
            continue;
        more = size < 0 ? -errno : read_dump(t, data, (size_t)size);
    }
    free(data);
    return more;
}

static int find_defaults(const struct table *t) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    struct timeval limit = {.tv_sec = DUMP_TIMEOUT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    int err = request_dump(fd);
    if (!err)
        err = receive_dump(t, fd);
    close(fd);
    return err;
}

/* -- interfaces ---------------------------------------------------------------------------- */

/* An IPv4 address may carry a label of its own ("eth0:1"): the interface is what stands before it.
 */
static void copy_name(char name[IF_NAMESIZE], const char *label) {
    size_t len = strcspn(label, ":");
    if (len >= IF_NAMESIZE)
        len = IF_NAMESIZE - 1;
    memcpy(name, label, len);
    name[len] = '\0';
}

static struct netif *find(const struct table *t, const char *name) {
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->list[i].name, name) == 0)
            return &t->list[i];
    return NULL;
}

static void set_flags(struct netif *nif, unsigned flags) {
    nif->up = (flags & IFF_UP) && (flags & IFF_RUNNING);
    nif->loopback = flags & IFF_LOOPBACK;
    nif->point_to_point = flags & IFF_POINTOPOINT;
}

static struct netif *add(struct table *t, const char *name, unsigned flags) {
    struct netif *list = realloc(t->list, (size_t)(t->n + 1) * sizeof *list);
    if (!list)
        return NULL;
    t->list = list;
    struct netif *nif = &list[t->n++];
    memset(nif, 0, sizeof *nif);
    memcpy(nif->name, name, IF_NAMESIZE);
    nif->index = if_nametoindex(name);
    set_flags(nif, flags);
    return nif;
}

static int count_bits(const struct sockaddr *mask, int family) {
    const uint8_t *bytes =
        family == AF_INET6
            ? ((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr.s6_addr
            : (const uint8_t *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr;
    int bits = 0;
    for (int i = 0; i < (family == AF_INET6 ? 16 : 4); i++)
        bits += __builtin_popcount(bytes[i]);
    return bits;
}

static int add_addr(struct netif *nif, const struct ifaddrs *entry) {
    int family = entry->ifa_addr->sa_family;
    struct netif_addr *addrs = realloc(nif->addrs, (size_t)(nif->naddrs + 1) * sizeof *addrs);
    if (!addrs)
        return -ENOMEM;
    nif->addrs = addrs;
    struct netif_addr *a = &addrs[nif->naddrs++];
    memset(a, 0, sizeof *a);
    a->addr.len = family == AF_INET6 ? sizeof a->addr.v6 : sizeof a->addr.v4;
    memcpy(&a->addr.any, entry->ifa_addr, a->addr.len);
    inet_set_port(&a->addr, 0);
    int all = family == AF_INET6 ? 128 : 32;
    a->prefix = entry->ifa_netmask ? count_bits(entry->ifa_netmask, family) : all;
    return 0;
}

static int take(struct table *t, const struct ifaddrs *entry) {
    char name[IF_NAMESIZE];
    copy_name(name, entry->ifa_name);
    struct netif *nif = find(t, name);
    if (!nif && !(nif = add(t, name, entry->ifa_flags)))
        return -ENOMEM;
    int family = entry->ifa_addr ? entry->ifa_addr->sa_family : AF_UNSPEC;
    return family == AF_INET || family == AF_INET6 ? add_addr(nif, entry) : 0;
}

static int take_all(struct table *t) {
    struct ifaddrs *entries;
    if (getifaddrs(&entries) < 0)
        return -errno;
    int err = 0;
    for (const struct ifaddrs *entry = entries; entry && !err; entry = entry->ifa_next)
        err = take(t, entry);
    freeifaddrs(entries);
    return err;
}

static void find_mtus(const struct table *t) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    for (int i = 0; i < t->n; i++) {
        struct ifreq request = {0};
        memcpy(request.ifr_name, t->list[i].name, IF_NAMESIZE);
        if (ioctl(fd, SIOCGIFMTU, &request) == 0)
            t->list[i].mtu = request.ifr_mtu;
    }
    close(fd);
}

static int by_index(const void *a, const void *b) {
    unsigned x = ((const struct netif *)a)->index, y = ((const struct netif *)b)->index;
    return (x > y) - (x < y);
}

int netif_list(struct netif **list) {
    struct table t = {0};
    int err = take_all(&t);
    if (!err)
        err = find_defaults(&t);
    if (err) {
        netif_free(t.list, t.n);
        *list = NULL;
        return err;
    }
    find_mtus(&t);
    if (t.n)
        qsort(t.list, (size_t)t.n, sizeof *t.list, by_index);
    *list = t.list;
    return t.n;
}

void netif_free(struct netif *list, int n) {
    for (int i = 0; i < n; i++)
        free(list[i].addrs);
    free(list);
}

/* An address with a scope is on that link only. */
static bool is_on(const struct netif *nif, const struct inet_addr *addr) {
    if (addr->any.sa_family == AF_INET6 && addr->v6.sin6_scope_id &&
        addr->v6.sin6_scope_id != nif->index)
        return false;
    for (int i = 0; i < nif->naddrs; i++) {
        const struct netif_addr *a = &nif->addrs[i];
        if (a->prefix > 0 && inet_same_subnet(&a->addr, addr, a->prefix))
            return true;
    }
    return false;
}

const struct netif *netif_on_link(const struct netif *list, int n, const struct inet_addr *addr) {
    for (int i = 0; i < n; i++)
        if (list[i].up && is_on(&list[i], addr))
            return &list[i];
    return NULL;
}
