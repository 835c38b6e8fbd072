/* Base58 with Bitcoin's alphabet: numbers as text without the characters that look alike. */
#ifndef P2PD_HOST_KEYS_BASE58_H
#define P2PD_HOST_KEYS_BASE58_H

#include <stddef.h>
#include <stdint.h>

#define BASE58_BYTES_MAX 64
#define BASE58_TEXT_MAX 89 /* 64 bytes are at most 88 characters, and NUL */

/* Writes text and NUL; returns text. len is at most BASE58_BYTES_MAX; 32 bytes are at most 44
 * characters. */
char *base58_encode(const uint8_t *bytes, size_t len, char *text);

/* Reads exactly len bytes out of text: 0, or -EINVAL when it is not their one spelling. */
int base58_decode(const char *text, size_t text_len, uint8_t *bytes, size_t len);

#endif
