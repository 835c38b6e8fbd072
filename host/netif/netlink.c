#include "host/netif/netlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_SIZE 32768 /* bytes; the kernel fills at most this much a message */
#define TIMEOUT_S 1       /* the kernel answers at once or not at all */

typedef int taker(void *arg, const struct nlmsghdr *head);

int netlink_open(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    struct timeval limit = {.tv_sec = TIMEOUT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

/* 1 while more is to come, 0 at the end, -errno. */
static int read_answer(const char *data, size_t size, taker *take, void *arg) {
    const struct nlmsghdr *head = (const struct nlmsghdr *)data;
    int left = (int)size;
    for (; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
        if (head->nlmsg_type == NLMSG_DONE)
            return 0;
        if (head->nlmsg_type == NLMSG_ERROR)
            return ((const struct nlmsgerr *)NLMSG_DATA(head))->error;
        int err = take(arg, head);
        if (err)
            return err;
        if (!(head->nlmsg_flags & NLM_F_MULTI))
            return 0;
    }
    return 1;
}

static int receive(int fd, taker *take, void *arg) {
    char *data = malloc(ANSWER_SIZE);
    int more = data ? 1 : -ENOMEM;
    while (more > 0) {
        ssize_t size = recv(fd, data, ANSWER_SIZE, 0);
        if (size < 0 && errno == EINTR)
            continue;
        more = size < 0 ? -errno : read_answer(data, (size_t)size, take, arg);
    }
    free(data);
    return more;
}

int netlink_ask(int fd, const struct nlmsghdr *request, taker *take, void *arg) {
    if (send(fd, request, request->nlmsg_len, 0) < 0)
        return -errno;
    return receive(fd, take, arg);
}

int netlink_dump(int fd, int type, taker *each, void *arg) {
    struct {
        struct nlmsghdr head;
        struct rtgenmsg all;
    } request = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
                 .nlmsg_type = (uint16_t)type,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .all = {.rtgen_family = AF_UNSPEC},
    };
    return netlink_ask(fd, &request.head, each, arg);
}

uint32_t netlink_u32(const struct rtattr *attr) {
    uint32_t value = 0;
    if (attr && RTA_PAYLOAD(attr) >= sizeof value)
        memcpy(&value, RTA_DATA(attr), sizeof value);
    return value;
}

const struct rtattr *netlink_find(const struct rtattr *attr, int left, int type) {
    for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
        if ((attr->rta_type & NLA_TYPE_MASK) == type)
            return attr;
    return NULL;
}
