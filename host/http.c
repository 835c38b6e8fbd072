/*
 * The library has an epoll descriptor of its own: when that is readable, or its time has come, it
 * runs. It calls back inside that run; what is called back only notes what has happened.
 */
#include "host/http.h"

#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/http/inside.h"
#include "host/http/request.h"
#include "host/loop.h"

/* A connection, for as long as a head may take: the library only counts the seconds since the last
 * byte, so who sends one now and then could stay for ever. */
struct connection {
    struct connection *next, **at;
    ev_timer patience;
    int fd;
};

struct http_server {
    struct MHD_Daemon *daemon;
    struct connection *connections;
    double head_s;
    ev_io ready;
    ev_timer due;
    struct http_request *all, *fresh, **fresh_end;
    void (*on_request)(void *owner);
    void *owner;
};

/* -- the library's turns ---------------------------------------------------------------------- */

static void run(struct http_server *s) {
    unsigned long long ms;
    ev_timer_stop(loop_get(), &s->due);
    http_library()->MHD_run(s->daemon);
    if (ev_is_active(&s->due) || http_library()->MHD_get_timeout(s->daemon, &ms) != MHD_YES)
        return;
    ev_now_update(loop_get());
    ev_timer_set(&s->due, (double)ms / 1e3, 0);
    ev_timer_start(loop_get(), &s->due);
}

static void on_ready(struct ev_loop *loop, ev_io *w, int events) {
    (void)loop, (void)events;
    run(w->data);
}

static void on_due(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    run(w->data);
}

static void ask_for_turn(struct http_server *s) {
    ev_timer_stop(loop_get(), &s->due);
    ev_timer_set(&s->due, 0, 0);
    ev_timer_start(loop_get(), &s->due);
}

/* -- heads that take too long ----------------------------------------------------------------- */

/* The library finds its end, and closes it. */
static void on_impatience(struct ev_loop *loop, ev_timer *w, int events) {
    (void)loop, (void)events;
    shutdown(((struct connection *)w->data)->fd, SHUT_RDWR);
}

static void expect_head(struct http_server *s, struct connection *c) {
    ev_timer_stop(loop_get(), &c->patience);
    ev_timer_set(&c->patience, s->head_s, 0);
    ev_timer_start(loop_get(), &c->patience);
}

static void forget(struct connection *c) {
    ev_timer_stop(loop_get(), &c->patience);
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    free(c);
}

static int descriptor_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        http_library()->MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct http_server *s = cls;
    if (code != MHD_CONNECTION_NOTIFY_STARTED) {
        if (*context)
            forget(*context);
        *context = NULL;
        ask_for_turn(s); /* a next one may be waiting for its place */
        return;
    }
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->fd = descriptor_of(connection);
    ev_init(&c->patience, on_impatience);
    c->patience.data = c;
    c->next = s->connections;
    c->at = &s->connections;
    if (c->next)
        c->next->at = &c->next;
    s->connections = c;
    *context = c;
    expect_head(s, c);
}

static struct connection *connection_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        http_library()->MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* -- what it calls back ----------------------------------------------------------------------- */

/* A request's first line has come: what is returned here is its `request` from now on. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *connection) {
    (void)connection;
    struct http_server *s = cls;
    struct http_request *r = http_request_new(target, &s->due);
    r->next = s->all;
    r->at = &s->all;
    if (r->next)
        r->next->at = &r->next;
    s->all = r;
    return r;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                 const char *value) {
    (void)kind;
    http_headers_add(cls, name, value ? value : "");
    return MHD_YES;
}

static void introduce(struct http_server *s, struct http_request *r,
                      struct MHD_Connection *connection, const char *method) {
    struct connection *c = connection_of(connection);
    if (c)
        ev_timer_stop(loop_get(), &c->patience);
    r->known = true;
    r->connection = connection;
    r->method = strdup(method);
    if (!r->method)
        abort();
    http_library()->MHD_get_connection_values(connection, MHD_HEADER_KIND, on_header, &r->headers);
    r->references++;
    *s->fresh_end = r;
    s->fresh_end = &r->next_fresh;
    if (s->on_request)
        s->on_request(s->owner);
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *len, void **request) {
    (void)url, (void)version;
    struct http_request *r = *request;
    if (!r->known) {
        introduce(cls, r, connection, method);
        http_request_hold(r);
        return MHD_YES;
    }
    if (r->held) /* called again for the head alone */
        return http_request_go_on(r);
    if (*len)
        return http_request_body(r, data, len);
    http_request_body_end(r);
    return http_request_proceed(r);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code) {
    (void)code;
    struct http_request *r = *request;
    struct connection *c = connection_of(connection);
    if (c) /* another one may follow */
        expect_head(cls, c);
    if (!r)
        return;
    *request = NULL;
    if (r->held && r->kind == ANSWER_WHOLE && !r->gone)
        http_early_linger(r);
    *r->at = r->next;
    if (r->next)
        r->next->at = r->at;
    http_request_end(r);
    http_request_unref(r);
}

/* -- lives ------------------------------------------------------------------------------------ */

static struct MHD_Daemon *start(struct http_server *s, const struct http_options *o) {
    return http_library()->MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE, 0, NULL, NULL, on_access, s,
        MHD_OPTION_LISTEN_SOCKET, o->fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->connections_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)o->head_max, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)o->idle_s, MHD_OPTION_URI_LOG_CALLBACK, on_target, s, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_END);
}

int http_server_new(struct http_server **server, const struct http_options *options) {
    struct http_server *s = http_library() ? calloc(1, sizeof *s) : NULL;
    int err = http_library() ? -ENOMEM : -ELIBACC;
    if (s) {
        s->fresh_end = &s->fresh;
        s->head_s = options->idle_s;
        errno = EINVAL;
        s->daemon = start(s, options);
        err = s->daemon ? 0 : -errno;
    }
    if (err) {
        close(options->fd);
        free(s);
        return err;
    }
    const union MHD_DaemonInfo *info =
        http_library()->MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    ev_io_init(&s->ready, on_ready, info->epoll_fd, EV_READ);
    ev_init(&s->due, on_due);
    s->ready.data = s->due.data = s;
    ev_io_start(loop_get(), &s->ready);
    *server = s;
    return 0;
}

/* The library stops only when nothing is suspended. */
static void break_off(struct http_server *s) {
    for (struct http_request *r = s->all; r; r = r->next) {
        r->gone = true;
        http_request_resume(r);
    }
}

void http_server_free(struct http_server *s) {
    s->on_request = NULL;
    for (struct http_request *r; (r = http_server_take(s));)
        http_request_free(r);
    break_off(s);
    ev_io_stop(loop_get(), &s->ready);
    http_library()->MHD_stop_daemon(s->daemon);
    ev_timer_stop(loop_get(), &s->due);
    free(s);
}

void http_server_on_request(struct http_server *s, void (*on_request)(void *), void *owner) {
    s->on_request = on_request;
    s->owner = owner;
}

bool http_server_has(const struct http_server *s) {
    return s->fresh != NULL;
}

struct http_request *http_server_take(struct http_server *s) {
    struct http_request *r = s->fresh;
    if (!r)
        return NULL;
    s->fresh = r->next_fresh;
    if (!s->fresh)
        s->fresh_end = &s->fresh;
    r->next_fresh = NULL;
    return r;
}

int http_server_connections(const struct http_server *s) {
    const union MHD_DaemonInfo *info =
        http_library()->MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info ? (int)info->num_connections : 0;
}
