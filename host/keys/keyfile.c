/*
 * The line is
 *
 *     p2pd-key-1 SEED ID
 *
 * with the seed in 64 lower-case hexadecimal digits, the node id that follows from it, single
 * spaces, and a newline at the end. The id shows whose file it is and tells a damaged seed. A line
 * has to be exactly what would be written for its seed.
 *
 * A key is written under another name and linked to its own: link(2) never replaces, so of two
 * processes that make one at the same time one is told so, and both can use the first one's.
 */
#include "host/keys/keyfile.h"
#include "host/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "p2pd-key-1 "
#define MAGIC_SIZE (sizeof MAGIC - 1)
#define LINE_SIZE (KEYFILE_LINE_MAX + 1) /* with NUL, and one too many can be told */
#define OTHERS (S_IRWXG | S_IRWXO)

/* -- the line ------------------------------------------------------------------------------ */

static size_t format_line(const struct keys *keys, char line[LINE_SIZE]) {
    static const char DIGITS[] = "0123456789abcdef";
    uint8_t seed[KEYS_SEED];
    char hex[2 * KEYS_SEED + 1] = "", id[KEYS_ID_MAX];
    keys_seed(keys, seed);
    for (size_t i = 0; i < sizeof seed; i++) {
        hex[2 * i] = DIGITS[seed[i] >> 4];
        hex[2 * i + 1] = DIGITS[seed[i] & 15];
    }
    int len = snprintf(line, LINE_SIZE, MAGIC "%s %s\n", hex, keys_id(keys_public(keys), id));
    OPENSSL_cleanse(seed, sizeof seed);
    OPENSSL_cleanse(hex, sizeof hex);
    return (size_t)len;
}

static int digit_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const char *hex, uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        int high = digit_value(hex[2 * i]), low = digit_value(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool is_line_of(const struct keys *keys, const char *line, size_t len) {
    char right[LINE_SIZE];
    bool same = format_line(keys, right) == len && memcmp(line, right, len) == 0;
    OPENSSL_cleanse(right, sizeof right);
    return same;
}

int keyfile_parse(const char *line, size_t len, struct keys **keys) {
    uint8_t seed[KEYS_SEED];
    if (len < MAGIC_SIZE + 2 * sizeof seed || !read_hex(line + MAGIC_SIZE, seed, sizeof seed))
        return -EINVAL;
    *keys = keys_from_seed(seed);
    OPENSSL_cleanse(seed, sizeof seed);
    if (!*keys)
        return -ENOMEM;
    if (is_line_of(*keys, line, len))
        return 0;
    keys_free(*keys);
    *keys = NULL;
    return -EINVAL;
}

/* -- reading ------------------------------------------------------------------------------- */

static int refuse(const char **reason, int error, const char *text) {
    *reason = text;
    return error;
}

static int check_file(int fd, const char **reason) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return refuse(reason, -EINVAL, "it is not a regular file");
    if (st.st_uid != geteuid())
        return refuse(reason, -EPERM, "it belongs to another user");
    if (st.st_mode & OTHERS)
        return refuse(reason, -EACCES, "others can use it: its mode must be 0600");
    return 0;
}

static int read_line(int fd, char line[LINE_SIZE], size_t *len) {
    for (*len = 0; *len < LINE_SIZE;) {
        ssize_t n = read(fd, line + *len, LINE_SIZE - *len);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return -errno;
        *len += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Whoever can write to the folder can put another file in the key's place, also in a sticky one
 * before the key is there. */
static int check_folder(int fd, const char **reason) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return refuse(reason, -EPERM, "its folder belongs to another user");
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return refuse(reason, -EACCES, "others can write to its folder");
    return 0;
}

/* Splits a path: its folder goes to `folder`, and where its name starts is returned; NULL when it
 * has none. */
static const char *split(const char *path, char folder[PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    const char *name = slash ? slash + 1 : path;
    if (!*name || strlen(path) >= PATH_MAX)
        return NULL;
    snprintf(folder, PATH_MAX, "%.*s", (int)len, path);
    if (!len)
        strcpy(folder, slash ? "/" : ".");
    return name;
}

/* The folder of a path, open and nobody else's to write to, and the name in it: a descriptor or
 * -errno. */
static int open_folder(const char *path, int flags, const char **name, const char **reason) {
    char folder[PATH_MAX];
    *name = split(path, folder);
    if (!*name)
        return -EINVAL;
    int fd = open(folder, flags | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = check_folder(fd, reason);
    if (!error)
        return fd;
    close(fd);
    return error;
}

static int load_fd(int fd, struct keys **keys, const char **reason) {
    char line[LINE_SIZE];
    size_t len;
    int error = check_file(fd, reason);
    if (!error)
        error = read_line(fd, line, &len);
    if (error)
        return error;
    error = keyfile_parse(line, len, keys);
    OPENSSL_cleanse(line, sizeof line);
    return error == -EINVAL ? refuse(reason, error, "it is damaged, or not a p2pd key") : error;
}

int keyfile_load(const char *path, struct keys **keys, const char **reason) {
    const char *name;
    *reason = NULL;
    int folder = open_folder(path, O_PATH, &name, reason);
    if (folder < 0)
        return folder;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int error = fd < 0 ? -errno : load_fd(fd, keys, reason);
    if (error == -ELOOP)
        refuse(reason, error, "it is a symbolic link");
    if (fd >= 0)
        close(fd);
    close(folder);
    return error;
}

/* -- writing ------------------------------------------------------------------------------- */

static int write_key(int fd, const struct keys *keys) {
    char line[LINE_SIZE];
    int error = fd_write_all(fd, line, format_line(keys, line));
    OPENSSL_cleanse(line, sizeof line);
    if (error)
        return error;
    /* the umask may have taken our own rights away */
    return fchmod(fd, S_IRUSR | S_IWUSR) < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int write_file(int folder, const char *name, const struct keys *keys) {
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    S_IRUSR | S_IWUSR);
    if (fd < 0)
        return -errno;
    int error = write_key(fd, keys);
    if (close(fd) < 0 && !error)
        error = -errno;
    return error;
}

static int save_in(int folder, const char *name, const struct keys *keys) {
    uint64_t random;
    char temporary[32];
    if (RAND_bytes((unsigned char *)&random, sizeof random) != 1)
        return -EIO;
    snprintf(temporary, sizeof temporary, ".key-%016llx", (unsigned long long)random);
    int error = write_file(folder, temporary, keys);
    if (error == -EEXIST) /* not ours to remove, and not the key */
        return -EIO;
    if (!error && linkat(folder, temporary, folder, name, 0) < 0)
        error = -errno;
    unlinkat(folder, temporary, 0);
    if (!error && fsync(folder) < 0)
        error = -errno;
    return error;
}

int keyfile_save(const char *path, const struct keys *keys, const char **reason) {
    const char *name;
    *reason = NULL;
    int folder = open_folder(path, O_RDONLY, &name, reason);
    if (folder < 0)
        return folder;
    int error = save_in(folder, name, keys);
    close(folder);
    return error;
}

static int make_folder(const char *path) {
    struct stat st;
    if (mkdir(path, S_IRWXU) == 0)
        return 0;
    if (errno != EEXIST || stat(path, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int keyfile_make_folders(const char *path) {
    char folder[PATH_MAX];
    if (!split(path, folder))
        return -EINVAL;
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int error = make_folder(folder);
        *slash = '/';
        if (error)
            return error;
    }
    return make_folder(folder);
}
