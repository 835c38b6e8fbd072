/*
 * Child processes.
 *
 * fork() and exec rather than posix_spawn(): the child has to ask for PR_SET_PDEATHSIG itself.
 * Between the two it may only make async-signal-safe calls, since other threads of ours may have
 * held any lock at the fork; so the environment is merged before it. A close-on-exec pipe brings
 * back the errno of a child that could not become the program: its end of file means that exec
 * succeeded.
 */
#include "host/process.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/loop.h"

struct process {
    pid_t pid;
    int pidfd;
    bool foreground;
    int ended; /* what process_poll() says from now on, or 0 */
    struct process_result result;
    ev_io exit_watcher;
    ev_timer grace_timer;
    void (*on_exit)(void *owner);
    void *owner;
};

/* The two sides of a child's descriptors 0 to 2; -1: none. */
struct ends {
    int parent[3], child[3];
};

/* What a child that could not start writes into the report pipe. */
struct report {
    int err;
    bool in_chdir;
};

static int lingering;

static void close_fd(int fd) {
    if (fd >= 0)
        close(fd);
}

static int open_pipe(struct ends *ends, int i) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    bool child_reads = i == STDIN_FILENO;
    ends->child[i] = fds[child_reads ? 0 : 1];
    ends->parent[i] = fds[child_reads ? 1 : 0];
    return fcntl(ends->parent[i], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_end(struct ends *ends, int i, enum process_io io) {
    switch (io) {
    case PROCESS_PIPE:
        return open_pipe(ends, i);
    case PROCESS_NULL:
        ends->child[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        return ends->child[i] < 0 ? -errno : 0;
    case PROCESS_STDOUT:
        ends->child[i] = ends->child[STDOUT_FILENO];
        return 0;
    case PROCESS_INHERIT:
        ends->child[i] = i;
        return 0;
    }
    return -EINVAL;
}

static void close_child_ends(const struct ends *ends, const enum process_io io[3]) {
    for (int i = 0; i < 3; i++)
        if (io[i] == PROCESS_PIPE || io[i] == PROCESS_NULL)
            close_fd(ends->child[i]);
}

static int open_ends(struct ends *ends, const enum process_io io[3]) {
    *ends = (struct ends){{-1, -1, -1}, {-1, -1, -1}};
    int err = 0;
    for (int i = 0; i < 3 && err == 0; i++)
        err = open_end(ends, i, io[i]);
    if (err == 0)
        return 0;
    close_child_ends(ends, io);
    for (int i = 0; i < 3; i++)
        close_fd(ends->parent[i]);
    return err;
}

static bool same_name(const char *a, const char *b) {
    size_t len = strcspn(a, "=");
    return strncmp(a, b, len) == 0 && b[len] == '=';
}

static bool has_name(char *const *env, const char *entry) {
    for (; *env; env++)
        if (same_name(*env, entry))
            return true;
    return false;
}

static size_t count(char *const *list) {
    size_t n = 0;
    while (list[n])
        n++;
    return n;
}

/* Our environment with `more` over it: an array of borrowed strings, the caller's to free. */
static char **merge_env(char *const *more) {
    char **env = calloc(count(environ) + count(more) + 1, sizeof *env);
    size_t n = 0;
    if (!env)
        return NULL;
    for (char **entry = environ; *entry; entry++)
        if (!has_name(more, *entry))
            env[n++] = *entry;
    memcpy(env + n, more, count(more) * sizeof *env);
    return env;
}

/* In the child. Everything goes above 2 first, so that no dup2() hits what a later one still needs.
 */
static void place_ends(struct ends *ends, int *report_fd) {
    for (int i = 0; i < 3; i++)
        if (ends->child[i] >= 0)
            ends->child[i] = fcntl(ends->child[i], F_DUPFD_CLOEXEC, 3);
    *report_fd = fcntl(*report_fd, F_DUPFD_CLOEXEC, 3);
    for (int i = 0; i < 3; i++) {
        if (ends->child[i] >= 0)
            dup2(ends->child[i], i);
        else
            close(i);
    }
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
}

/* A caller that is not in the foreground itself must have SIGTTOU blocked. */
static void give_terminal(pid_t from, pid_t to) {
    if (tcgetpgrp(STDIN_FILENO) == from)
        tcsetpgrp(STDIN_FILENO, to);
}

static void take_terminal_back(const struct process *p) {
    sigset_t ttou, old;
    sigemptyset(&ttou);
    sigaddset(&ttou, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &ttou, &old);
    give_terminal(p->pid, getpgrp());
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void default_signals(void) {
    struct sigaction plain = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &plain, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become(const struct process_options *o, char **env, struct ends *ends,
                             int report_fd, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    pid_t group = getpgrp();
    setpgid(0, 0);
    if (o->foreground)
        give_terminal(group, getpid());
    place_ends(ends, &report_fd);
    default_signals();
    if (o->foreground)
        signal(SIGTSTP, SIG_IGN); /* nobody would wake it */
    struct report report = {0};
    if (o->cwd && chdir(o->cwd) < 0) {
        report = (struct report){errno, true};
    } else {
        environ = env;
        execvp(o->argv[0], o->argv);
        report.err = errno;
    }
    (void)!write(report_fd, &report, sizeof report);
    _exit(127);
}

/* fork(), with every signal blocked so that no handler of ours runs in the child. */
static pid_t start(const struct process_options *o, char **env, struct ends *ends, int report_fd) {
    sigset_t all, old;
    pid_t parent = getpid();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t pid = fork();
    if (pid == 0)
        become(o, env, ends, report_fd, parent);
    int err = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid < 0 ? -err : pid;
}

static int read_report(int fd, const char **call) {
    struct report report;
    ssize_t n;
    do
        n = read(fd, &report, sizeof report);
    while (n < 0 && errno == EINTR);
    if (n != sizeof report)
        return 0;
    *call = report.in_chdir ? "chdir" : "exec";
    return -report.err;
}

static void reap_now(pid_t pid) {
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static void on_ended(struct ev_loop *loop, ev_io *watcher, int events) {
    (void)events;
    struct process *p = watcher->data;
    ev_io_stop(loop, watcher);
    p->on_exit(p->owner);
}

static struct process *process_new(pid_t pid, int pidfd) {
    struct process *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->pid = pid;
    p->pidfd = pidfd;
    ev_io_init(&p->exit_watcher, on_ended, pidfd, EV_READ);
    p->exit_watcher.data = p;
    return p;
}

/* Forks and waits for exec's verdict; the result is the child's pid or -errno. */
static pid_t launch(const struct process_options *o, char **env, struct ends *ends,
                    const char **call) {
    int report[2];
    *call = "pipe2";
    if (pipe2(report, O_CLOEXEC) < 0)
        return -errno;
    *call = "fork";
    pid_t pid = start(o, env, ends, report[1]);
    close(report[1]);
    int err = pid < 0 ? 0 : read_report(report[0], call);
    close(report[0]);
    if (err == 0)
        return pid;
    reap_now(pid);
    return err;
}

static int adopt(struct process **process, pid_t pid, const char **call) {
    *call = "pidfd_open";
    int pidfd = pidfd_open(pid, 0);
    int err = pidfd < 0 ? -errno : 0;
    *process = err ? NULL : process_new(pid, pidfd);
    if (*process)
        return 0;
    close_fd(pidfd);
    reap_now(pid);
    return err ? err : -ENOMEM;
}

int process_spawn(struct process **process, const struct process_options *o, int fds[3],
                  const char **call) {
    struct ends ends;
    *call = "pipe2";
    int err = open_ends(&ends, o->io);
    if (err < 0)
        return err;
    char *none[] = {NULL};
    char **env = merge_env(o->env ? o->env : none);
    pid_t pid = env ? launch(o, env, &ends, call) : -ENOMEM;
    free(env);
    close_child_ends(&ends, o->io);
    err = pid < 0 ? pid : adopt(process, pid, call);
    if (err == 0)
        (*process)->foreground = o->foreground;
    for (int i = 0; i < 3 && err < 0; i++)
        close_fd(ends.parent[i]);
    memcpy(fds, ends.parent, sizeof ends.parent);
    return err;
}

pid_t process_pid(const struct process *p) {
    return p->pid;
}

static void note_end(struct process *p, const siginfo_t *info) {
    p->ended = 1;
    if (p->foreground)
        take_terminal_back(p);
    p->result.signaled = info->si_code != CLD_EXITED;
    p->result.value = info->si_status;
}

int process_poll(struct process *p, struct process_result *result) {
    siginfo_t info = {0};
    if (!p->ended) {
        if (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG) < 0)
            p->ended = -errno;
        else if (info.si_pid != 0)
            note_end(p, &info);
    }
    *result = p->result;
    return p->ended;
}

void process_watch(struct process *p, void (*on_exit)(void *owner), void *owner) {
    p->on_exit = on_exit;
    p->owner = owner;
    if (on_exit)
        ev_io_start(loop_get(), &p->exit_watcher);
    else
        ev_io_stop(loop_get(), &p->exit_watcher);
}

int process_kill(struct process *p, int signal) {
    struct process_result result;
    if (process_poll(p, &result) != 0)
        return -ESRCH;
    return pidfd_send_signal(p->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

/* Only while it is not reaped, for then neither its pid nor its group's can be another's. */
static void kill_group(struct process *p, int signal) {
    if (kill(-p->pid, signal) < 0)
        pidfd_send_signal(p->pidfd, signal, NULL, 0);
}

static void process_free(struct process *p) {
    ev_io_stop(loop_get(), &p->exit_watcher);
    close(p->pidfd);
    free(p);
}

static void on_grace_over(struct ev_loop *loop, ev_timer *timer, int events) {
    (void)loop, (void)events;
    kill_group(timer->data, SIGKILL);
}

static void on_released_exit(void *owner) {
    struct process *p = owner;
    struct process_result result;
    process_poll(p, &result);
    ev_timer_stop(loop_get(), &p->grace_timer);
    process_free(p);
    lingering--;
}

void process_release(struct process *p, double grace) {
    struct process_result result;
    if (process_poll(p, &result) != 0) {
        process_free(p);
        return;
    }
    lingering++;
    kill_group(p, grace > 0 ? SIGTERM : SIGKILL);
    process_watch(p, on_released_exit, p);
    ev_timer_init(&p->grace_timer, on_grace_over, grace, 0);
    p->grace_timer.data = p;
    if (grace > 0) {
        ev_now_update(loop_get());
        ev_timer_start(loop_get(), &p->grace_timer);
    }
}

int process_lingering(void) {
    return lingering;
}
