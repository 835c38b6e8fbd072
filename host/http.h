/*
 * An HTTP server on the loop, by libmicrohttpd without threads of its own. It hands out requests;
 * whoever takes one reads its body, if it has one, and answers, at once or piece by piece. A
 * request that waits for that is suspended: it costs nothing but its connection.
 *
 * Loop thread only. A request is its taker's until http_request_free(), and may outlive the server.
 */
#ifndef P2PD_HOST_HTTP_H
#define P2PD_HOST_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "host/stream.h"

#define HTTP_BODY_QUEUE                                                                            \
    (64 * 1024) /* bytes of a request's or an answer's body that wait with us                      \
                 */

struct http_server;
struct http_request;

struct http_options {
    int fd;              /* of a listening socket; the server closes it */
    int connections_max; /* at a time */
    int head_max;        /* bytes of a request's first line and headers, about */
    int idle_s;          /* a connection without progress is closed after so many seconds, and one
                          * whose next head takes longer */
};

/* -ELIBACC when the library is not there, else -errno; the descriptor is closed then, too. */
int http_server_new(struct http_server **server, const struct http_options *options);
void http_server_free(struct http_server *server);

/* Called when there is a request to take. */
void http_server_on_request(struct http_server *server, void (*on_request)(void *owner),
                            void *owner);

/* The next request, or NULL. */
bool http_server_has(const struct http_server *server);
struct http_request *http_server_take(struct http_server *server);
int http_server_connections(const struct http_server *server);

/* -- a request ------------------------------------------------------------------------------ */

/* Called with EV_READ when there is more of the body, or its end; with EV_WRITE when there is room
 * for more of the answer; both when the connection is gone. */
void http_request_on_event(struct http_request *r, void (*on_event)(void *owner, int events),
                           void *owner);

const char *http_request_method(const struct http_request *r);
const char *http_request_target(const struct http_request *r); /* as it was sent */

/* Name and value of a header, in their order; false: there is none so far. */
bool http_request_header(const struct http_request *r, size_t i, const char **name,
                         const char **value);

/* Of the body: bytes, 0 at its end, -EAGAIN, -EPIPE when the connection is gone. */
ssize_t http_request_read(struct http_request *r, void *data, size_t len);

/* -- its answer ----------------------------------------------------------------------------- */

/* Before the answer begins. */
void http_answer_header(struct http_request *r, const char *name, const char *value);

/* All of it. 0; -EPIPE; -EALREADY when one was begun. */
int http_answer(struct http_request *r, int status, const void *body, size_t len);

/* Begins one whose body follows by http_answer_write(), until http_answer_end(). */
int http_answer_begin(struct http_request *r, int status);
ssize_t http_answer_write(struct http_request *r, const void *data, size_t len); /* or -EAGAIN */
int http_answer_end(struct http_request *r);

/* Answers 101; the connection comes by http_request_upgraded(), after EV_WRITE. */
int http_answer_upgrade(struct http_request *r);
struct stream *http_request_upgraded(struct http_request *r); /* NULL: not yet */

bool http_request_is_gone(const struct http_request *r);

/* Lets go of it: an answer that has not been ended is broken off, and one that was not begun is
 * status 500. */
void http_request_free(struct http_request *r);

#endif
