/*
 * An HTTP server on the loop, by libmicrohttpd without threads of its own. It hands out requests;
 * whoever takes one reads its body and answers, see host/http/request.h. A request that waits for
 * that is suspended: it costs nothing but its connection.
 *
 * Loop thread only.
 */
#ifndef P2PD_HOST_HTTP_H
#define P2PD_HOST_HTTP_H

#include <stdbool.h>

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

#endif
