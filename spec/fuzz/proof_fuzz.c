/*
 * libFuzzer on the proof in a ClientHello. The first byte says what the rest is:
 * even, a record of anybody's, which proves nothing; odd, the message that a good proof is made
 * for, which must count, and must not once a bit of it is different.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "host/tls/proof.h"
#include "spec/fuzz/fuzz.h"

#define HEADERS 9  /* of the record, of the message */
#define BINDERS 35 /* a binder and its lengths */

static const uint8_t NODE[KEYS_PUBLIC] = {1, 2, 3};
static uint8_t key[TLS_PROOF_KEY];

static void check_anything(const uint8_t *data, size_t size) {
    uint8_t *record = copy_exactly(data, size);
    ssize_t wanted = tls_proof_size(record, size);
    require(wanted == -EPROTO || (wanted >= TLS_PROOF_HEADER && wanted <= TLS_PROOF_HELLO_MAX));
    require(!tls_proof_check(key, record, size));
    free(record);
}

static void prove(uint8_t *record, size_t size) {
    static const uint8_t LENGTHS[] = {0, 33, 32};
    uint8_t hash[32];
    size_t rest = size - 5, text = size - 9, end = size - BINDERS;
    const uint8_t header[HEADERS] = {
        22, 3, 1, (uint8_t)(rest >> 8), (uint8_t)rest, 1, 0, (uint8_t)(text >> 8), (uint8_t)text};
    memcpy(record, header, sizeof header);
    memcpy(record + end, LENGTHS, sizeof LENGTHS);
    require(EVP_Digest(record + 5, end - 5, hash, NULL, EVP_sha256(), NULL));
    require(HMAC(EVP_sha256(), key, sizeof key, hash, 32, record + end + 3, NULL) != NULL);
}

/* The version of the record, bytes 1 and 2, may be any 3.x. */
static void change(uint8_t *record, size_t size, size_t at) {
    record[at / 8] ^= (uint8_t)(1 << at % 8);
    require(at / 8 == 2 || !tls_proof_check(key, record, size));
    require(at / 8 != 2 || tls_proof_check(key, record, size));
}

static void check_good(const uint8_t *data, size_t size) {
    uint8_t *record;
    if (size < HEADERS + BINDERS || size > TLS_PROOF_HELLO_MAX)
        return;
    record = copy_exactly(data, size);
    prove(record, size);
    for (size_t len = 0; len < size; len += 7)
        require(!tls_proof_check(key, record, len));
    require(tls_proof_size(record, size) == (ssize_t)size);
    require(tls_proof_check(key, record, size));
    change(record, size, (size_t)(data[0] << 8 | data[1]) % (size * 8));
    free(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    require(tls_proof_key(NODE, key));
    if (size > 0 && data[0] & 1)
        check_good(data + 1, size - 1);
    else if (size > 0)
        check_anything(data + 1, size - 1);
    return 0;
}
