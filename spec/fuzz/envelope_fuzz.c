/*
 * libFuzzer on sealed messages, with a known sender and with a hidden one. The first
 * byte says what the rest is: even, a sealed message from anybody, which must not open; odd, a
 * message with its info and aad, which must open as it was, and must not once a bit of it is
 * different.
 */
#include <errno.h>

#include "host/keys/envelope.h"
#include "spec/fuzz/fuzz.h"

#define PLAIN_MAX 4096

static struct keys *alice, *bob;

static void make_keys(void) {
    const uint8_t seeds[2][KEYS_SEED] = {{1}, {2}};
    alice = keys_from_seed(seeds[0]);
    bob = keys_from_seed(seeds[1]);
    require(alice && bob);
}

static void open_anything(const uint8_t *data, size_t size) {
    const struct hpke_text none = {"", 0}, sealed = {data, size};
    size_t len = size < HPKE_OVERHEAD ? 0 : size - HPKE_OVERHEAD;
    uint8_t *plain = allocate(len);
    require(envelope_open(bob, keys_public(alice), none, none, sealed, plain) == -EBADMSG);
    uint8_t from[KEYS_PUBLIC];
    require(envelope_open_hidden(bob, none, none, sealed, plain, from) == -EBADMSG);
    free(plain);
}

struct message {
    struct hpke_text info, aad, plain;
};

/* The first three bytes are two lengths and the place of the bit to change. */
static struct message divide(const uint8_t *data, size_t size) {
    struct message m = {{data, 0}, {data, 0}, {data, size < PLAIN_MAX ? size : PLAIN_MAX}};
    m.info.len = data[0] % (m.plain.len + 1);
    m.aad.len = data[1] % (m.plain.len + 1);
    return m;
}

static void seal_and_change(const uint8_t *data, size_t size) {
    struct message m = divide(data, size);
    size_t len = m.plain.len + HPKE_OVERHEAD;
    uint8_t *sealed = allocate(len), *plain = allocate(m.plain.len);
    const struct hpke_text text = {sealed, len};
    require(envelope_seal(alice, keys_public(bob), m.info, m.aad, m.plain, sealed) == 0);
    require(envelope_open(bob, keys_public(alice), m.info, m.aad, text, plain) == 0);
    require(memcmp(plain, m.plain.data, m.plain.len) == 0);
    size_t at = (size_t)(data[2] << 8 | data[0]) % len;
    sealed[at] ^= (uint8_t)(1 << data[1] % 8);
    require(envelope_open(bob, keys_public(alice), m.info, m.aad, text, plain) == -EBADMSG);
    free(sealed);
    free(plain);
}

static void hide_and_change(const uint8_t *data, size_t size) {
    struct message m = divide(data, size);
    size_t len = m.plain.len + ENVELOPE_HIDDEN_OVERHEAD;
    uint8_t *sealed = allocate(len), *plain = allocate(m.plain.len), from[KEYS_PUBLIC];
    const struct hpke_text text = {sealed, len};
    require(envelope_seal_hidden(alice, keys_public(bob), m.info, m.aad, m.plain, sealed) == 0);
    require(envelope_open_hidden(bob, m.info, m.aad, text, plain, from) == 0);
    require(memcmp(plain, m.plain.data, m.plain.len) == 0);
    require(memcmp(from, keys_public(alice), KEYS_PUBLIC) == 0);
    size_t at = (size_t)(data[2] << 8 | data[0]) % len;
    sealed[at] ^= (uint8_t)(1 << data[1] % 8);
    require(envelope_open_hidden(bob, m.info, m.aad, text, plain, from) == -EBADMSG);
    free(sealed);
    free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!alice)
        make_keys();
    if (size > 3 && data[0] & 1)
        (data[0] & 2 ? hide_and_change : seal_and_change)(data + 1, size - 1);
    else if (size > 0)
        open_anything(data + 1, size - 1);
    return 0;
}
