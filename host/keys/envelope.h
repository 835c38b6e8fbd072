/* Messages sealed by one node for another, both known by their node keys. */
#ifndef P2PD_HOST_KEYS_ENVELOPE_H
#define P2PD_HOST_KEYS_ENVELOPE_H

#include "host/keys.h"
#include "host/keys/hpke.h"

/* Seals plain from `from` for the Ed25519 key `to`: writes plain.len + HPKE_OVERHEAD bytes. 0,
 * -EINVAL when `to` is no node's key, -EMSGSIZE, -ENOMEM or -EIO. */
int envelope_seal(const struct keys *from, const uint8_t to[KEYS_PUBLIC], struct hpke_text info,
                  struct hpke_text aad, struct hpke_text plain, uint8_t *sealed);

/* Opens what `from` sealed for `to`: writes sealed.len - HPKE_OVERHEAD bytes. 0, -EINVAL when
 * `from` is no node's key, -EBADMSG when anything differs from what was sealed, -ENOMEM or -EIO. */
int envelope_open(const struct keys *to, const uint8_t from[KEYS_PUBLIC], struct hpke_text info,
                  struct hpke_text aad, struct hpke_text sealed, uint8_t *plain);

/* The same with the sender's key sealed as well: nobody but the receiver learns who it is. Writes
 * plain.len + ENVELOPE_HIDDEN_OVERHEAD bytes. */
int envelope_seal_hidden(const struct keys *from, const uint8_t to[KEYS_PUBLIC],
                         struct hpke_text info, struct hpke_text aad, struct hpke_text plain,
                         uint8_t *sealed);

/* Opens it, and tells who sealed it: writes sealed.len - ENVELOPE_HIDDEN_OVERHEAD bytes, and from.
 * 0, -EBADMSG, -ENOMEM or -EIO. */
int envelope_open_hidden(const struct keys *to, struct hpke_text info, struct hpke_text aad,
                         struct hpke_text sealed, uint8_t *plain, uint8_t from[KEYS_PUBLIC]);

#define ENVELOPE_HIDDEN_OVERHEAD HPKE_NAMED_OVERHEAD
#define ENVELOPE_INFO_MAX 256 /* bytes of info; longer is -EMSGSIZE */

#endif
