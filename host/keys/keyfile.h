/* A node's key on disk: one line of text that only its owner can read. */
#ifndef P2PD_HOST_KEYS_KEYFILE_H
#define P2PD_HOST_KEYS_KEYFILE_H

#include <stddef.h>

#include "host/keys.h"

#define KEYFILE_LINE_MAX 121 /* bytes, with the newline; see keyfile.c for the format */

/* Reads a line: 0 and *keys, with one reference, or -EINVAL when it is not exactly what is written
 * for some key, or -ENOMEM. */
int keyfile_parse(const char *line, size_t len, struct keys **keys);

/* Reads a key file. 0 and *keys, or -errno and in *reason a constant sentence, or NULL when the
 * errno says it all: -ELOOP a symbolic link, -EINVAL no regular file or not our format, -EPERM
 * somebody else's, or in a folder of somebody else's who is not root, -EACCES others may read or
 * write it or write to its folder (or we may not read it). */
int keyfile_load(const char *path, struct keys **keys, const char **reason);

/* Writes a key file that must not be there yet (-EEXIST) into a folder that must (-ENOENT). It
 * appears complete or not at all, whatever happens: 0 or -errno, and *reason as keyfile_load() has
 * it. */
int keyfile_save(const char *path, const struct keys *keys, const char **reason);

/* Makes the folders that lead to a file, with mode 0700 where they are missing: 0 or -errno. */
int keyfile_make_folders(const char *path);

#endif
