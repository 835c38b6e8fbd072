/* Host names to addresses, on a worker thread. */
#ifndef P2PD_HOST_RESOLVE_H
#define P2PD_HOST_RESOLVE_H

#include <stdbool.h>

#include "host/inet.h"

#define RESOLVE_NAME_MAX 253 /* characters of a host name, RFC 1035 §2.3.4 */

struct resolve;

/*
 * Starts a lookup for AF_INET, AF_INET6 or AF_UNSPEC. A numeric address is answered at once
 * (resolve_is_done()); else on_done(owner) is called later, on the loop thread, unless the lookup
 * is freed before. NULL and errno when the name is none or there is no thread. Loop thread only, as
 * all that follows.
 */
struct resolve *resolve_start(const char *host, int family, void (*on_done)(void *owner),
                              void *owner);

bool resolve_is_done(const struct resolve *r);

/* After the end: how many addresses (ports are 0, no duplicates), or -errno; -ENOENT: no such name.
 */
int resolve_count(const struct resolve *r);
const struct inet_addr *resolve_address(const struct resolve *r, int i);

/* What the resolver says about a failure. */
const char *resolve_message(const struct resolve *r);

/* Frees it; a lookup that still runs is abandoned, and what it brings is dropped. NULL is nothing.
 */
void resolve_free(struct resolve *r);

#endif
