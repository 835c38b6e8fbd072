/* Files of the user's that are his alone: written as a whole or not at all. */
#ifndef P2PD_HOST_PRIVATE_FILE_H
#define P2PD_HOST_PRIVATE_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Puts a file (mode 0600) in the place of the former one, provided that this is `was` (empty: there
 * is none), and makes the folders that it needs (0700). Whoever reads sees the former one or this
 * one, also after a crash. 0 or -errno; -EAGAIN: somebody else has changed it meanwhile. */
int private_file_swap(const char *path, const char *was, size_t was_len, const char *data,
                      size_t len);

/* Reads a file that nobody but its owner, who we are, can use: bytes, at most `size`; or -errno:
 * -EACCES: others can use it; -EPERM: it is somebody else's; -ELOOP: it is a symbolic link. */
ssize_t private_file_read(const char *path, char *data, size_t size);

#endif
