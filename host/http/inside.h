/* A request, as its server and its own functions have it. */
#ifndef P2PD_HOST_HTTP_INSIDE_H
#define P2PD_HOST_HTTP_INSIDE_H

#include <ev.h>

#include "host/buffer.h"
#include "host/http/library.h"

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

enum http_answer_kind { ANSWER_NONE, ANSWER_WHOLE, ANSWER_PIECES, ANSWER_UPGRADE };

struct http_request {
    struct http_request *next, **at;   /* among its server's */
    struct http_request *next_fresh;   /* those that nobody has taken */
    struct ev_timer *due;              /* the server's next turn */
    struct MHD_Connection *connection; /* NULL before the head has come, and when it is gone */
    int references;                    /* the taker's and the library's */
    char *target, *method;
    struct http_headers headers;
    bool known;  /* the head has come */
    bool held;   /* its client waits to be told whether its body is wanted (RFC 9110 §10.1.1) */
    bool wanted; /* it is */
    bool suspended;
    bool gone;
    bool let_go;  /* by its taker */
    ev_io hangup; /* watches for the client's end while it is suspended */

    struct buffer in;
    bool in_ended;

    enum http_answer_kind kind;
    int status;
    struct http_headers answer_headers;
    struct buffer out;
    bool out_ended;
    bool queued; /* the library has the answer */
    struct stream *upgraded;

    void (*on_event)(void *owner, int events);
    void *owner;
};

/* For the server. `target` is copied; `due` is started when the library has something to do. */
struct http_request *http_request_new(const char *target, struct ev_timer *due);
void http_request_unref(struct http_request *r);
void http_request_tell(struct http_request *r, int events);

/* What the library wants of it, in its callback. */
enum MHD_Result http_request_body(struct http_request *r, const char *data, size_t *len);
enum MHD_Result http_request_proceed(struct http_request *r);

/* Its head has come: it is held if its client waits for a word. Then it goes on to an answer that
 * was given before the body, or to the body. */
void http_request_hold(struct http_request *r);
enum MHD_Result http_request_go_on(struct http_request *r);

void http_request_suspend(struct http_request *r);
void http_request_resume(struct http_request *r);
void http_request_end(struct http_request *r); /* the connection is gone */

#endif
