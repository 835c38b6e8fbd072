/* libFuzzer on node ids and key files: what is taken is what would be written. */
#include <errno.h>

#include "host/keys/base58.h"
#include "host/keys/keyfile.h"
#include "spec/fuzz/fuzz.h"

static void parse_id(const char *text, size_t len) {
    uint8_t public[KEYS_PUBLIC];
    char id[KEYS_ID_MAX];
    int error = keys_parse_id(text, len, public);
    require(error == 0 || error == -EINVAL);
    if (!error)
        require(strlen(keys_id(public, id)) == len && memcmp(id, text, len) == 0);
}

/* Any bytes have a spelling, which gives them back. */
static void spell(const uint8_t *data, size_t size) {
    uint8_t bytes[BASE58_BYTES_MAX];
    char text[BASE58_TEXT_MAX];
    size_t len = size < sizeof bytes ? size : sizeof bytes;
    size_t text_len = strlen(base58_encode(data, len, text));
    require(base58_decode(text, text_len, bytes, len) == 0 && memcmp(bytes, data, len) == 0);
    require(len == 0 || base58_decode(text, text_len, bytes, len - 1) == -EINVAL);
}

static void parse_file(const char *text, size_t len) {
    struct keys *keys = NULL;
    char id[KEYS_ID_MAX];
    if (keyfile_parse(text, len, &keys) == 0) {
        keys_id(keys_public(keys), id);
        require(memmem(text, len, id, strlen(id)) != NULL);
        keys_free(keys);
    } else {
        require(keys == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *exact = copy_exactly(data, size);
    parse_id(exact, size);
    parse_file(exact, size);
    spell(data, size);
    free(exact);
    return 0;
}
