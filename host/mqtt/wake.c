/*
 * paho's receiving thread sleeps for 100 ms after each poll that found nothing; so also when it
 * started to poll before the first connection was begun, which it does every other time. A signal
 * ends that sleep. It is SIGURG, whose default is to be ignored, so that one too many harms nobody;
 * and it is sent to that thread alone, and only while it sleeps, for a poll would count it as an
 * error and make paho sleep again.
 */
#include "host/mqtt/wake.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RECEIVER "MQTTAsync_rcv\n"

static void on_signal(int number) {
    (void)number;
}

/* Whoever has a handler of his own keeps it: it ends the sleep as well. */
static void catch_signal(void) {
    struct sigaction present;
    sigaction(SIGURG, NULL, &present);
    if (present.sa_handler == SIG_DFL)
        sigaction(SIGURG, &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART},
                  NULL);
}

static void read_about(const char *task, const char *what, char *text, size_t size) {
    char path[300];
    snprintf(path, sizeof path, "/proc/self/task/%s/%s", task, what);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    text[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
}

static bool is_sleeping_receiver(const char *task) {
    char text[64];
    read_about(task, "comm", text, sizeof text);
    if (strcmp(text, RECEIVER) != 0)
        return false;
    read_about(task, "syscall", text, sizeof text); /* its number first, or "running" */
    return strtol(text, NULL, 10) == SYS_clock_nanosleep;
}

void mqtt_wake(void) {
    DIR *dir = opendir("/proc/self/task");
    if (!dir)
        return;
    catch_signal();
    for (struct dirent *entry; (entry = readdir(dir));)
        if (is_sleeping_receiver(entry->d_name))
            syscall(SYS_tgkill, getpid(), atoi(entry->d_name), SIGURG);
    closedir(dir);
}
