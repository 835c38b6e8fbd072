#include "host/local_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int make(const char *path, struct sockaddr_un *addr) {
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof addr->sun_path)
        return -ENAMETOOLONG;
    strcpy(addr->sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static int close_failed(int fd, int err) {
    close(fd);
    return err;
}

int local_socket_connect(const char *path) {
    struct sockaddr_un addr;
    int fd = make(path, &addr);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0)
        return fd;
    return close_failed(fd, -errno);
}

/* Removes a socket that nobody listens on any more. */
static int remove_stale(const char *path) {
    struct stat st;
    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return -EADDRINUSE;
    int fd = local_socket_connect(path);
    if (fd >= 0)
        close(fd);
    if (fd != -ECONNREFUSED)
        return -EADDRINUSE;
    return unlink(path) < 0 ? -errno : 0;
}

static int bind_path(int fd, const struct sockaddr_un *addr) {
    return bind(fd, (const struct sockaddr *)addr, sizeof *addr) < 0 ? -errno : 0;
}

int local_socket_listen(const char *path, int backlog) {
    struct sockaddr_un addr;
    int fd = make(path, &addr);
    if (fd < 0)
        return fd;
    fchmod(fd, S_IRUSR | S_IWUSR); /* the file's mode, on Linux */
    int err = bind_path(fd, &addr);
    if (err == -EADDRINUSE && (err = remove_stale(path)) == 0)
        err = bind_path(fd, &addr);
    if (err == 0 && listen(fd, backlog) < 0)
        err = -errno;
    return err ? close_failed(fd, err) : fd;
}
