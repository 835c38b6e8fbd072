/*
 * The library calls for a request's body and asks for the answer again and again; between those
 * calls the request is suspended, until its taker has done the next step.
 */
#include "host/http/request.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/fd.h"
#include "host/http/inside.h"
#include "host/loop.h"
#include "host/stream.h"

#define PIECE_MAX (32 * 1024) /* bytes that the library asks for at once */
#define UNWANTED_MAX                                                                               \
    (256 * 1024) /* bytes of a body that may follow an answer, for the next request */

static char *copy_of(const char *text) {
    char *copy = strdup(text);
    if (!copy)
        abort();
    return copy;
}

/* -- headers ---------------------------------------------------------------------------------- */

void http_headers_add(struct http_headers *h, const char *name, const char *value) {
    struct http_header *list = realloc(h->list, (h->count + 1) * sizeof *list);
    if (!list)
        abort();
    list[h->count++] = (struct http_header){copy_of(name), copy_of(value)};
    h->list = list;
}

void http_headers_fini(struct http_headers *h) {
    for (size_t i = 0; i < h->count; i++) {
        free(h->list[i].name);
        free(h->list[i].value);
    }
    free(h->list);
    *h = (struct http_headers){0};
}

/* -- waiting ---------------------------------------------------------------------------------- */

static void tell_all(struct http_request *r) {
    if (r->on_event)
        r->on_event(r->owner);
    http_bodies_tell(r, EV_READ | EV_WRITE);
}

/* Nobody else looks at a suspended connection. */
static void on_hangup(struct ev_loop *loop, ev_io *w, int events) {
    (void)events;
    struct http_request *r = w->data;
    char byte;
    ssize_t n = recv(w->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    ev_io_stop(loop, w);
    if (n > 0) /* the next request */
        return;
    r->gone = true;
    http_request_resume(r);
    tell_all(r);
}

int http_request_fd(const struct http_request *r) {
    const union MHD_ConnectionInfo *info =
        http_library()->MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

void http_request_suspend(struct http_request *r) {
    if (r->suspended || !r->connection)
        return;
    r->suspended = true;
    http_library()->MHD_suspend_connection(r->connection);
    if (!r->in_ended && !r->held)
        return; /* its bytes may come, and would wake us in vain */
    ev_io_init(&r->hangup, on_hangup, http_request_fd(r), EV_READ);
    r->hangup.data = r;
    ev_io_start(loop_get(), &r->hangup);
}

/* What was told to the library it notices in its next turn, which nothing else would bring about.
 */
static void ask_for_turn(struct http_request *r) {
    ev_timer_stop(loop_get(), r->due);
    ev_timer_set(r->due, 0, 0);
    ev_timer_start(loop_get(), r->due);
}

void http_request_resume(struct http_request *r) {
    if (!r->suspended || !r->connection)
        return;
    r->suspended = false;
    ev_io_stop(loop_get(), &r->hangup);
    http_library()->MHD_resume_connection(r->connection);
    ask_for_turn(r);
}

/* -- lives ------------------------------------------------------------------------------------ */

struct http_request *http_request_new(const char *target, struct ev_timer *due) {
    struct http_request *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->references = 1;
    r->file = -1;
    r->due = due;
    r->target = copy_of(target);
    return r;
}

void http_request_unref(struct http_request *r) {
    if (--r->references > 0)
        return;
    http_headers_fini(&r->headers);
    http_headers_fini(&r->answer_headers);
    buffer_fini(&r->in);
    buffer_fini(&r->out);
    if (r->upgraded)
        stream_abort(r->upgraded);
    if (r->file >= 0)
        close(r->file);
    free(r->target);
    free(r->method);
    free(r);
}

void http_request_end(struct http_request *r) {
    ev_io_stop(loop_get(), &r->hangup);
    r->gone = r->gone || r->kind != ANSWER_UPGRADE;
    r->connection = NULL;
    tell_all(r);
}

void http_request_on_event(struct http_request *r, void (*on_event)(void *), void *owner) {
    r->on_event = on_event;
    r->owner = owner;
}

void http_request_free(struct http_request *r) {
    r->on_event = NULL;
    r->out_broken = r->out_broken || !r->bodies.ops;
    if (r->kind == ANSWER_NONE)
        http_answer(r, MHD_HTTP_INTERNAL_SERVER_ERROR, "", 0);
    http_request_resume(r);
    http_request_unref(r);
}

/* -- what it says ----------------------------------------------------------------------------- */

const char *http_request_method(const struct http_request *r) {
    return r->method;
}

const char *http_request_target(const struct http_request *r) {
    return r->target;
}

bool http_request_header(const struct http_request *r, size_t i, const char **name,
                         const char **value) {
    if (i >= r->headers.count)
        return false;
    *name = r->headers.list[i].name;
    *value = r->headers.list[i].value;
    return true;
}

bool http_request_is_gone(const struct http_request *r) {
    return r->gone;
}

/* -- its body --------------------------------------------------------------------------------- */

/* The library takes no answer in the middle of a body. */
static enum MHD_Result give_up(struct http_request *r) {
    if (r->kind == ANSWER_WHOLE)
        http_early_answer(r);
    return MHD_NO;
}

enum MHD_Result http_request_body(struct http_request *r, const char *data, size_t *len) {
    if (r->kind != ANSWER_NONE) {
        r->unwanted += *len;
        *len = 0;
        return r->unwanted > UNWANTED_MAX ? give_up(r) : MHD_YES;
    }
    return http_bodies_take(r, data, len);
}

void http_request_body_end(struct http_request *r) {
    if (r->in_ended)
        return;
    r->in_ended = true;
    http_bodies_tell(r, EV_READ);
}

/* -- its answer ------------------------------------------------------------------------------- */

/* A descriptor of our own: the library closes its one. */
static void on_upgrade(void *cls, struct MHD_Connection *connection, void *request,
                       const char *extra, size_t extra_len, MHD_socket fd,
                       struct MHD_UpgradeResponseHandle *handle) {
    (void)connection, (void)request;
    struct http_request *r = cls;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own >= 0) {
        r->upgraded = stream_new(fd_transport(own, true));
        buffer_append(&r->upgraded->in, extra, extra_len);
    } else {
        r->gone = true;
    }
    http_library()->MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
    ask_for_turn(r);
    tell_all(r);
}

static void release(void *cls) {
    http_request_unref(cls);
}

/* The library closes the descriptor with it. */
static struct MHD_Response *make_file_response(struct http_request *r) {
    struct MHD_Response *response = http_library()->MHD_create_response_from_fd_at_offset64(
        r->file_len, r->file, r->file_offset);
    if (response)
        r->file = -1;
    return response;
}

static struct MHD_Response *make_response(struct http_request *r) {
    const struct http_library *mhd = http_library();
    switch (r->kind) {
    case ANSWER_WHOLE:
        return mhd->MHD_create_response_from_buffer(
            r->out.len, r->out.len ? (void *)buffer_head(&r->out) : "", MHD_RESPMEM_MUST_COPY);
    case ANSWER_FILE:
        return make_file_response(r);
    case ANSWER_PIECES:
        r->references++;
        return mhd->MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE_MAX, http_bodies_give,
                                                      r, release);
    default:
        return mhd->MHD_create_response_for_upgrade(on_upgrade, r);
    }
}

