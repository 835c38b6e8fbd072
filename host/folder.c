/* The path of the folder that was last looked into is kept with its descriptor: whoever goes
 * through a tree asks for its siblings next. */
#include "host/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define NS 1000000000

struct folder {
    int root;
    int parent; /* -1: none is kept */
    char path[FOLDER_PATH_MAX];
    size_t path_len;
};

struct folder *folder_open(const char *path) {
    int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return NULL;
    struct folder *f = calloc(1, sizeof *f);
    if (!f) {
        close(root);
        errno = ENOMEM;
        return NULL;
    }
    f->root = root;
    f->parent = -1;
    return f;
}

static void forget_parent(struct folder *f) {
    if (f->parent >= 0)
        close(f->parent);
    f->parent = -1;
}

void folder_free(struct folder *f) {
    if (!f)
        return;
    forget_parent(f);
    close(f->root);
    free(f);
}

/* -- the way ------------------------------------------------------------------------------- */

static bool is_name(const char *part, size_t len) {
    bool dots = len <= 2 && strncmp(part, "..", len) == 0;
    return len > 0 && len <= NAME_MAX && !dots;
}

/* One step down; closes `from` unless it is the root. */
static int enter(const struct folder *f, int from, const char *part, size_t len) {
    char name[NAME_MAX + 1];
    int to = -EINVAL;
    if (is_name(part, len)) {
        memcpy(name, part, len);
        name[len] = '\0';
        to = openat(from, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        to = to < 0 ? -errno : to;
    }
    if (from != f->root)
        close(from);
    return to;
}

/* The descriptor of a folder, given by the first len bytes of a path; the folder's own. */
static int find_folder(struct folder *f, const char *path, size_t len) {
    if (len == 0)
        return f->root;
    if (len >= FOLDER_PATH_MAX)
        return -ENAMETOOLONG;
    if (f->parent >= 0 && f->path_len == len && memcmp(f->path, path, len) == 0)
        return f->parent;
    int at = f->root;
    for (const char *part = path, *end = path + len; at >= 0 && part <= end;) {
        const char *slash = memchr(part, '/', (size_t)(end - part));
        size_t part_len = (size_t)((slash ? slash : end) - part);
        at = enter(f, at, part, part_len);
        part += part_len + 1;
    }
    if (at < 0)
        return at;
    forget_parent(f);
    memcpy(f->path, path, len);
    f->path_len = len;
    f->parent = at;
    return at;
}

/* The folder of what a path names, and its name there. */
static int find(struct folder *f, const char *path, const char **name) {
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (!is_name(*name, strlen(*name)) || slash == path)
        return -EINVAL;
    return find_folder(f, path, slash ? (size_t)(slash - path) : 0);
}

/* -- reading ------------------------------------------------------------------------------- */

static enum folder_kind kind_of(mode_t mode) {
    if (S_ISREG(mode))
        return FOLDER_FILE;
    if (S_ISDIR(mode))
        return FOLDER_FOLDER;
    return S_ISLNK(mode) ? FOLDER_LINK : FOLDER_OTHER;
}

int folder_stat(struct folder *f, const char *path, struct folder_entry *entry) {
    struct stat st;
    const char *name = "";
    int parent = *path ? find(f, path, &name) : f->root;
    if (parent < 0)
        return parent;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
        return -errno;
    entry->kind = kind_of(st.st_mode);
    entry->size = st.st_size;
    entry->mtime_ns = (int64_t)st.st_mtim.tv_sec * NS + st.st_mtim.tv_nsec;
    entry->mode = st.st_mode & 07777;
    return 0;
}

static DIR *open_list(struct folder *f, const char *path) {
    int at = find_folder(f, path, strlen(path));
    if (at < 0) {
        errno = -at;
        return NULL;
    }
    int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (fd >= 0 && !list)
        close(fd);
    return list;
}

int folder_list(struct folder *f, const char *path, bool (*visit)(void *arg, const char *name),
                void *arg) {
    DIR *list = open_list(f, path);
    if (!list)
        return -errno;
    struct dirent *entry;
    while ((errno = 0, entry = readdir(list)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !visit(arg, entry->d_name))
            break;
    int error = -errno;
    closedir(list);
    return error;
}

/* O_NONBLOCK: a fifo does not hold us up; it is refused, as all that is no file. */
int folder_open_file(struct folder *f, const char *path, int flags, mode_t mode, bool follow) {
    struct stat st;
    const char *name;
    int parent = find(f, path, &name);
    if (parent < 0)
        return parent;
    int fd = openat(parent, name, flags | O_CLOEXEC | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW), mode);
    if (fd < 0)
        return -errno;
    int error = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
    if (!error)
        return fd;
    close(fd);
    return error;
}

int folder_read_link(struct folder *f, const char *path, char *target) {
    const char *name;
    int parent = find(f, path, &name);
    if (parent < 0)
        return parent;
    ssize_t len = readlinkat(parent, name, target, FOLDER_PATH_MAX);
    if (len < 0)
        return -errno;
    if (len == FOLDER_PATH_MAX)
        return -ENAMETOOLONG;
    target[len] = '\0';
    return 0;
}

/* -- changing ------------------------------------------------------------------------------ */

int folder_make(struct folder *f, const char *path, mode_t mode) {
    const char *name;
    int parent = find(f, path, &name);
    if (parent < 0)
        return parent;
    return mkdirat(parent, name, mode) < 0 ? -errno : 0;
}

int folder_make_link(struct folder *f, const char *path, const char *target) {
    const char *name;
    int parent = find(f, path, &name);
    if (parent < 0)
        return parent;
    return symlinkat(target, parent, name) < 0 ? -errno : 0;
}

int folder_remove(struct folder *f, const char *path) {
    const char *name;
    int parent = find(f, path, &name);
    if (parent < 0)
        return parent;
    if (unlinkat(parent, name, 0) == 0)
        return 0;
    return errno == EISDIR && unlinkat(parent, name, AT_REMOVEDIR) == 0 ? 0 : -errno;
}

/* Where the file system knows no RENAME_NOREPLACE, somebody else may come in between. */
static int rename_new(int parent, const char *from, const char *to) {
    if (renameat2(parent, from, parent, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (faccessat(parent, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    return renameat(parent, from, parent, to) < 0 ? -errno : 0;
}

int folder_rename(struct folder *f, const char *path, const char *to, bool replace) {
    const char *from;
    int parent = is_name(to, strlen(to)) && !strchr(to, '/') ? find(f, path, &from) : -EINVAL;
    if (parent < 0)
        return parent;
    if (!replace)
        return rename_new(parent, from, to);
    return renameat(parent, from, parent, to) < 0 ? -errno : 0;
}

int folder_set(struct folder *f, const char *path, mode_t mode, int64_t mtime_ns) {
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {mtime_ns / NS, mtime_ns % NS}};
    struct folder_entry entry;
    const char *name;
    int error = folder_stat(f, path, &entry);
    int parent = error ? error : find(f, path, &name);
    if (parent < 0)
        return parent;
    if (utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (entry.kind != FOLDER_FOLDER)
        return 0;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    error = fd < 0 || fchmod(fd, mode) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return error;
}

int64_t folder_room(struct folder *f) {
    struct statvfs st;
    if (fstatvfs(f->root, &st) < 0)
        return -errno;
    return (int64_t)st.f_bavail * (int64_t)st.f_frsize;
}
