/* Questions to the kernel over rtnetlink (RFC 3549). */
#ifndef P2PD_HOST_NETIF_NETLINK_H
#define P2PD_HOST_NETIF_NETLINK_H

#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>

/* A descriptor for the calls below, or -errno: EAFNOSUPPORT, EPERM or EACCES where it is denied. */
int netlink_open(void);

/* Every object of a kind (RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE), of all families: each() returns
 * 0, or -errno to end it. 0 or -errno. */
int netlink_dump(int fd, int type, int (*each)(void *arg, const struct nlmsghdr *head), void *arg);

/* One request of ours, and its one answer. 0 or -errno. */
int netlink_ask(int fd, const struct nlmsghdr *request,
                int (*take)(void *arg, const struct nlmsghdr *head), void *arg);

uint32_t netlink_u32(const struct rtattr *attr); /* 0 when it has none */
const struct rtattr *netlink_find(const struct rtattr *attr, int left, int type); /* or NULL */

#endif
