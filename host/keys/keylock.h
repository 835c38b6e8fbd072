/* One node a key on a machine: a lock on the key file, held for as long as the node runs. */
#ifndef P2PD_HOST_KEYS_KEYLOCK_H
#define P2PD_HOST_KEYS_KEYLOCK_H

#include <sys/types.h>

/* Locks a file: a descriptor, and closing it unlocks; or -errno. -EBUSY: somebody else has locked
 * it, and *holder is his process id, or 0 when it cannot be told. -EOPNOTSUPP: this file system has
 * no locks. */
int keylock_take(const char *path, pid_t *holder);

#endif
