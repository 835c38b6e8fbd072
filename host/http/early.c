/*
 * Answers that come before the end of the request's body. The client may still be sending, and
 * would lose what it has not read if the connection were reset by what nobody reads: so what comes
 * is thrown away for a while, see host/fd.c, by a descriptor of our own, as the library closes its
 * one at once.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "host/fd.h"
#include "host/http/inside.h"

#define LINE_MAX_BYTES 64

static struct transport *own_transport(const struct http_request *r) {
    int fd = fcntl(http_request_fd(r), F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    struct transport *t = fd_transport(fd, true);
    t->peer_answers_end = true;
    return t;
}

void http_early_linger(const struct http_request *r) {
    struct transport *t = own_transport(r);
    if (t)
        transport_leave_settled(t, (struct buffer){0});
}

static void append(struct buffer *b, const char *text) {
    buffer_append(b, text, strlen(text));
}

static struct buffer write_answer(const struct http_request *r) {
    struct buffer text = {0};
    char line[LINE_MAX_BYTES];
    snprintf(line, sizeof line, "HTTP/1.1 %d ", r->status);
    append(&text, line);
    append(&text, http_library()->MHD_get_reason_phrase_for((unsigned)r->status));
    snprintf(line, sizeof line, "\r\nConnection: close\r\nContent-Length: %zu\r\n", r->out.len);
    append(&text, line);
    for (size_t i = 0; i < r->answer_headers.count; i++) {
        append(&text, r->answer_headers.list[i].name);
        append(&text, ": ");
        append(&text, r->answer_headers.list[i].value);
        append(&text, "\r\n");
    }
    append(&text, "\r\n");
    buffer_append(&text, r->out.len ? buffer_head(&r->out) : "", r->out.len);
    return text;
}

void http_early_answer(const struct http_request *r) {
    struct transport *t = own_transport(r);
    if (t)
        transport_leave_settled(t, write_answer(r));
}
