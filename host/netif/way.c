#include "host/netif/way.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "host/netif/netlink.h"

#define ANY_PORT 9 /* discard: nothing is sent, and port 0 is refused by some kernels */

int netif_source(const struct inet_addr *to, struct inet_addr *source) {
    struct inet_addr target = *to;
    int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    inet_set_port(&target, ANY_PORT);
    *source = (struct inet_addr){.len = sizeof source->v6};
    int err =
        connect(fd, &target.any, target.len) < 0 || getsockname(fd, &source->any, &source->len) < 0
            ? -errno
            : 0;
    inet_set_port(source, 0);
    close(fd);
    return err;
}

static size_t ip_size(const struct inet_addr *addr) {
    return addr->any.sa_family == AF_INET6 ? 16 : 4;
}

static void put_ip(struct nlmsghdr *head, int type, const struct inet_addr *addr) {
    size_t size = ip_size(addr);
    struct rtattr *attr = (struct rtattr *)((char *)head + NLMSG_ALIGN(head->nlmsg_len));
    attr->rta_type = (uint16_t)type;
    attr->rta_len = (uint16_t)RTA_LENGTH(size);
    memcpy(RTA_DATA(attr),
           size == 16 ? (const void *)&addr->v6.sin6_addr : (const void *)&addr->v4.sin_addr, size);
    head->nlmsg_len = NLMSG_ALIGN(head->nlmsg_len) + RTA_ALIGN(attr->rta_len);
}

static int take_route(void *arg, const struct nlmsghdr *head) {
    const struct rtmsg *route = NLMSG_DATA(head);
    *(int *)arg = (int)netlink_u32(netlink_find(RTM_RTA(route), (int)RTM_PAYLOAD(head), RTA_OIF));
    return 0;
}

int netif_interface(const struct inet_addr *to, const struct inet_addr *source) {
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
        char attrs[2 * RTA_SPACE(16)];
    } request = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)),
                 .nlmsg_type = RTM_GETROUTE,
                 .nlmsg_flags = NLM_F_REQUEST},
        .route = {.rtm_family = (unsigned char)to->any.sa_family,
                  .rtm_dst_len = (unsigned char)(8 * ip_size(to)),
                  .rtm_src_len = (unsigned char)(8 * ip_size(source))},
    };
    int index = 0, fd = netlink_open();
    if (fd < 0)
        return fd;
    put_ip(&request.head, RTA_DST, to);
    put_ip(&request.head, RTA_SRC, source);
    int err = netlink_ask(fd, &request.head, take_route, &index);
    close(fd);
    return err ? err : index ? index : -ENETUNREACH;
}
