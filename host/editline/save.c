/* The history's file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/editline.h"

static void make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

int editline_save(const char *path, const char *line) {
    char *copy = strdup(path);
    if (copy)
        make_folders(copy);
    free(copy);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int written = dprintf(fd, "%s\n", line);
    int err = written < 0 ? -errno : 0;
    close(fd);
    return err;
}
