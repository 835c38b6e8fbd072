/* What the fuzzers share: checks, and input as long as its bytes. */
#ifndef P2PD_FUZZ_H
#define P2PD_FUZZ_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer's entry, which each fuzzer defines. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(int condition) {
    if (!condition)
        abort();
}

/* `size` bytes, exactly, so that the sanitizer sees what reaches beyond. To be freed. */
static inline void *allocate(size_t size) {
    void *bytes = malloc(size ? size : 1);
    require(bytes != NULL);
    return bytes;
}

/* The same bytes in a block that is exactly as long. To be freed. */
static inline void *copy_exactly(const void *data, size_t size) {
    void *bytes = allocate(size);
    if (size)
        memcpy(bytes, data, size);
    return bytes;
}

/* Reads every byte, so that the sanitizer sees each one. */
static inline void touch(const void *data, size_t len) {
    static volatile uint8_t sink;
    for (size_t i = 0; i < len; i++)
        sink = sink ^ ((const uint8_t *)data)[i];
}

#endif
