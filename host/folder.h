/* A folder and what is in it, by paths that never lead out of it: no part of a path is "..", and no
 * symbolic link on the way is followed. So what somebody else names can be read and written below
 * it. Every path is relative, its parts separated by single slashes; "" is the folder itself where
 * that makes sense. */
#ifndef P2PD_HOST_FOLDER_H
#define P2PD_HOST_FOLDER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FOLDER_PATH_MAX 4096 /* bytes, with NUL */

enum folder_kind { FOLDER_FILE, FOLDER_FOLDER, FOLDER_LINK, FOLDER_OTHER };

struct folder_entry {
    enum folder_kind kind;
    int64_t size;
    int64_t mtime_ns; /* since 1970 */
    unsigned mode;    /* permission bits */
};

struct folder;

/* The path is the user's own: links in it are followed. NULL and errno. */
struct folder *folder_open(const char *path);
void folder_free(struct folder *f); /* NULL is fine */

/* All return 0 or -errno: -EINVAL for a path that is none, -ELOOP or -ENOTDIR for a link on the
 * way. */

/* Of the entry itself, should it be a link. */
int folder_stat(struct folder *f, const char *path, struct folder_entry *entry);

/* Calls visit for each name, in no order, until it returns false. */
int folder_list(struct folder *f, const char *path, bool (*visit)(void *arg, const char *name),
                void *arg);

/* A descriptor of a regular file, the caller's, as open(2) has it with these flags. A link as the
 * last part is followed only when `follow` says so. */
int folder_open_file(struct folder *f, const char *path, int flags, mode_t mode, bool follow);

int folder_make(struct folder *f, const char *path, mode_t mode);
int folder_make_link(struct folder *f, const char *path, const char *target);
int folder_remove(struct folder *f, const char *path); /* a file, a link, an empty folder */

/* Where a link leads; target has room for FOLDER_PATH_MAX bytes. */
int folder_read_link(struct folder *f, const char *path, char *target);

/* Gives it another name in the folder that it is in; -EEXIST, unless it may replace. */
int folder_rename(struct folder *f, const char *path, const char *name, bool replace);

/* Of a folder, or the time alone of a link. */
int folder_set(struct folder *f, const char *path, mode_t mode, int64_t mtime_ns);

/* Bytes that its file system has left for us. */
int64_t folder_room(struct folder *f);

#endif
