/*
 * QR codes by libqrencode, which is loaded when the first one is made.
 *
 * Any thread, one at a time.
 */
#ifndef P2PD_HOST_QR_H
#define P2PD_HOST_QR_H

#include <stddef.h>

#define QR_TEXT_MAX 2048 /* bytes: the largest symbol of level M has 2331 */
#define QR_SIZE_MAX 177  /* modules of a side, ISO/IEC 18004 version 40 */

/*
 * Encodes a text at level M: `modules` gets size * size bytes, row by row, 1 where it is dark.
 * The size; -ELIBACC: no library; -E2BIG: too long; -EINVAL: empty; -ENOMEM.
 */
int qr_encode(const char *text, size_t len, unsigned char modules[QR_SIZE_MAX * QR_SIZE_MAX]);

#endif
