/* libFuzzer on what servers answer to an upgrade: the head, and its headers. */
#include "host/mqtt/http.h"
#include "spec/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http_answer answer;
    char *exact = copy_exactly(data, size);
    ssize_t n = http_parse(exact, size, &answer);
    require(n <= (ssize_t)size);
    if (n > 0) {
        require(answer.status >= 100 && answer.status <= 999 && answer.len == (size_t)n);
        require(strlen(answer.reason) <= HTTP_REASON_MAX);
        require(!http_is(&answer, "upgrade", "websocket") ||
                http_has(&answer, "upgrade", "websocket"));
        http_has(&answer, "connection", "upgrade");
    }
    free(exact);
    return 0;
}
