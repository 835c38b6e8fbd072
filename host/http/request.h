/*
 * A request to an HTTP server, and its answer: its body is read piece by piece, and the answer
 * given at once or piece by piece.
 *
 * Loop thread only. A request is its taker's until http_request_free(), and may outlive the server.
 */
#ifndef P2PD_HOST_HTTP_REQUEST_H
#define P2PD_HOST_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define HTTP_BODY_QUEUE (64 * 1024) /* bytes that wait of a request's or an answer's body */

struct http_request;
struct stream;

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
