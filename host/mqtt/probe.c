/*
 * Why there is a connection before paho's: paho tells no errno, tries IPv4 only where a name has
 * both families, notices a refusal up to a second late, and would be busy with brokers that are not
 * there.
 */
#include "host/mqtt/probe.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#include "host/loop.h"

static int keep_family(struct inet_addr *addrs, int n, int max, const struct addrinfo *list,
                       int family) {
    for (const struct addrinfo *a = list; a && n < max; a = a->ai_next) {
        if (a->ai_family != family)
            continue;
        addrs[n].len = a->ai_addrlen;
        memcpy(&addrs[n++].any, a->ai_addr, a->ai_addrlen);
    }
    return n;
}

int mqtt_resolve(const char *host, int port, int flags, struct inet_addr *addrs, int max) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags}, *list;
    int rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc != 0)
        return rc;
    int n = keep_family(addrs, 0, max, list, AF_INET);
    n = keep_family(addrs, n, max, list, AF_INET6);
    freeaddrinfo(list);
    for (int i = 0; i < n; i++)
        inet_set_port(&addrs[i], port);
    return n ? n : EAI_NONAME;
}

static int start_connect(const struct inet_addr *addr) {
    int fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, &addr->any, addr->len) == 0 || errno == EINPROGRESS)
        return fd;
    int err = errno;
    close(fd);
    return -err;
}

static void try_from(struct mqtt_probe *p, int at, int result) {
    for (p->at = at; p->at < p->count; p->at++) {
        result = start_connect(&p->addrs[p->at]);
        if (result < 0)
            continue;
        ev_io_set(&p->io, result, EV_WRITE);
        ev_io_start(loop_get(), &p->io);
        return;
    }
    p->on_done(p, result);
}

static void on_writable(struct ev_loop *loop, ev_io *w, int events) {
    (void)loop, (void)events;
    struct mqtt_probe *p = (struct mqtt_probe *)w;
    int err = 0;
    getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &(socklen_t){sizeof err});
    mqtt_probe_stop(p);
    if (err)
        try_from(p, p->at + 1, -err);
    else
        p->on_done(p, 0);
}

void mqtt_probe_start(struct mqtt_probe *p, const struct inet_addr *addrs, int count,
                      void (*on_done)(struct mqtt_probe *, int result)) {
    ev_init(&p->io, on_writable);
    p->addrs = addrs;
    p->count = count;
    p->on_done = on_done;
    try_from(p, 0, -EADDRNOTAVAIL);
}

void mqtt_probe_stop(struct mqtt_probe *p) {
    if (!ev_is_active(&p->io))
        return;
    ev_io_stop(loop_get(), &p->io);
    close(p->io.fd);
}
