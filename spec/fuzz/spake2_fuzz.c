/* libFuzzer on a peer's share, confirmation and sealed text: without the password
 * nothing is confirmed or opened, whatever comes; a share that is taken is a point as it was sent,
 * and leaves both sides of an exchange as they should be. */
#include <errno.h>

#include "host/spake2.h"
#include "spec/fuzz/fuzz.h"

static struct spake2 *start(enum spake2_role role) {
    struct spake2_options options = {role, {"4-amber-canoe-violin", 20}, {"offer", 5}, {"", 0}};
    struct spake2 *s = spake2_new(&options);
    require(s != NULL);
    return s;
}

/* A share followed by a confirmation followed by a sealed text, each as far as the input goes. */
static void attack(const uint8_t *data, size_t size) {
    size_t share = size < SPAKE2_SHARE ? size : SPAKE2_SHARE;
    size_t rest = size - share;
    size_t confirmation = rest < SPAKE2_CONFIRMATION ? rest : SPAKE2_CONFIRMATION;
    uint8_t *plain = malloc(size + 1);
    struct spake2 *s = start(SPAKE2_B);
    require(plain != NULL);
    int error = spake2_receive(s, data, share);
    require(error == 0 || error == -EINVAL);
    require((spake2_confirmation(s) == NULL) == (error != 0));
    require(spake2_verify(s, data + share, confirmation) == (error ? -ENOTCONN : -EBADMSG));
    struct spake2_text sealed = {data + share + confirmation, rest - confirmation};
    require(spake2_open(s, sealed, plain) == (error ? -ENOTCONN : -EBADMSG));
    require(error || spake2_receive(s, data, share) == -EALREADY);
    spake2_free(s);
    free(plain);
}

/* Two that know the password: any text passes, and is refused with one bit changed. */
static void agree(const uint8_t *data, size_t size) {
    struct spake2 *a = start(SPAKE2_A), *b = start(SPAKE2_B);
    uint8_t *sealed = malloc(size + SPAKE2_SEAL), *plain = malloc(size + SPAKE2_SEAL);
    require(sealed && plain);
    require(spake2_receive(a, spake2_share(b), SPAKE2_SHARE) == 0);
    require(spake2_receive(b, spake2_share(a), SPAKE2_SHARE) == 0);
    require(spake2_verify(b, spake2_confirmation(a), SPAKE2_CONFIRMATION) == 0);
    require(spake2_seal(a, (struct spake2_text){data, size}, sealed) == 0);
    require(spake2_open(b, (struct spake2_text){sealed, size + SPAKE2_SEAL}, plain) == 0);
    require(memcmp(plain, data, size) == 0);
    sealed[size / 2] ^= 1;
    require(spake2_open(b, (struct spake2_text){sealed, size + SPAKE2_SEAL}, plain) == -EBADMSG);
    spake2_free(a);
    spake2_free(b);
    free(sealed);
    free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    attack(data, size);
    agree(data, size);
    return 0;
}
