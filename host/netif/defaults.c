/* From a dump over rtnetlink: only it tells the metric, both families and multipath routes alike.
 */
#include "host/netif/defaults.h"

#include <string.h>

#include "host/netif/netlink.h"

#define METRIC6_NONE 1024 /* what the kernel gives an IPv6 route without a metric */

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

static void mark(const struct netif_table *t, int family, int index, uint32_t metric,
                 const struct rtattr *gateway) {
    struct netif *nif = netif_table_at(t, (unsigned)index);
    if (!nif)
        return;
    struct netif_default *d = family == AF_INET6 ? &nif->default6 : &nif->default4;
    if (d->present && d->metric <= metric)
        return;
    d->present = true;
    d->metric = metric;
    set_gateway(&d->gateway, family, index, gateway);
}

static void mark_hops(const struct netif_table *t, int family, const struct rtattr *attr,
                      uint32_t metric) {
    const struct rtnexthop *hop = RTA_DATA(attr);
    int left = (int)RTA_PAYLOAD(attr);
    for (; RTNH_OK(hop, left); left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop))
        mark(t, family, hop->rtnh_ifindex, metric,
             netlink_find(RTNH_DATA(hop), hop->rtnh_len - (int)RTNH_LENGTH(0), RTA_GATEWAY));
}

static int take_route(void *arg, const struct nlmsghdr *head) {
    const struct netif_table *t = arg;
    const struct rtmsg *route = NLMSG_DATA(head);
    const struct rtattr *first = RTM_RTA(route);
    int left = (int)RTM_PAYLOAD(head);
    if (route->rtm_dst_len || route->rtm_type != RTN_UNICAST || route->rtm_table != RT_TABLE_MAIN)
        return 0;
    int index = (int)netlink_u32(netlink_find(first, left, RTA_OIF));
    uint32_t metric = netlink_u32(netlink_find(first, left, RTA_PRIORITY));
    const struct rtattr *hops = netlink_find(first, left, RTA_MULTIPATH);
    if (route->rtm_family == AF_INET6 && metric == 0)
        metric = METRIC6_NONE;
    if (index)
        mark(t, route->rtm_family, index, metric, netlink_find(first, left, RTA_GATEWAY));
    if (hops)
        mark_hops(t, route->rtm_family, hops, metric);
    return 0;
}

int netif_find_defaults(struct netif_table *t, int fd) {
    return netlink_dump(fd, RTM_GETROUTE, take_route, t);
}
