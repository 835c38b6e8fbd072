/* A request, as its server and its own functions have it. */
#ifndef P2PD_HOST_HTTP_INSIDE_H
#define P2PD_HOST_HTTP_INSIDE_H

#include <ev.h>

#include "host/buffer.h"
#include "host/http/library.h"
#include "host/transport.h"

struct stream;

struct http_header {
    char *name, *value;
};

struct http_headers {
    struct http_header *list;
    size_t count;
};

void http_headers_add(struct http_headers *h, const char *name, const char *value);
void http_headers_fini(struct http_headers *h);

enum http_answer_kind {
    ANSWER_NONE,
    ANSWER_WHOLE,
    ANSWER_FILE,
    ANSWER_PIECES,
    ANSWER_UPGRADE,
};

struct http_request {
    struct http_request *next, **at;   /* among its server's */
    struct http_request *next_fresh;   /* those that nobody has taken */
    struct ev_timer *due;              /* the server's next turn */
    struct MHD_Connection *connection; /* NULL before the head has come, and when it is gone */
    int references;                    /* the taker's and the library's */
    char *target, *method;
    struct http_headers headers;
    bool known; /* the head has come */
    bool held;  /* it has a body, and nobody knows yet whether that is wanted (RFC 9110 §10.1.1) */
    bool wanted; /* it is */
    bool suspended;
    bool gone;
    ev_io hangup; /* watches for the client's end while it is suspended */

    struct buffer in;
    bool in_ended;
    size_t unwanted; /* bytes of it that have come after the answer was given */

    struct transport bodies; /* see host/http/bodies.c */
    int bodies_wanted;       /* EV_READ | EV_WRITE */
    ev_timer bodies_kick;    /* what is wanted is there already */

    enum http_answer_kind kind;
    int status;
    struct http_headers answer_headers;
    struct buffer out;
    int file; /* the answer's, until the library has it; or -1 */
    uint64_t file_offset, file_len;
    bool out_ended;
    bool out_broken; /* nobody is left to end it */
    bool queued;     /* the library has the answer */
    struct stream *upgraded;

    void (*on_event)(void *owner);
    void *owner;
};

/* For the server. `target` is copied; `due` is started when the library has something to do. */
struct http_request *http_request_new(const char *target, struct ev_timer *due);
void http_request_unref(struct http_request *r);

/* What the library wants of it, in its callback. */
enum MHD_Result http_request_body(struct http_request *r, const char *data, size_t *len);
void http_request_body_end(struct http_request *r);
enum MHD_Result http_request_proceed(struct http_request *r);

/* Its head has come: it is held if it has a body. Then it goes on to an answer that was given
 * before that, or to the body. */
void http_request_hold(struct http_request *r);
enum MHD_Result http_request_go_on(struct http_request *r);

void http_request_suspend(struct http_request *r);
void http_request_resume(struct http_request *r);
void http_request_end(struct http_request *r); /* the connection is gone */

int http_request_fd(const struct http_request *r); /* while it has a connection */

/* The library cannot, or does not, deal with a body that nobody wants, see host/http/early.c: what
 * still comes behind an answer is thrown away for a while; the same, and gives the answer. */
void http_early_linger(const struct http_request *r);
void http_early_answer(const struct http_request *r);

/* Its queues, see host/http/bodies.c: takes of a body what there is room for, and leaves in *len
 * what there was none for; gives of an answer's (an MHD_ContentReaderCallback of the request);
 * tells who waits for them. */
enum MHD_Result http_bodies_take(struct http_request *r, const char *data, size_t *len);
ssize_t http_bodies_give(void *request, uint64_t position, char *to, size_t max);
void http_bodies_tell(struct http_request *r, int events);

#endif
