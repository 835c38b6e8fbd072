/*
 * paho's receiving thread polls for reading alone, a second at a time, so a TCP connection that is
 * made wakes nobody. What does wake it is something to read on any of its connections. So one of
 * its handles is connected to this process, to a broker that consists of two packets: CONNACK, sent
 * before it is asked for, and PINGRESP, the nudge. After a second without anything to read the
 * thread sleeps for 100 ms and hears nothing meanwhile, so it is nudged before that, too. Nothing
 * here holds a reference to the loop.
 */
#include "host/mqtt/nudge.h"

#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/loop.h"
#include "host/mqtt/wake.h"

#define FIRST_S 0.002
#define AWAKE_S 0.8 /* less than the second that paho polls for */
#define GROWTH 1.5  /* so that paho is late by half the time it had to wait anyway */

static const unsigned char CONNACK[] = {0x20, 2, 0, 0}; /* MQTT 3.1.1 §3.2 */
static const unsigned char PINGRESP[] = {0xd0, 0};      /* §3.13 */

static ev_io listener, connection;
static ev_timer timer;
static int nudged;      /* how many begins without an end */
static double interval; /* between nudges, while there are */

static void start_io(ev_io *w, void (*cb)(struct ev_loop *, ev_io *, int), int fd) {
    ev_io_init(w, cb, fd, EV_READ);
    ev_io_start(loop_get(), w);
    ev_unref(loop_get());
}

static void stop_io(ev_io *w) {
    if (!ev_is_active(w))
        return;
    ev_ref(loop_get());
    ev_io_stop(loop_get(), w);
    close(w->fd);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events) {
    (void)loop, (void)events;
    char ignored[256];
    ssize_t n = recv(w->fd, ignored, sizeof ignored, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        stop_io(w);
}

static void on_connection(struct ev_loop *loop, ev_io *w, int events) {
    (void)loop, (void)events;
    int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    stop_io(w);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    send(fd, CONNACK, sizeof CONNACK, MSG_NOSIGNAL);
    start_io(&connection, on_readable, fd);
    mqtt_wake();
}

static int listen_on_loopback(int fd) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    if (bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, 1) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        return -errno;
    return ntohs(addr.sin_port);
}

static void stop_timer(void) {
    if (!ev_is_active(&timer) && !ev_is_pending(&timer))
        return;
    ev_ref(loop_get());
    ev_timer_stop(loop_get(), &timer);
}

/* The timer does not keep the loop alive either. */
static void start_timer(double after) {
    stop_timer();
    ev_now_update(loop_get());
    ev_timer_set(&timer, after, 0);
    ev_timer_start(loop_get(), &timer);
    ev_unref(loop_get());
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events) {
    (void)w, (void)events;
    ev_ref(loop); /* it ran out */
    if (nudged > 0)
        mqtt_wake();
    if (ev_is_active(&connection))
        send(connection.fd, PINGRESP, sizeof PINGRESP, MSG_NOSIGNAL);
    interval *= GROWTH;
    start_timer(nudged > 0 && interval < AWAKE_S ? interval : AWAKE_S);
}

void mqtt_nudge_begin(void) {
    nudged++;
    interval = FIRST_S;
    start_timer(interval);
}

void mqtt_nudge_end(void) {
    nudged--;
}

int mqtt_nudge_open(void) {
    mqtt_nudge_close();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int port = listen_on_loopback(fd);
    if (port < 0)
        close(fd);
    else
        start_io(&listener, on_connection, fd);
    ev_init(&timer, on_timer);
    return port;
}

void mqtt_nudge_close(void) {
    stop_timer();
    stop_io(&listener);
    stop_io(&connection);
}
