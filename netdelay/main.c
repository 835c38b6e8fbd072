/*
 * p2pd-netdelay QUEUE: makes the packets of a netfilter queue late, or loses them.
 *
 * It is a router's view of the lines that end there: each line has a time up (from its interface to
 * the router), one down, a jitter and a loss. A kernel without netem needs no more than this. Lines
 * of standard input set them while it runs, each answered by "ok" or "error: ..."; the end of
 * standard input is its own end. "ready" is said first.
 *
 * One thread sleeps until a packet comes or is due. Sleeps are exact (PR_SET_TIMERSLACK), and where
 * that is permitted it runs before ordinary programs, so that a busy machine does not add to the
 * delays.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "netdelay/links.h"
#include "netdelay/schedule.h"

#define NS_PER_S 1000000000LL
#define NS_PER_US 1000LL
#define COPIED_BYTES 64 /* of a packet: enough for its addresses and ports */
#define QUEUE_PACKETS 65536
#define SOCKET_BYTES (8 << 20)
#define RECEIVED_AT_ONCE 64
#define LINE_BYTES 256

struct input {
    char line[LINE_BYTES];
    size_t len;
};

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* -- packets ----------------------------------------------------------------------------------- */

static uint32_t hash(uint32_t seed, const unsigned char *bytes, int len) {
    for (int i = 0; i < len; i++)
        seed = (seed ^ bytes[i]) * 16777619U; /* FNV-1a */
    return seed;
}

/* Addresses, protocol and, for UDP and TCP, ports. */
static uint32_t flow_of(const unsigned char *packet, int len) {
    uint32_t flow = 2166136261U;
    int header;
    unsigned char protocol;
    if (len >= 20 && packet[0] >> 4 == 4) {
        header = (packet[0] & 15) * 4;
        protocol = packet[9];
        flow = hash(flow, packet + 12, 8);
    } else if (len >= 40 && packet[0] >> 4 == 6) {
        header = 40;
        protocol = packet[6];
        flow = hash(flow, packet + 8, 32);
    } else {
        return flow;
    }
    flow = hash(flow, &protocol, 1);
    bool has_ports = protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
    return has_ports && len >= header + 4 ? hash(flow, packet + header, 4) : flow;
}

static int on_packet(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data,
                     void *arg) {
    (void)message;
    (void)arg;
    unsigned char *bytes;
    struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);
    if (!header)
        return 0;
    uint32_t id = ntohl(header->packet_id);
    int64_t delay_us = links_draw(nfq_get_indev(data), nfq_get_outdev(data));
    if (delay_us < 0)
        return nfq_set_verdict(queue, id, NF_DROP, 0, NULL);
    int len = nfq_get_payload(data, &bytes);
    uint32_t flow = len > 0 ? flow_of(bytes, len) : 0;
    if (schedule_add(id, now_ns() + delay_us * NS_PER_US, flow) < 0)
        return nfq_set_verdict(queue, id, NF_DROP, 0, NULL);
    return 0;
}

static void release_due(struct nfq_q_handle *queue) {
    const struct packet *first;
    while ((first = schedule_first()) && first->due_ns <= now_ns()) {
        nfq_set_verdict(queue, first->id, NF_ACCEPT, 0, NULL);
        schedule_remove_first();
    }
}

/* -- the queue --------------------------------------------------------------------------------- */

static int fail(const char *call) {
    printf("error: %s: %s\n", call, strerror(errno));
    return EXIT_FAILURE;
}

/* Overruns count as losses: ENOBUFS tells nothing that could be mended. */
static void tune_socket(struct nfq_handle *handle) {
    int on = 1;
    nfnl_rcvbufsiz(nfq_nfnlh(handle), SOCKET_BYTES);
    setsockopt(nfq_fd(handle), SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof on);
}

static struct nfq_q_handle *open_queue(struct nfq_handle *handle, uint16_t number) {
    struct nfq_q_handle *queue = nfq_create_queue(handle, number, on_packet, NULL);
    if (!queue)
        return NULL;
    if (nfq_set_mode(queue, NFQNL_COPY_PACKET, COPIED_BYTES) < 0)
        return NULL;
    nfq_set_queue_maxlen(queue, QUEUE_PACKETS);
    nfq_set_queue_flags(queue, NFQA_CFG_F_GSO, NFQA_CFG_F_GSO);
    tune_socket(handle);
    return queue;
}

/* What has come, but not so much that those that are due wait; false when the queue is gone. */
static bool receive(struct nfq_handle *handle) {
    static char buffer[1 << 16] __attribute__((aligned(8)));
    for (int i = 0; i < RECEIVED_AT_ONCE; i++) {
        ssize_t n = recv(nfq_fd(handle), buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR || errno == ENOBUFS;
        nfq_handle_packet(handle, buffer, (int)n);
    }
    return true;
}

/* -- commands ---------------------------------------------------------------------------------- */

static void obey(char *line) {
    const char *fault = links_configure(line);
    if (fault)
        printf("error: %s\n", fault);
    else
        puts("ok");
}

/* Takes whole lines out of the input; one that is too long is cut. */
static void take_lines(struct input *input) {
    char *end;
    while ((end = memchr(input->line, '\n', input->len))) {
        *end++ = '\0';
        obey(input->line);
        input->len -= (size_t)(end - input->line);
        memmove(input->line, end, input->len);
    }
    if (input->len == sizeof input->line)
        input->len = 0;
}

/* False at the end of the input. */
static bool read_input(struct input *input) {
    ssize_t n = read(STDIN_FILENO, input->line + input->len, sizeof input->line - input->len);
    if (n <= 0)
        return n < 0 && (errno == EINTR || errno == EAGAIN);
    input->len += (size_t)n;
    take_lines(input);
    return true;
}

/* -- the loop ---------------------------------------------------------------------------------- */

static void wait_for(struct pollfd fds[2]) {
    const struct packet *first = schedule_first();
    int64_t left = first ? first->due_ns - now_ns() : 0;
    if (left < 0)
        left = 0;
    struct timespec timeout = {left / NS_PER_S, left % NS_PER_S};
    if (ppoll(fds, 2, first ? &timeout : NULL, NULL) <= 0)
        fds[0].revents = fds[1].revents = 0;
}

static void run(struct nfq_handle *handle, struct nfq_q_handle *queue) {
    struct input input = {.len = 0};
    struct pollfd fds[] = {{.fd = nfq_fd(handle), .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    for (bool open = true; open;) {
        wait_for(fds);
        if (fds[0].revents)
            open = receive(handle);
        release_due(queue);
        if (fds[1].revents)
            open = open && read_input(&input);
    }
}

static void run_first(void) {
    struct sched_param priority = {.sched_priority = 1};
    prctl(PR_SET_TIMERSLACK, 1UL);
    sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority);
}

int main(int argc, char **argv) {
    char *end = NULL;
    long number = argc == 2 ? strtol(argv[1], &end, 10) : -1;
    if (!end || *end != '\0' || number < 0 || number > UINT16_MAX) {
        fputs("usage: p2pd-netdelay QUEUE\n"
              "delays the packets of an nftables queue; reads INTERFACE UP_US DOWN_US JITTER_US "
              "LOSS_PPM\n",
              stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    srand48(now_ns());
    struct nfq_handle *handle = nfq_open();
    if (!handle)
        return fail("nfq_open");
    struct nfq_q_handle *queue = open_queue(handle, (uint16_t)number);
    if (!queue)
        return fail("nfq_create_queue");
    run_first();
    puts("ready");
    run(handle, queue);
    nfq_destroy_queue(queue);
    nfq_close(handle);
    return EXIT_SUCCESS;
}
