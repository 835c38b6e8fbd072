/* libFuzzer on WebSocket frames: heads, in both roles; masks; close frames. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "host/websocket/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition) {
    if (!condition)
        abort();
}

/* What was read is what is written again, but for whether the frame was final. */
static void check_head(const uint8_t *data, size_t size, bool masked) {
    struct frame_head head;
    uint8_t again[FRAME_HEAD_MAX];
    const char *fault = NULL;
    int known = frame_read_head(data, size, masked, &head, &fault);
    require(known == 0 || known == 1 || (known == -EPROTO && fault));
    if (known != 1)
        return;
    require(head.size <= size && head.size <= FRAME_HEAD_MAX && !(head.length >> 63));
    require(frame_write_head(again, head.opcode, head.length, masked ? head.mask : NULL) ==
            head.size);
    require((again[0] & 0x7f) == (data[0] & 0x7f));
    require(memcmp(again + 1, data + 1, head.size - 1) == 0);
}

static void check_mask(const uint8_t *data, size_t size) {
    static const uint8_t MASK[4] = {1, 2, 3, 4};
    char *one = malloc(size + 1), *two = malloc(size + 1);
    require(one && two);
    size_t cut = size / 3;
    frame_mask(one, (const char *)data, size, MASK, 0);
    frame_mask(two, (const char *)data, cut, MASK, 0);
    frame_mask(two + cut, (const char *)data + cut, size - cut, MASK, cut);
    require(memcmp(one, two, size) == 0);
    for (size_t i = 0; i < size; i++)
        require((uint8_t)one[i] == (data[i] ^ MASK[i % 4]));
    free(one);
    free(two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size ? size : 1);
    require(exact != NULL);
    if (size)
        memcpy(exact, data, size);
    check_head(exact, size, true);
    check_head(exact, size, false);
    int code = frame_answer_close(exact, size);
    require(code >= 1000 && code <= 4999);
    check_mask(exact, size);
    free(exact);
    return 0;
}
