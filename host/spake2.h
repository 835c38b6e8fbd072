/* SPAKE2 over P-256 (RFC 9382: SPAKE2-P256-SHA256-HKDF-HMAC): two sides that know one password get
 * a key that nobody else has. Whoever does not know the password can try one in an exchange, and
 * what he has seen of it tells him nothing about any other. Pure: bytes in, bytes out. */
#ifndef P2PD_HOST_SPAKE2_H
#define P2PD_HOST_SPAKE2_H

#include <stddef.h>
#include <stdint.h>

#include "host/spake2/types.h"

#define SPAKE2_NAME_MAX 256      /* bytes of a party's identity */
#define SPAKE2_PLAIN_MAX 1048576 /* bytes of what is sealed: far more than anybody sends */

struct spake2_options {
    enum spake2_role role;
    struct spake2_text password;
    struct spake2_text a, b; /* the identities of both parties */
};

/* One side of one exchange; its secrets are wiped at the end. */
struct spake2;

/* NULL and errno: EINVAL an identity is too long, EIO OpenSSL fails. */
struct spake2 *spake2_new(const struct spake2_options *options);

/* The same with given scalars instead of a password and a random one: for the published vectors.
 * EINVAL as well when one is 0 or not below the group's order. */
struct spake2 *spake2_new_with(const struct spake2_options *options, const uint8_t w[SPAKE2_SCALAR],
                               const uint8_t secret[SPAKE2_SCALAR]);

void spake2_free(struct spake2 *s); /* NULL is fine */

/* What the peer needs first; borrowed. */
const uint8_t *spake2_share(const struct spake2 *s);

/* Takes the peer's share. 0; -EINVAL when it is no point of the curve, or one that leaves no
 * secret; -EALREADY the second time, since one exchange is one guess; -EIO. */
int spake2_receive(struct spake2 *s, const void *share, size_t len);

/* What shows the peer that this side knows the password, once its share was taken; NULL before. */
const uint8_t *spake2_confirmation(const struct spake2 *s);

/* Whether the peer knows the password: 0, -EBADMSG, or -ENOTCONN before its share was taken. In
 * constant time. */
int spake2_verify(const struct spake2 *s, const void *confirmation, size_t len);

/* Seals one text for the peer with the exchange's key: writes plain.len + SPAKE2_SEAL bytes. Each
 * side can once: 0, -EALREADY, -ENOTCONN before the peer's share was taken, -EMSGSIZE, -EIO. */
int spake2_seal(struct spake2 *s, struct spake2_text plain, uint8_t *sealed);

/* Opens the peer's text, writes sealed.len - SPAKE2_SEAL bytes, which are wiped when they prove
 * false: 0, -EBADMSG, -ENOTCONN, -EIO. */
int spake2_open(const struct spake2 *s, struct spake2_text sealed, uint8_t *plain);

#endif
