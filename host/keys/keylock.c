/*
 * flock(2), since /proc/locks tells whose such a lock is (of an open file description's it does
 * not), and since it conflicts with another one of the same process. Programs that are started
 * meanwhile do not inherit it: the descriptor is closed on exec.
 */
#include "host/keys/keylock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define LINE_SIZE 256
#define LOOKS 3

/* NFS wants the file to be open for writing. */
static int open_file(const char *path) {
    const int flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int fd = open(path, O_RDWR | flags);
    if (fd < 0 && (errno == EROFS || errno == EACCES))
        fd = open(path, O_RDONLY | flags);
    return fd;
}

/* A line of /proc/locks, see proc_locks(5): the holder's process id, or 0 when it is no lock on
 * that file. */
static pid_t holder_in(const char *line, const struct stat *st) {
    unsigned maj, min;
    unsigned long inode;
    int pid;
    if (sscanf(line, "%*d: FLOCK %*s WRITE %d %x:%x:%lu", &pid, &maj, &min, &inode) != 4)
        return 0;
    return inode == st->st_ino && makedev(maj, min) == st->st_dev && pid > 0 ? pid : 0;
}

static pid_t look_for_holder(const struct stat *st) {
    char line[LINE_SIZE];
    pid_t holder = 0;
    FILE *locks = fopen("/proc/locks", "re");
    if (!locks)
        return 0;
    while (!holder && fgets(line, sizeof line, locks))
        holder = holder_in(line, st);
    fclose(locks);
    return holder;
}

/* A list that changes while it is read may be read with a gap. */
static pid_t find_holder(int fd) {
    struct stat st;
    pid_t holder = 0;
    if (fstat(fd, &st) == 0)
        for (int i = 0; !holder && i < LOOKS; i++)
            holder = look_for_holder(&st);
    return holder;
}

static int classify(int error) {
    switch (error) {
    case EWOULDBLOCK:
        return -EBUSY;
    case ENOLCK:
    case ENOSYS:
    case EOPNOTSUPP:
    case EBADF: /* NFS, of a file that could not be opened for writing */
        return -EOPNOTSUPP;
    default:
        return -error;
    }
}

int keylock_take(const char *path, pid_t *holder) {
    *holder = 0;
    int fd = open_file(path);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    int error = classify(errno);
    if (error == -EBUSY)
        *holder = find_holder(fd);
    close(fd);
    return error;
}
