/* HTTP/1.1 as far as an upgrade takes it: the head of an answer (RFC 9112). */
#ifndef P2PD_HOST_MQTT_HTTP_H
#define P2PD_HOST_MQTT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define HTTP_HEAD_MAX 8192
#define HTTP_REASON_MAX 63

struct http_answer {
    int status;
    char reason[HTTP_REASON_MAX + 1]; /* printable, may be "" */
    const char *head;                 /* what was parsed, with its empty line */
    size_t len;
};

/* The length of a whole head, which *out describes as long as data is there; 0: more has to come;
 * -EPROTO: that is no head of an answer. */
ssize_t http_parse(const char *data, size_t len, struct http_answer *out);

/* Whether a header of that name has the value, in any case; of a list, one item. */
bool http_has(const struct http_answer *answer, const char *name, const char *value);

/* The same, to the letter. */
bool http_is(const struct http_answer *answer, const char *name, const char *value);

#endif
