/*
 * When SYNs leave, by the kernel's timestamps, and the yardstick for their lateness. All instants
 * are seconds of CLOCK_MONOTONIC.
 *
 *   syns capture PORT       prints "ready"; then "SOURCE-PORT INSTANT" for each SYN that leaves lo
 *                           for PORT, until its input ends
 *   syns sleep PORT COUNT   sends so many, each after a clock_nanosleep() to a planned instant;
 *                           prints "SOURCE-PORT PLANNED" for each
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_ether.h>

#define AHEAD_NS 8000000L /* of each planned instant */
#define NS 1000000000L
#define READINGS 1000

static int check(int result, const char *call) {
    if (result >= 0)
        return result;
    perror(call);
    exit(EXIT_FAILURE);
}

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* -- capture --------------------------------------------------------------------------------- */

static int open_tap(void) {
    struct sockaddr_ll lo = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_ALL), /* others see no departures */
                             .sll_ifindex = (int)if_nametoindex("lo")};
    int fd = check(socket(AF_PACKET, SOCK_DGRAM, 0), "socket"), on = 1, room = 4 << 20;
    check(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on), "SO_TIMESTAMPNS");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    check(bind(fd, (struct sockaddr *)&lo, sizeof lo), "bind");
    return fd;
}

static double stamp_of(struct msghdr *m) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
        }
    return 0;
}

static void print_syn(const char *packet, ssize_t len, int port, double stamp) {
    struct iphdr ip;
    struct tcphdr tcp;
    if (len < (ssize_t)(sizeof ip + sizeof tcp))
        return;
    memcpy(&ip, packet, sizeof ip);
    if (ip.version != 4 || ip.protocol != IPPROTO_TCP || len < ip.ihl * 4 + (ssize_t)sizeof tcp)
        return;
    memcpy(&tcp, packet + ip.ihl * 4, sizeof tcp);
    if (tcp.syn && !tcp.ack && ntohs(tcp.dest) == port)
        printf("%d %.9f\n", ntohs(tcp.source), stamp);
}

/* By how much CLOCK_REALTIME, the stamps' clock, is ahead of CLOCK_MONOTONIC: they tick alike, so
 * once is enough, and the pair of readings that was interrupted least. */
static double find_ahead(void) {
    double ahead = 0, width = 1;
    for (int i = 0; i < READINGS; i++) {
        double before = now(CLOCK_MONOTONIC), real = now(CLOCK_REALTIME);
        double after = now(CLOCK_MONOTONIC);
        if (after - before < width) {
            width = after - before;
            ahead = real - (before + after) / 2;
        }
    }
    return ahead;
}

static void receive(int fd, int port, double ahead) {
    char packet[256], control[256];
    struct sockaddr_ll from;
    struct iovec data = {packet, sizeof packet};
    struct msghdr m = {.msg_name = &from,
                       .msg_namelen = sizeof from,
                       .msg_iov = &data,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
    if (n > 0 && from.sll_pkttype == PACKET_OUTGOING)
        print_syn(packet, n, port, stamp_of(&m) - ahead);
}

static void capture(int port) {
    int fd = open_tap();
    double ahead = find_ahead();
    struct pollfd ready[] = {{fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    puts("ready");
    fflush(stdout);
    while (poll(ready, 2, -1) > 0) {
        if (ready[0].revents)
            receive(fd, port, ahead);
        else
            return;
    }
}

/* -- sleep ----------------------------------------------------------------------------------- */

static struct timespec ahead_of_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += AHEAD_NS;
    t.tv_sec += t.tv_nsec / NS;
    t.tv_nsec %= NS;
    return t;
}

static void send_one(int port) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    socklen_t len = sizeof from;
    int fd = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    from.sin_addr.s_addr = to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)port);
    check(bind(fd, (struct sockaddr *)&from, sizeof from), "bind");
    check(getsockname(fd, (struct sockaddr *)&from, &len), "getsockname");
    struct timespec at = ahead_of_now();
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    connect(fd, (struct sockaddr *)&to, sizeof to);
    printf("%d %ld.%09ld\n", ntohs(from.sin_port), (long)at.tv_sec, at.tv_nsec);
    close(fd);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "capture") == 0) {
        capture(atoi(argv[2]));
    } else if (argc == 4 && strcmp(argv[1], "sleep") == 0) {
        for (int i = atoi(argv[3]); i > 0; i--)
            send_one(atoi(argv[2]));
    } else {
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
