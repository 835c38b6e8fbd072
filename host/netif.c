/*
 * Links, addresses and routes come from dumps over rtnetlink; where that is denied, from what is
 * left. Everything is a snapshot and nothing is kept: interfaces come and go.
 */
#include "host/netif.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/netif/defaults.h"
#include "host/netif/netlink.h"
#include "host/netif/plain.h"

/* -- links --------------------------------------------------------------------------------- */

static void copy_text(char *to, size_t size, const struct rtattr *attr) {
    size_t len = strnlen(RTA_DATA(attr), RTA_PAYLOAD(attr));
    if (len >= size)
        len = size - 1;
    memcpy(to, RTA_DATA(attr), len);
    to[len] = '\0';
}

static void take_kind(struct netif *nif, const struct rtattr *about) {
    if (!about)
        return;
    const struct rtattr *kind =
        netlink_find(RTA_DATA(about), (int)RTA_PAYLOAD(about), IFLA_INFO_KIND);
    if (kind)
        copy_text(nif->kind, sizeof nif->kind, kind);
}

static int take_link(void *arg, const struct nlmsghdr *head) {
    const struct ifinfomsg *link = NLMSG_DATA(head);
    const struct rtattr *first = IFLA_RTA(link);
    int left = (int)IFLA_PAYLOAD(head);
    const struct rtattr *name = netlink_find(first, left, IFLA_IFNAME);
    char text[IF_NAMESIZE];
    if (head->nlmsg_type != RTM_NEWLINK || link->ifi_family != AF_UNSPEC || !name)
        return 0;
    copy_text(text, sizeof text, name);
    struct netif *nif = netif_table_add(arg, text, (unsigned)link->ifi_index);
    if (!nif)
        return -ENOMEM;
    netif_set_flags(nif, link->ifi_flags);
    nif->mtu = (int)netlink_u32(netlink_find(first, left, IFLA_MTU));
    nif->master = netlink_u32(netlink_find(first, left, IFLA_MASTER));
    take_kind(nif, netlink_find(first, left, IFLA_LINKINFO));
    return 0;
}

static bool is_one_of(const char *kind, const char *const *kinds) {
    for (; *kinds; kinds++)
        if (strcmp(kind, *kinds) == 0)
            return true;
    return false;
}

/* A bridge leads out when one of its ports does; those of containers and guests do not. */
static void judge_links(const struct netif_table *t) {
    static const char *const INNER[] = {"dummy", "ifb", "nlmon", "vcan", "bridge", NULL};
    static const char *const GUESTS[] = {"veth", "tun", "dummy", NULL};
    for (int i = 0; i < t->n; i++)
        t->list[i].inner = is_one_of(t->list[i].kind, INNER);
    for (int i = 0; i < t->n; i++) {
        const struct netif *port = &t->list[i];
        struct netif *bridge = port->master ? netif_table_at(t, port->master) : NULL;
        if (bridge && strcmp(bridge->kind, "bridge") == 0 && !is_one_of(port->kind, GUESTS))
            bridge->inner = false;
    }
}

/* -- addresses ----------------------------------------------------------------------------- */

static int take_addr(void *arg, const struct nlmsghdr *head) {
    const struct ifaddrmsg *about = NLMSG_DATA(head);
    const struct rtattr *first = IFA_RTA(about);
    int left = (int)IFA_PAYLOAD(head);
    struct netif *nif = netif_table_at(arg, about->ifa_index);
    size_t size = about->ifa_family == AF_INET6 ? 16 : 4;
    const struct rtattr *ip = netlink_find(first, left, IFA_LOCAL);
    if (!ip)
        ip = netlink_find(first, left, IFA_ADDRESS);
    bool is_ip = about->ifa_family == AF_INET || about->ifa_family == AF_INET6;
    if (head->nlmsg_type != RTM_NEWADDR || !nif || !is_ip || !ip || RTA_PAYLOAD(ip) != size)
        return 0;
    struct netif_addr *a =
        netif_add_addr(nif, about->ifa_family, RTA_DATA(ip), about->ifa_prefixlen);
    if (!a)
        return -ENOMEM;
    const struct rtattr *flags = netlink_find(first, left, IFA_FLAGS);
    netif_set_addr_flags(a, flags ? netlink_u32(flags) : about->ifa_flags);
    return 0;
}

/* -- all ----------------------------------------------------------------------------------- */

static int list_all(struct netif_table *t, int fd) {
    int err = netlink_dump(fd, RTM_GETLINK, take_link, t);
    netif_table_sort(t);
    if (err)
        return err;
    judge_links(t);
    err = netlink_dump(fd, RTM_GETADDR, take_addr, t);
    return err ? err : netif_find_defaults(t, fd);
}

static bool is_denial(int err) {
    return err == -EAFNOSUPPORT || err == -EPERM || err == -EACCES || err == -EPROTONOSUPPORT;
}

int netif_list(struct netif **list) {
    struct netif_table t = {0};
    int fd = netlink_open();
    int err = fd < 0 ? fd : list_all(&t, fd);
    if (fd >= 0)
        close(fd);
    if (is_denial(err)) {
        netif_table_clear(&t);
        err = netif_list_plain(&t);
    }
    if (err)
        netif_table_clear(&t);
    *list = t.list;
    return err ? err : t.n;
}

void netif_free(struct netif *list, int n) {
    netif_table_clear(&(struct netif_table){list, n});
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
