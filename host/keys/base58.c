/*
 * Both directions are schoolbook conversion of one big-endian number, which is fine for a few dozen
 * bytes. A leading zero byte is a leading '1', so each byte string has one spelling; the decoder
 * proves it by spelling what it read.
 */
#include "host/keys/base58.h"

#include <errno.h>
#include <string.h>

static const char ALPHABET[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

static size_t count_leading(const uint8_t *values, size_t len) {
    size_t n = 0;
    while (n < len && values[n] == 0)
        n++;
    return n;
}

/* number = number * factor + digit, in base 256 or 58, most significant first. What runs over is
 * returned.
 */
static unsigned push_digit(uint8_t *number, size_t len, unsigned base, unsigned factor,
                           unsigned digit) {
    unsigned carry = digit;
    for (size_t i = len; i-- > 0;) {
        carry += number[i] * factor;
        number[i] = (uint8_t)(carry % base);
        carry /= base;
    }
    return carry;
}

char *base58_encode(const uint8_t *bytes, size_t len, char *text) {
    uint8_t digits[BASE58_TEXT_MAX - 1] = {0};
    size_t zeros = count_leading(bytes, len), n = 0;
    for (size_t i = zeros; i < len; i++)
        push_digit(digits, sizeof digits, 58, 256, bytes[i]);
    for (size_t i = 0; i < zeros; i++)
        text[n++] = ALPHABET[0];
    for (size_t i = count_leading(digits, sizeof digits); i < sizeof digits; i++)
        text[n++] = ALPHABET[digits[i]];
    text[n] = '\0';
    return text;
}

int base58_decode(const char *text, size_t text_len, uint8_t *bytes, size_t len) {
    char spelling[BASE58_TEXT_MAX];
    if (text_len >= sizeof spelling || len > BASE58_BYTES_MAX)
        return -EINVAL;
    memset(bytes, 0, len);
    for (size_t i = 0; i < text_len; i++) {
        const char *at = text[i] ? strchr(ALPHABET, text[i]) : NULL;
        if (!at || push_digit(bytes, len, 256, 58, (unsigned)(at - ALPHABET)))
            return -EINVAL;
    }
    base58_encode(bytes, len, spelling);
    return strlen(spelling) == text_len && memcmp(spelling, text, text_len) == 0 ? 0 : -EINVAL;
}
