/* The id in the datagrams of a reliable link. */
#ifndef P2PD_HOST_RELIABLE_ID_H
#define P2PD_HOST_RELIABLE_ID_H

#include "host/reliable.h"

/* From what both sides call the link: the first bytes of its SHA-256. */
void reliable_make_id(const char *name, size_t len, uint8_t id[RELIABLE_ID_SIZE]);

#endif
