/* What SPAKE2's parts share: sizes, roles, texts. */
#ifndef P2PD_HOST_SPAKE2_TYPES_H
#define P2PD_HOST_SPAKE2_TYPES_H

#include <stddef.h>

#define SPAKE2_SCALAR 32
#define SPAKE2_SHARE 65 /* a point, uncompressed (SEC 1 §2.3.3) */
#define SPAKE2_CONFIRMATION 32
#define SPAKE2_SEAL 16 /* bytes that sealing adds */

enum spake2_role { SPAKE2_A, SPAKE2_B };

struct spake2_text {
    const void *data;
    size_t len;
};

#endif
