/*
 * HPKE's mode_auth between the X25519 keys that belong to two node ids.
 *
 * An Ed25519 key and its negative share one X25519 key, and HPKE only authenticates that. Without
 * more, what Alice sealed would open as well as a message of the node whose key is the negative of
 * hers. So HPKE's info is the caller's, followed by the Ed25519 keys of sender and receiver.
 */
#include "host/keys/envelope.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

static const uint8_t NOBODY[KEYS_PUBLIC]; /* stands for a sender who is not known yet */

struct info {
    uint8_t bytes[ENVELOPE_INFO_MAX + 2 * KEYS_PUBLIC];
};

static struct hpke_text bind_info(struct info *full, struct hpke_text info, const uint8_t *from,
                                  const uint8_t *to) {
    memcpy(full->bytes, info.data, info.len);
    memcpy(full->bytes + info.len, from, KEYS_PUBLIC);
    memcpy(full->bytes + info.len + KEYS_PUBLIC, to, KEYS_PUBLIC);
    return (struct hpke_text){full->bytes, info.len + 2 * KEYS_PUBLIC};
}

/* The key of the other side, for what is sealed with this info. */
static int find_key(struct hpke_text info, const uint8_t public[KEYS_PUBLIC],
                    uint8_t key[HPKE_KEY]) {
    return info.len > ENVELOPE_INFO_MAX ? -EMSGSIZE : keys_to_x25519(public, key);
}

int envelope_seal(const struct keys *from, const uint8_t to[KEYS_PUBLIC], struct hpke_text info,
                  struct hpke_text aad, struct hpke_text plain, uint8_t *sealed) {
    struct info full;
    uint8_t receiver[HPKE_KEY];
    int error = find_key(info, to, receiver);
    if (error)
        return error;
    return hpke_seal(keys_x25519(from), receiver, bind_info(&full, info, keys_public(from), to),
                     aad, plain, sealed);
}

int envelope_open(const struct keys *to, const uint8_t from[KEYS_PUBLIC], struct hpke_text info,
                  struct hpke_text aad, struct hpke_text sealed, uint8_t *plain) {
    struct info full;
    uint8_t sender[HPKE_KEY];
    int error = find_key(info, from, sender);
    if (error)
        return error;
    return hpke_open(keys_x25519(to), sender, bind_info(&full, info, from, keys_public(to)), aad,
                     sealed, plain);
}

int envelope_seal_hidden(const struct keys *from, const uint8_t to[KEYS_PUBLIC],
                         struct hpke_text info, struct hpke_text aad, struct hpke_text plain,
                         uint8_t *sealed) {
    struct info full, name_full;
    uint8_t receiver[HPKE_KEY];
    int error = find_key(info, to, receiver);
    if (error)
        return error;
    const struct hpke_named m = {
        .name = keys_public(from),
        .name_info = bind_info(&name_full, info, NOBODY, to),
        .info = bind_info(&full, info, keys_public(from), to),
        .aad = aad,
        .plain = plain,
    };
    return hpke_seal_named(keys_x25519(from), receiver, &m, sealed);
}

int envelope_open_hidden(const struct keys *to, struct hpke_text info, struct hpke_text aad,
                         struct hpke_text sealed, uint8_t *plain, uint8_t from[KEYS_PUBLIC]) {
    struct info full;
    struct hpke_half half;
    uint8_t sender[HPKE_KEY];
    const uint8_t *public = keys_public(to);
    if (info.len > ENVELOPE_INFO_MAX)
        return -EMSGSIZE;
    int error = hpke_open_name(keys_x25519(to), bind_info(&full, info, NOBODY, public), aad, sealed,
                               from, &half);
    if (error)
        return error;
    if (keys_to_x25519(from, sender)) {
        OPENSSL_cleanse(&half, sizeof half);
        return -EBADMSG;
    }
    return hpke_open_rest(keys_x25519(to), sender, &half, bind_info(&full, info, from, public), aad,
                          sealed, plain);
}
