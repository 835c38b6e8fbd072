/* A digest, so that names of any length serve and what is on the wire does not give them away. */
#include "host/reliable/id.h"

#include <openssl/sha.h>
#include <string.h>

void reliable_make_id(const char *name, size_t len, uint8_t id[RELIABLE_ID_SIZE]) {
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)name, len, digest);
    memcpy(id, digest, RELIABLE_ID_SIZE);
}