static enum MHD_Result queue(struct http_request *r) {
    const struct http_library *mhd = http_library();
    struct MHD_Response *response = make_response(r);
    if (!response)
        return MHD_NO;
    for (size_t i = 0; i < r->answer_headers.count; i++)
        mhd->MHD_add_response_header(response, r->answer_headers.list[i].name,
                                     r->answer_headers.list[i].value);
    r->queued = true;
    enum MHD_Result result = mhd->MHD_queue_response(r->connection, (unsigned)r->status, response);
    mhd->MHD_destroy_response(response);
    return result;
}

enum MHD_Result http_request_proceed(struct http_request *r) {
    if (r->queued)
        return MHD_YES;
    if (r->gone)
        return MHD_NO;
    if (r->kind != ANSWER_NONE)
        return queue(r);
    http_request_suspend(r);
    return MHD_YES;
}

static bool has_body(const struct http_request *r) {
    for (size_t i = 0; i < r->headers.count; i++) {
        const struct http_header *h = &r->headers.list[i];
        if (strcasecmp(h->name, "transfer-encoding") == 0 ||
            (strcasecmp(h->name, "content-length") == 0 && strcmp(h->value, "0") != 0))
            return true;
    }
    return false;
}

void http_request_hold(struct http_request *r) {
    r->held = has_body(r);
    if (r->held)
        http_request_suspend(r);
}

enum MHD_Result http_request_go_on(struct http_request *r) {
    if (!r->wanted || r->kind != ANSWER_NONE)
        return http_request_proceed(r);
    r->held = false;
    return MHD_YES;
}

void http_answer_header(struct http_request *r, const char *name, const char *value) {
    http_headers_add(&r->answer_headers, name, value);
}

static int begin(struct http_request *r, enum http_answer_kind kind, int status) {
    if (r->kind != ANSWER_NONE)
        return -EALREADY;
    if (r->gone || !r->connection)
        return -EPIPE;
    r->kind = kind;
    r->status = status;
    return 0;
}

int http_answer(struct http_request *r, int status, const void *body, size_t len) {
    int err = begin(r, ANSWER_WHOLE, status);
    if (err < 0)
        return err;
    buffer_append(&r->out, body, len);
    http_request_resume(r);
    return 0;
}

int http_answer_file(struct http_request *r, int status, int fd, uint64_t offset, uint64_t len) {
    int err = begin(r, ANSWER_FILE, status);
    if (err < 0) {
        close(fd);
        return err;
    }
    r->file = fd;
    r->file_offset = offset;
    r->file_len = len;
    http_request_resume(r);
    return 0;
}

int http_answer_begin(struct http_request *r, int status) {
    int err = begin(r, ANSWER_PIECES, status);
    if (err == 0)
        http_request_resume(r);
    return err;
}

int http_answer_upgrade(struct http_request *r) {
    int err = begin(r, ANSWER_UPGRADE, MHD_HTTP_SWITCHING_PROTOCOLS);
    if (err == 0)
        http_request_resume(r);
    return err;
}

struct stream *http_request_upgraded(struct http_request *r) {
    struct stream *stream = r->upgraded;
    r->upgraded = NULL;
    return stream;
}
