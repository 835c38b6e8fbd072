/*
 * The only transport that is a descriptor. A socket that is closed although somebody writes to it
 * resets the connection, and the peer may lose what it has not read. So a socket leaves only when
 * nothing unread is at hand; and where the peer is known to answer our end by bytes, as TLS does,
 * when the peer's kernel has everything.
 *
 * A peer that vanishes from an idle connection is noticed by the kernel's keep-alive, and while
 * bytes are unacknowledged by the timer here.
 */
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
#include "host/tcp.h"

#define DISCARD_BYTES (64 * 1024)
#define DISCARD_S 1.0        /* for which input that nobody will read is thrown away */
#define PATIENCE_S 10.0      /* without progress */
#define PEER_PATIENCE_S 20.0 /* the same, of what has a silence: its line may be bad */
#define WATCH_SHARE 0.125    /* of the silence that is allowed, between looks */

struct fd_transport {
    struct transport base;
    ev_io io;
    int fd;
    bool socket, owned;
    bool fifo;
    bool wrote, ended;   /* bytes were written; the peer has ended its half, or is gone */
    bool gone;           /* by an error */
    double discard_till; /* > 0: unread input was met */
    bool blocks;         /* it could not be made non-blocking: poll(2) is asked before each call */
    size_t write_max;    /* what a write may carry without blocking */
    double silence;      /* seconds; 0: for ever */
    ev_timer watch;      /* while bytes may be unacknowledged */
    bool vanished;       /* the peer has: -ETIMEDOUT */
};

static struct fd_transport *self(struct transport *t) {
    return (struct fd_transport *)t;
}

static bool would_block(const struct fd_transport *f, short events) {
    struct pollfd p = {f->fd, events, 0};
    return f->blocks && poll(&p, 1, 0) == 0;
}

static int failed(struct fd_transport *f, int error) {
    f->vanished = f->vanished || (f->socket && error == ETIMEDOUT);
    return -error;
}

static void watch(struct fd_transport *f) {
    if (f->silence <= 0 || ev_is_active(&f->watch))
        return;
    ev_timer_set(&f->watch, f->silence * WATCH_SHARE, 0);
    ev_timer_start(loop_get(), &f->watch);
}

static ssize_t fd_read(struct transport *t, void *data, size_t len) {
    struct fd_transport *f = self(t);
    ssize_t n;
    if (would_block(f, POLLIN))
        return -EAGAIN;
    do
        n = f->socket ? recv(f->fd, data, len, MSG_DONTWAIT) : read(f->fd, data, len);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN && f->vanished)
        return -ETIMEDOUT;
    f->gone = f->gone || (n < 0 && errno != EAGAIN);
    f->ended = f->ended || n == 0 || f->gone;
    return n < 0 ? failed(f, errno) : n;
}

