/*
 * paho is linked statically, with seven of its calls into the C library renamed (see the Makefile):
 * they come here. So paho is given the connection that it speaks MQTT on, and its threads wait no
 * longer than there is nothing to do. Each workaround names the report of the fault, and is a plain
 * call where the paho that is linked has the cure.
 *
 * Why this way: 1.3.12 is not told of a new connection while it polls the others, for up to a
 * second, and sleeps for 100 ms when a poll was in vain. From outside one can only write to a
 * connection of its own to ourselves all the time, and interrupt its sleep by signals, which took
 * more code, knew more of paho, and came online later: after 192 ms instead of 122 (with TLS 361
 * and 206) at 20 ms one way.
 */
#include "host/mqtt/paho/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Major, minor and patch level, two digits each. 1.3.12 says of itself that it is 1.3.11. */
#ifndef PAHO_VERSION
#define PAHO_VERSION 10311
#endif

#define IDLE_MS 1000 /* between two looks at nothing */

/* Renamed, so nobody has declared them. */
int paho_socket(int domain, int type, int protocol);
int paho_connect(int fd, const struct sockaddr *addr, socklen_t len);
char *paho_getenv(const char *name);
int paho_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int paho_usleep(useconds_t us);
int paho_pthread_cond_signal(pthread_cond_t *cond);
int paho_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                const struct timespec *until);

/* -- the receiving thread's waits ------------------------------------------------------------ */

#if PAHO_VERSION < 10316

static int door; /* where it is woken */

/* When the program is loaded: whoever counts descriptors later finds no new one. */
__attribute__((constructor)) static void open_door(void) {
    door = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static void wake(void) {
    eventfd_write(door, 1);
}

/* How the thread's last poll has ended; no other thread of paho's polls or sleeps. */
static enum { NONE, IN_VAIN, READY } polled;

/* It polls for a second at a time, and only the connections that were there when it began.
 * https://github.com/eclipse-paho/paho.mqtt.c/issues/1430 */
int paho_poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    if (timeout_ms == 0)
        return poll(fds, count, 0);
    struct pollfd *all = malloc((count + 1) * sizeof *all);
    if (!all)
        return poll(fds, count, timeout_ms);
    memcpy(all, fds, count * sizeof *all);
    all[count] = (struct pollfd){.fd = door, .events = POLLIN};
    int ready = poll(all, count + 1, timeout_ms);
    if (ready > 0 && all[count].revents) {
        eventfd_read(door, &(eventfd_t){0});
        ready--;
    }
    memcpy(fds, all, count * sizeof *all);
    free(all);
    polled = ready > 0 ? READY : IN_VAIN;
    return ready;
}

/* It sleeps for 100 ms when a poll has found nothing to do, or there was nothing to poll.
 * https://github.com/eclipse-paho/paho.mqtt.c/pull/1458 */
int paho_usleep(useconds_t us) {
    struct pollfd p = {.fd = door, .events = POLLIN};
    int wait_ms = polled == NONE ? IDLE_MS : (int)(us / 1000);
    if (polled != IN_VAIN && poll(&p, 1, wait_ms) > 0)
        eventfd_read(door, &(eventfd_t){0});
    polled = NONE;
    return 0;
}

#else

static void wake(void) {
}

int paho_poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    return poll(fds, count, timeout_ms);
}

int paho_usleep(useconds_t us) {
    return usleep(us);
}

#endif

/* -- the connection -------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int last_port; /* under the lock, as the list */
static struct offer {
    struct offer *next;
    int port, fd;
} * offers;

int paho_calls_offer(int fd) {
    struct offer *offer = malloc(sizeof *offer);
    if (!offer)
        abort();
    pthread_mutex_lock(&lock);
    last_port = last_port % UINT16_MAX + 1;
    *offer = (struct offer){offers, last_port, fd};
    offers = offer;
    pthread_mutex_unlock(&lock);
    return offer->port;
}

/* The descriptor; -1 when there is none (any more). */
static int take(int port) {
    pthread_mutex_lock(&lock);
    struct offer **at = &offers;
    while (*at && (*at)->port != port)
        at = &(*at)->next;
    struct offer *offer = *at;
    if (offer)
        *at = offer->next;
    pthread_mutex_unlock(&lock);
    int fd = offer ? offer->fd : -1;
    free(offer);
    return fd;
}

void paho_calls_withdraw(int port) {
    int fd = take(port);
    if (fd >= 0)
        close(fd);
}

/* Numbers in turn. paho finds the connection that a failure belongs to by its descriptor, after it
 * has let go of its lock: a new one of the same number, opened meanwhile, was closed in its place.
 */
#define NUMBER_MIN 96
#define NUMBERS 64

int paho_socket(int domain, int type, int protocol) {
    static atomic_uint turn;
    int fd = socket(domain, type | SOCK_CLOEXEC, protocol);
    if (fd < 0)
        return fd;
    int other =
        fcntl(fd, F_DUPFD_CLOEXEC, NUMBER_MIN + (int)(atomic_fetch_add(&turn, 1) % NUMBERS));
    if (other < 0)
        return fd; /* there may be fewer descriptors than that */
    close(fd);
    return other;
}

/* The socket becomes what was offered, and is connected at once. */
int paho_connect(int fd, const struct sockaddr *addr, socklen_t len) {
    struct sockaddr_in v4 = {0};
    memcpy(&v4, addr, len < sizeof v4 ? len : sizeof v4);
    int offered = v4.sin_family == AF_INET ? take(ntohs(v4.sin_port)) : -1;
    if (offered < 0) {
        errno = ECONNREFUSED;
        return -1;
    }
    int result = dup3(offered, fd, O_CLOEXEC);
    close(offered);
    wake();
    return result < 0 ? -1 : 0;
}

/* Since 1.3.10 http_proxy is the way to every broker, and no option says otherwise.
 * https://github.com/eclipse-paho/paho.mqtt.c/issues/1344, with an exception for addresses in
 * no_proxy in 1.3.14 (issue 1473): ours is in nobody's, so this stays. */
char *paho_getenv(const char *name) {
    return strcmp(name, "http_proxy") == 0 ? NULL : getenv(name);
}

/* -- the sending thread's -------------------------------------------------------------------- */

/* A signal that comes between its look at the queue and its wait was lost: up to a second went by.
 * https://github.com/eclipse-paho/paho.mqtt.c/issues/1039; there is one condition in all of paho,
 * and both calls are made under its mutex. */
static bool signalled;

int paho_pthread_cond_signal(pthread_cond_t *cond) {
    signalled = true;
    return pthread_cond_signal(cond);
}

int paho_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                const struct timespec *until) {
    int err = signalled ? 0 : pthread_cond_timedwait(cond, mutex, until);
    signalled = false;
    return err;
}
