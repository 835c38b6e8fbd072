/* A path is written while it takes something, and read in large pieces, or by way of the reader. */
#include "host/session/carrier.h"

#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "host/loop.h"
#include "host/session/codec.h"

#define READ_MAX (64 * 1024)
#define READS_MAX 4               /* in a row: others want to run too */
#define GREETING_MAX 512          /* bytes */
#define DIRECT_MIN 4096           /* bytes of a frame that are worth a read of their own */
#define NOT_SENT_MAX (128 * 1024) /* bytes that the kernel has and does not send yet */

static char scratch[READ_MAX + SESSION_DATA_HEADER * (READ_MAX / SESSION_DATA_MAX + 1)];

/* -- out ------------------------------------------------------------------------------------ */

static void fail_path(struct carrier *c, int code) {
    char text[SESSION_WHY_MAX];
    const char *reason = code ? transport_reason(c->transport) : "the path has ended";
    snprintf(text, sizeof text, "%s", reason ? reason : strerror(-code));
    sm_path_failed(c->machine, c->number, code, text, loop_now());
}

void carrier_want(struct carrier *c) {
    c->transport->ops->want(c->transport, EV_READ | (c->blocked ? EV_WRITE : 0));
}

void carrier_send(struct carrier *c) {
    struct session_machine *m = c->machine;
    const uint8_t *data;
    size_t len;
    while (!c->blocked && sm_path_state(m, c->number) == PATH_LIVE &&
           (len = sm_poll(m, c->number, &data, loop_now()))) {
        c->transport->more = sm_has_more(m, c->number);
        ssize_t n = c->transport->ops->write(c->transport, data, len);
        c->transport->more = false;
        if (n >= 0) {
            sm_sent(m, c->number, (size_t)n, loop_now());
        } else if (n == -EAGAIN) {
            c->blocked = true;
            carrier_want(c);
        } else {
            fail_path(c, (int)n);
        }
    }
}

/* -- its first line ------------------------------------------------------------------------- */

static void judge_greeting(struct carrier *c) {
    char *line = strndup(buffer_head(&c->line), c->line.len - 1);
    if (!line)
        abort();
    bool expected = strncmp(line, c->greeting, strlen(c->greeting)) == 0;
    free(c->greeting);
    c->greeting = line;
    c->ungreeted = false;
    if (!expected)
        sm_path_failed(c->machine, c->number, -EACCES, line, loop_now());
}

/* How many of the bytes belong to it. */
static size_t take_greeting(struct carrier *c, const char *data, size_t len) {
    const char *end = memchr(data, '\n', len);
    size_t n = end ? (size_t)(end - data) + 1 : len;
    if (c->line.len + n > GREETING_MAX) {
        sm_path_failed(c->machine, c->number, -EPROTO, "an endless first line", loop_now());
        return len;
    }
    buffer_append(&c->line, data, n);
    if (end)
        judge_greeting(c);
    return n;
}

static void feed(struct carrier *c, const char *data, size_t len) {
    size_t skip = c->ungreeted && len ? take_greeting(c, data, len) : 0;
    if (len > skip && sm_path_state(c->machine, c->number) == PATH_LIVE)
        sm_feed(c->machine, c->number, data + skip, len - skip, loop_now());
}

/* -- in ------------------------------------------------------------------------------------- */

/* Reads a path once, by way of `data`: how many bytes. */
static size_t read_path(struct carrier *c, char *data, size_t max) {
    struct session_machine *m = c->machine;
    c->readable = false;
    if (sm_path_state(m, c->number) != PATH_LIVE)
        return 0;
    ssize_t n = c->transport->ops->read(c->transport, data, max);
    c->readable = n == (ssize_t)max;
    if (n > 0)
        feed(c, data, (size_t)n);
    else if (n != -EAGAIN)
        fail_path(c, (int)n);
    return n > 0 ? (size_t)n : 0;
}

void carrier_drain(struct carrier *c) {
    for (int i = 0; i < READS_MAX; i++)
        if (read_path(c, scratch, READ_MAX) < READ_MAX)
            return;
}

/* How many bytes of a path hold `room` bytes of the stream, when they are full frames. */
static size_t path_bytes(size_t room) {
    size_t n = room + SESSION_DATA_HEADER * (room / SESSION_DATA_MAX + 1);
    return n < sizeof scratch ? n : sizeof scratch;
}

/* TLS gives a record in as many pieces as one likes without a call of the kernel: the bytes of a
 * frame are read to where they go, and what comes before them apart. */
void carrier_read_some(struct carrier *c, char *data, size_t room) {
    struct session_machine *m = c->machine;
    sm_give(m, data, room);
    size_t expected = sm_expected(m, c->number);
    if (c->transport->retry_bytes && expected >= DIRECT_MIN)
        read_path(c, data, expected);
    else if (c->transport->retry_bytes && !expected && room >= SESSION_DATA_MAX)
        read_path(c, scratch, SESSION_DATA_HEADER);
    else
        read_path(c, scratch, path_bytes(room));
}

void carrier_look_below(struct carrier *c, double before) {
    struct session_machine *m = c->machine;
    size_t unsent = c->transport->ops->unsent(c->transport);
    if (unsent < c->unsent)
        sm_path_alive(m, c->number, before, loop_now());
    c->unsent = unsent;
    sm_path_rtt(m, c->number, c->transport->ops->rtt(c->transport));
}

/* -- lives ---------------------------------------------------------------------------------- */

static void on_transport(struct transport *t, int events) {
    struct carrier *c = t->owner;
    if (events & EV_WRITE)
        c->blocked = false;
    c->readable = c->readable || (events & EV_READ);
    c->on_ready(c);
}

/* The kernel's queue of a path is for what the path carries, not for what waits: that is for the
 * mux above to put in order. A path without TCP has no such queue. */
static void limit_queue(const struct transport *path) {
    int fd = path->ops->fd(path), bytes = NOT_SENT_MAX;
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

struct carrier *carrier_new(struct session_machine *machine, uint32_t number,
                            struct transport *transport, const char *greeting,
                            void (*on_ready)(struct carrier *), void *owner) {
    struct carrier *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    *c = (struct carrier){.machine = machine,
                          .transport = transport,
                          .number = number,
                          .greeting = greeting ? strdup(greeting) : NULL,
                          .ungreeted = greeting != NULL,
                          .on_ready = on_ready,
                          .owner = owner};
    transport->owner = c;
    transport->on_ready = on_transport;
    limit_queue(transport);
    return c;
}

void carrier_begin(struct carrier *c, struct buffer early) {
    carrier_want(c);
    sm_path_rtt(c->machine, c->number, c->transport->ops->rtt(c->transport));
    if (early.len)
        feed(c, buffer_head(&early), early.len);
    buffer_fini(&early);
}

const char *carrier_greeting(const struct carrier *c) {
    return c->ungreeted ? NULL : c->greeting;
}

/* A path that is over leaves with what the machine still has for it. */
void carrier_let_go(struct carrier *c) {
    struct session_machine *m = c->machine;
    struct buffer out = {0};
    const uint8_t *data;
    size_t len;
    if (sm_path_state(m, c->number) == PATH_DEAD) {
        transport_abort(c->transport);
    } else {
        while ((len = sm_poll(m, c->number, &data, loop_now()))) {
            buffer_append(&out, data, len);
            sm_sent(m, c->number, len, loop_now());
        }
        if (sm_is_settled(m) && !sm_error(m))
            transport_leave_settled(c->transport, out);
        else
            transport_leave(c->transport, out, false);
    }
    sm_detach(m, c->number);
    buffer_fini(&c->line);
    free(c->greeting);
    free(c);
}
