/* The only transport that is a descriptor; TLS and relays go on top of one or beside it. */
#include "host/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/loop.h"

struct fd_transport {
    struct transport base;
    ev_io io;
    int fd;
    bool socket, owned;
    bool blocks;      /* it could not be made non-blocking: poll(2) is asked before each call */
    size_t write_max; /* what a write may carry without blocking */
};

static struct fd_transport *self(struct transport *t) {
    return (struct fd_transport *)t;
}

static bool would_block(const struct fd_transport *f, short events) {
    struct pollfd p = {f->fd, events, 0};
    return f->blocks && poll(&p, 1, 0) == 0;
}

static ssize_t fd_read(struct transport *t, void *data, size_t len) {
    struct fd_transport *f = self(t);
    ssize_t n;
    if (would_block(f, POLLIN))
        return -EAGAIN;
    do
        n = f->socket ? recv(f->fd, data, len, MSG_DONTWAIT) : read(f->fd, data, len);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t fd_write(struct transport *t, const void *data, size_t len) {
    struct fd_transport *f = self(t);
    size_t most = len < f->write_max ? len : f->write_max;
    ssize_t n;
    if (would_block(f, POLLOUT))
        return -EAGAIN;
    do
        n = f->socket ? send(f->fd, data, most, MSG_DONTWAIT | MSG_NOSIGNAL)
                      : write(f->fd, data, most);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int fd_shutdown(struct transport *t) {
    struct fd_transport *f = self(t);
    if (f->socket)
        return shutdown(f->fd, SHUT_WR) < 0 ? -errno : 0;
    if (f->owned && (fcntl(f->fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        ev_io_stop(loop_get(), &f->io);
        close(f->fd);
        f->fd = -1;
    }
    return 0;
}

static void fd_want(struct transport *t, int events) {
    struct fd_transport *f = self(t);
    if (ev_is_active(&f->io) && (f->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(loop_get(), &f->io);
    if (!events)
        return;
    if (f->fd < 0) { /* no event would ever come: whoever tries now learns that it is closed */
        ev_feed_event(loop_get(), &f->io, events);
        loop_wakeup(); /* the loop would wait over a fed event */
        return;
    }
    ev_io_modify(&f->io, events);
    ev_io_start(loop_get(), &f->io);
}

static int fd_fd(const struct transport *t) {
    return ((const struct fd_transport *)t)->fd;
}

static int fd_detach(struct transport *t) {
    struct fd_transport *f = self(t);
    int fd = f->fd;
    ev_io_stop(loop_get(), &f->io);
    f->fd = -1;
    return fd < 0 ? -EBADF : fd;
}

static void fd_free(struct transport *t) {
    struct fd_transport *f = self(t);
    ev_io_stop(loop_get(), &f->io);
    if (f->fd >= 0 && f->owned)
        close(f->fd);
    free(f);
}

static const struct transport_ops OPS = {fd_read, fd_write,  fd_shutdown, fd_want,
                                         fd_fd,   fd_detach, fd_free};

static void on_io(struct ev_loop *l, ev_io *w, int events) {
    (void)l;
    struct fd_transport *f = w->data;
    f->base.on_ready(&f->base, events & (EV_READ | EV_WRITE));
}

/* O_NONBLOCK belongs to the open file, which a borrowed descriptor shares: so open it anew. */
static int reopen(int fd) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int mode = fcntl(fd, F_GETFL);
    return mode < 0 ? -1 : open(path, (mode & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

static void borrow(struct fd_transport *f, mode_t mode) {
    if (f->socket || S_ISREG(mode))
        return;
    int fd = reopen(f->fd);
    if (fd < 0) {
        f->write_max = PIPE_BUF;
        f->blocks = true;
        return;
    }
    f->fd = fd;
    f->owned = true;
}

struct transport *fd_transport(int fd, bool owned) {
    struct fd_transport *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    struct stat st = {0};
    fstat(fd, &st);
    f->base.ops = &OPS;
    f->fd = fd;
    f->owned = owned;
    f->socket = f->base.resets = S_ISSOCK(st.st_mode);
    f->write_max = SSIZE_MAX;
    if (owned)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    else
        borrow(f, st.st_mode);
    ev_io_init(&f->io, on_io, f->fd, EV_READ);
    f->io.data = f;
    return &f->base;
}

int fd_socket(const struct transport *t) {
    const struct fd_transport *f = (const struct fd_transport *)t;
    return t->ops == &OPS && f->socket && f->owned ? f->fd : -1;
}
