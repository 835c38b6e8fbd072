/*
 * The yardstick for a pipe's throughput: the same transfer by plain blocking sockets.
 *
 *   blocking receive           prints its port; then, at the end, "BYTES SECONDS"
 *   blocking send PORT BYTES   in writes of 64 KiB
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (64 * 1024)

static char block[BLOCK];

static int check(int result, const char *call) {
    if (result >= 0)
        return result;
    perror(call);
    exit(EXIT_FAILURE);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return addr;
}

static int open_socket(void) {
    return check(socket(AF_INET, SOCK_STREAM, 0), "socket");
}

static int accept_one(void) {
    struct sockaddr_in addr = loopback(0);
    socklen_t len = sizeof addr;
    int listener = open_socket();
    check(bind(listener, (struct sockaddr *)&addr, len), "bind");
    check(listen(listener, 1), "listen");
    check(getsockname(listener, (struct sockaddr *)&addr, &len), "getsockname");
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    return check(accept(listener, NULL, NULL), "accept");
}

static void receive_all(void) {
    int fd = accept_one();
    double started = now();
    long long total = 0;
    ssize_t n;
    while ((n = check((int)read(fd, block, BLOCK), "read")) > 0)
        total += n;
    printf("%lld %.9f\n", total, now() - started);
}

static void send_all(int port, long long total) {
    struct sockaddr_in addr = loopback(port);
    int fd = open_socket(), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* as every pipe has it */
    check(connect(fd, (struct sockaddr *)&addr, sizeof addr), "connect");
    memset(block, 'x', BLOCK);
    while (total > 0)
        total -= check((int)write(fd, block, BLOCK), "write");
    close(fd);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "receive") == 0)
        receive_all();
    else if (argc == 4 && strcmp(argv[1], "send") == 0)
        send_all(atoi(argv[2]), atoll(argv[3]));
    else
        return EXIT_FAILURE;
    return EXIT_SUCCESS;
}
