/* Whoever changes a file with private_file_swap() locks its folder meanwhile: the file itself is
 * replaced.
 */
#include "host/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/fd.h"
#include "host/keys/keyfile.h"

static int open_folder(const char *path) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s/.", slash ? (int)(slash - path) : 1, slash ? path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int write_aside(char *temporary, const char *data, size_t len) {
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return -errno;
    int err = fd_write_all(fd, data, len);
    if (!err && fsync(fd) < 0)
        err = -errno;
    if (close(fd) < 0 && !err)
        err = -errno;
    if (err)
        unlink(temporary);
    return err;
}

/* A rename is on the disk once its folder is. */
static int replace_in(int folder, const char *path, const void *data, size_t len) {
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary)
        return -ENAMETOOLONG;
    int err = write_aside(temporary, data, len);
    if (err)
        return err;
    if (rename(temporary, path) < 0) {
        err = -errno;
        unlink(temporary);
        return err;
    }
    return fsync(folder) < 0 && errno != EINVAL ? -errno : 0;
}

/* Whether the file is just these bytes; one that is not there is empty. */
static int is_same(const char *path, const char *data, size_t len) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? len == 0 : -errno;
    bool same = true;
    char buf[4096];
    ssize_t n;
    while (same && (n = read(fd, buf, sizeof buf)) > 0) {
        same = (size_t)n <= len && memcmp(buf, data, (size_t)n) == 0;
        data += same ? n : 0;
        len -= same ? (size_t)n : 0;
    }
    close(fd);
    return same && len == 0;
}

int private_file_swap(const char *path, const char *was, size_t was_len, const char *data,
                      size_t len) {
    int err = keyfile_make_folders(path);
    if (err)
        return err;
    int folder = open_folder(path);
    if (folder < 0)
        return folder;
    flock(folder, LOCK_EX); /* held for a moment by whoever has it; not every file system has any */
    int same = is_same(path, was, was_len);
    err = same > 0 ? replace_in(folder, path, data, len) : same < 0 ? same : -EAGAIN;
    close(folder);
    return err;
}

static int find_fault(int fd) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_uid != geteuid())
        return -EPERM;
    return st.st_mode & 077 ? -EACCES : 0;
}

ssize_t private_file_read(const char *path, char *data, size_t size) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    int err = find_fault(fd);
    ssize_t n = err ? err : read(fd, data, size);
    if (!err && n < 0)
        n = -errno;
    close(fd);
    return n;
}
