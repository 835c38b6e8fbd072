/*
 * A request to an HTTP server, and its answer. Its body is read, and an answer's of unknown length
 * written, by a transport.
 *
 * Loop thread only. A request is its taker's until http_request_free(), and may outlive the server.
 */
#ifndef P2PD_HOST_HTTP_REQUEST_H
#define P2PD_HOST_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct http_request;
struct stream;
struct transport;

/* Called when the connection is gone, or has become somebody else's. */
void http_request_on_event(struct http_request *r, void (*on_event)(void *owner), void *owner);

const char *http_request_method(const struct http_request *r);
const char *http_request_target(const struct http_request *r); /* as it was sent */

/* Name and value of a header, in their order; false: there is none so far. */
bool http_request_header(const struct http_request *r, size_t i, const char **name,
                         const char **value);

/* What is read of it is the request's body; what is written, once http_answer_begin() was called,
 * the answer's, which its shutdown() ends. Once for each request, which it may outlive. */
struct transport *http_request_bodies(struct http_request *r);

/* -- its answer ----------------------------------------------------------------------------- */

/* Before the answer begins. */
void http_answer_header(struct http_request *r, const char *name, const char *value);

/* All of it. 0; -EPIPE; -EALREADY when one was begun. */
int http_answer(struct http_request *r, int status, const void *body, size_t len);

/* Bytes of a file, of which there are so many from `offset` on; takes the descriptor over. As
 * above.
 */
int http_answer_file(struct http_request *r, int status, int fd, uint64_t offset, uint64_t len);

/* Begins one whose body follows, see http_request_bodies(). */
int http_answer_begin(struct http_request *r, int status);

/* Answers 101; the connection comes by http_request_upgraded(), after on_event(). */
int http_answer_upgrade(struct http_request *r);
struct stream *http_request_upgraded(struct http_request *r); /* NULL: not yet */

bool http_request_is_gone(const struct http_request *r);

/* Lets go of it: an answer that has not been ended is broken off, and one that was not begun is
 * status 500. */
void http_request_free(struct http_request *r);

#endif
