#include "host/turn/error.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>

/* RFC 8489 §14.8, RFC 8656 §19, RFC 6062 §6.3 */
static const struct {
    int code, error;
    const char *words;
} ERRORS[] = {
    {300, ECONNREFUSED, "try an alternate server"},
    {400, EPROTO, "bad request"},
    {401, EACCES, "wrong user or password"},
    {403, EPERM, "forbidden"},
    {405, EBUSY, "not possible now"},
    {420, EOPNOTSUPP, "an attribute that the server does not know"},
    {437, EBADFD, "allocation mismatch"},
    {438, ESTALE, "stale nonce"},
    {440, EAFNOSUPPORT, "address family not supported"},
    {441, EACCES, "wrong credentials for this allocation"},
    {442, EPROTONOSUPPORT, "transport not supported"},
    {443, EAFNOSUPPORT, "the peer has another address family"},
    {446, EISCONN, "the connection exists already"},
    {447, ECONNREFUSED, "the server cannot connect to the peer"},
    {486, EDQUOT, "allocation quota reached"},
    {500, EREMOTEIO, "server error"},
    {508, ENOSPC, "insufficient capacity"},
};

static size_t printable(const char *said, size_t len) {
    size_t n = 0;
    while (n < len && isascii((unsigned char)said[n]) && isprint((unsigned char)said[n]))
        n++;
    return n;
}

int turn_error(int code, const char *said, size_t said_len, char *reason, size_t size) {
    int error = EPROTO;
    const char *words = "an unknown error";
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].code == code) {
            error = ERRORS[i].error;
            words = ERRORS[i].words;
        }
    int n = (int)printable(said, said_len < 80 ? said_len : 80);
    if (n)
        snprintf(reason, size, "%d %s (\"%.*s\")", code, words, n, said);
    else
        snprintf(reason, size, "%d %s", code, words);
    return -error;
}
