/*
 * MD5 and MESSAGE-INTEGRITY with servers of RFC 5389; where the server lists password algorithms
 * (RFC 8489 §9.2.5), SHA-256 if it can, and the list goes back so that nobody can shorten it on the
 * way.
 */
#include "host/turn/credentials.h"

#include <errno.h>
#include <string.h>

#include "host/bytes.h"

#define USERNAME_MAX 508 /* bytes, RFC 8489 §14.3 */

static int copy(struct turn_text *to, struct stun_text from) {
    if (from.len > sizeof to->data)
        return -EINVAL;
    if (from.len)
        memcpy(to->data, from.data, from.len);
    to->len = from.len;
    return 0;
}

static struct stun_text view(const struct turn_text *text) {
    return (struct stun_text){text->data, text->len};
}

static bool is_equal(const struct turn_text *a, struct stun_text b) {
    return a->len == b.len && memcmp(a->data, b.data, b.len) == 0;
}

int turn_credentials_init(struct turn_credentials *c, struct stun_text user,
                          struct stun_text password, struct stun_text realm) {
    memset(c, 0, sizeof *c);
    c->fixed = realm.len > 0;
    int error = user.len > USERNAME_MAX ? -EINVAL : copy(&c->user, user);
    error = error ? error : copy(&c->password, password);
    return error ? error : copy(&c->realm, realm);
}

static bool find_text(const struct stun_message *m, uint16_t type, struct stun_text *text) {
    struct stun_attribute a;
    if (!stun_find(m, type, &a))
        return false;
    *text = (struct stun_text){(const char *)a.value, a.len};
    return true;
}

static bool lists_sha256(const uint8_t *algorithms, size_t len) {
    for (size_t at = 0; at + 4 <= len;) {
        size_t parameters = bytes_get16(algorithms + at + 2);
        if (bytes_get16(algorithms + at) == STUN_SHA256)
            return true;
        at += 4 + ((parameters + 3) & ~(size_t)3);
    }
    return false;
}

static void take_algorithms(struct turn_credentials *c, const struct stun_message *m) {
    struct stun_attribute a;
    c->algorithm = STUN_MD5;
    c->algorithms_len = 0;
    if (!stun_find(m, STUN_PASSWORD_ALGORITHMS, &a) || a.len > sizeof c->algorithms)
        return;
    memcpy(c->algorithms, a.value, a.len);
    c->algorithms_len = a.len;
    if (lists_sha256(a.value, a.len))
        c->algorithm = STUN_SHA256;
}

int turn_credentials_challenge(struct turn_credentials *c, const struct stun_message *m) {
    struct stun_text nonce, realm = view(&c->realm);
    bool named = find_text(m, STUN_REALM, &realm);
    if (!find_text(m, STUN_NONCE, &nonce) || (!named && !c->known))
        return -EPROTO;
    if ((c->fixed || c->known) && !is_equal(&c->realm, realm))
        return -EACCES;
    if (copy(&c->nonce, nonce) < 0 || (named && copy(&c->realm, realm) < 0))
        return -EPROTO;
    take_algorithms(c, m);
    int len = stun_long_term_key(c->key, c->algorithm, view(&c->user), view(&c->realm),
                                 view(&c->password));
    if (len < 0)
        return len;
    c->key_len = (size_t)len;
    c->known = true;
    return 0;
}

void turn_credentials_sign(const struct turn_credentials *c, struct stun_writer *w) {
    if (!c->known)
        return;
    stun_put(w, STUN_USERNAME, c->user.data, c->user.len);
    stun_put(w, STUN_REALM, c->realm.data, c->realm.len);
    stun_put(w, STUN_NONCE, c->nonce.data, c->nonce.len);
    if (c->algorithms_len) {
        stun_put(w, STUN_PASSWORD_ALGORITHMS, c->algorithms, c->algorithms_len);
        stun_put_u32(w, STUN_PASSWORD_ALGORITHM, (uint32_t)c->algorithm << 16);
    }
    if (c->algorithm == STUN_SHA256)
        stun_put_integrity_sha256(w, c->key, c->key_len);
    else
        stun_put_integrity(w, c->key, c->key_len);
}