/* With more to follow TCP sends full segments only, and wakes the peer less often. */
static ssize_t fd_write(struct transport *t, const void *data, size_t len) {
    struct fd_transport *f = self(t);
    size_t most = len < f->write_max ? len : f->write_max;
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (t->more ? MSG_MORE : 0);
    ssize_t n;
    if (f->vanished)
        return -ETIMEDOUT;
    if (would_block(f, POLLOUT))
        return -EAGAIN;
    do
        n = f->socket ? send(f->fd, data, most, flags) : write(f->fd, data, most);
    while (n < 0 && errno == EINTR);
    f->wrote = f->wrote || n > 0;
    if (n > 0)
        watch(f);
    return n < 0 ? failed(f, errno) : n;
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
    if (f->fd < 0 || f->vanished) { /* no event would come: whoever tries now learns why */
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
    ev_timer_stop(loop_get(), &f->watch);
    f->fd = -1;
    return fd < 0 ? -EBADF : fd;
}

static void fd_free(struct transport *t) {
    struct fd_transport *f = self(t);
    ev_io_stop(loop_get(), &f->io);
    ev_timer_stop(loop_get(), &f->watch);
    if (f->silence > 0 && f->fd >= 0)
        tcp_forgive_silence(f->fd);
    if (f->fd >= 0 && f->owned)
        close(f->fd);
    free(f);
}

static size_t fd_unsent(const struct transport *t) {
    const struct fd_transport *f = (const struct fd_transport *)t;
    return f->socket ? (size_t)tcp_unacknowledged(f->fd) : 0;
}

static double fd_rtt(const struct transport *t) {
    return tcp_rtt(fd_fd(t));
}

static const char *fd_reason(const struct transport *t) {
    return ((const struct fd_transport *)t)->vanished ? "the peer vanished" : NULL;
}

/* -- silence ------------------------------------------------------------------------------- */

static void vanish(struct fd_transport *f) {
    int events = ev_is_active(&f->io) ? f->io.events & (EV_READ | EV_WRITE) : 0;
    f->vanished = f->gone = f->ended = true;
    ev_io_stop(loop_get(), &f->io);
    if (events)
        f->base.on_ready(&f->base, events);
}

static void on_watch(struct ev_loop *l, ev_timer *w, int events) {
    (void)l, (void)events;
    struct fd_transport *f = w->data;
    if (!fd_unsent(&f->base))
        return;
    if (tcp_is_silent(f->fd, f->silence))
        vanish(f);
    else
        watch(f);
}

static void fd_set_silence(struct transport *t, double seconds) {
    struct fd_transport *f = self(t);
    bool is_tcp = f->socket && f->fd >= 0 && tcp_set_silence(f->fd, seconds) == 0;
    ev_timer_stop(loop_get(), &f->watch);
    f->silence = is_tcp ? seconds : 0;
    t->patience = is_tcp ? PEER_PATIENCE_S : PATIENCE_S;
    watch(f);
}

/* -- leaving ------------------------------------------------------------------------------- */

static void discard(struct fd_transport *f) {
    static char nowhere[DISCARD_BYTES];
    ssize_t n = 0;
    for (int i = 0; i < 16 && (n = fd_read(&f->base, nowhere, sizeof nowhere)) > 0; i++)
        if (!f->discard_till)
            f->discard_till = loop_now() + DISCARD_S;
}

/* The kernel alone would send the rest, but after ever longer times where much is lost. */
static bool has_to_wait(const struct fd_transport *f) {
    if (f->silence > 0 && !f->gone && fd_unsent(&f->base) && !tcp_is_closed(f->fd))
        return true;
    if (f->ended)
        return false;
    return f->discard_till > loop_now() || (f->base.peer_answers_end && fd_unsent(&f->base));
}

static int fd_leave(struct transport *t) {
    struct fd_transport *f = self(t);
    bool wrote = f->wrote || t->peer_answers_end; /* TLS may write by itself */
    if (!f->socket || !f->owned || !wrote || (f->ended && !has_to_wait(f)))
        return 0;
    discard(f);
    if (!has_to_wait(f))
        return 0;
    shutdown(f->fd, SHUT_WR);
    fd_want(t, f->ended ? 0 : EV_READ);
    return -EAGAIN;
}

static const struct transport_ops OPS = {
    .read = fd_read,
    .write = fd_write,
    .shutdown = fd_shutdown,
    .want = fd_want,
    .fd = fd_fd,
    .detach = fd_detach,
    .unsent = fd_unsent,
    .rtt = fd_rtt,
    .set_silence = fd_set_silence,
    .reason = fd_reason,
    .leave = fd_leave,
    .free = fd_free,
};

/* -- splicing ------------------------------------------------------------------------------ */

bool fd_can_splice(const struct transport *t) {
    const struct fd_transport *f = (const struct fd_transport *)t;
    return t->ops == &OPS && f->fd >= 0 && f->owned && !f->blocks && (f->socket || f->fifo);
}

static ssize_t splice_fd(int from, int to, size_t len) {
    ssize_t n;
    do
        n = splice(from, NULL, to, NULL, len, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t fd_splice_read(struct transport *t, int pipe, size_t len) {
    struct fd_transport *f = self(t);
    ssize_t n = splice_fd(f->fd, pipe, len);
    f->ended = f->ended || n == 0 || (n < 0 && n != -EAGAIN);
    return n;
}

ssize_t fd_splice_write(struct transport *t, int pipe, size_t len) {
    struct fd_transport *f = self(t);
    ssize_t n = splice_fd(pipe, f->fd, len);
    f->wrote = f->wrote || n > 0;
    return n;
}

void fd_reset_at_close(struct transport *t) {
    static const struct linger RESET = {1, 0};
    struct fd_transport *f = self(t);
    if (t->ops == &OPS && f->socket && f->fd >= 0)
        setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &RESET, sizeof RESET);
}

/* -- making -------------------------------------------------------------------------------- */

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
    f->base.patience = PATIENCE_S;
    f->socket = S_ISSOCK(st.st_mode);
    f->fifo = S_ISFIFO(st.st_mode);
    f->write_max = SSIZE_MAX;
    if (owned)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    else
        borrow(f, st.st_mode);
    ev_io_init(&f->io, on_io, f->fd, EV_READ);
    f->io.data = f;
    ev_init(&f->watch, on_watch);
    f->watch.data = f;
    return &f->base;
}

int fd_write_all(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}
