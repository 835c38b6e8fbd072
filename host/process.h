/* Child processes, watched through a pidfd on the loop: no SIGCHLD handler, nobody else's children.
 */
#ifndef P2PD_HOST_PROCESS_H
#define P2PD_HOST_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#define PROCESS_GRACE_S 2.0 /* between SIGTERM and SIGKILL when a living child is released */

enum process_io {
    PROCESS_INHERIT,
    PROCESS_NULL,
    PROCESS_PIPE,
    PROCESS_STDOUT, /* stderr only: wherever stdout goes */
};

struct process_options {
    char *const *argv; /* argv[0] is looked up in PATH; ends with NULL */
    char *const *env;  /* "NAME=value" over our own environment, ends with NULL; or NULL */
    const char *cwd;   /* or NULL */
    bool foreground;   /* takes the terminal of our stdin over, if it is ours, until it ends */
    enum process_io io[3];
};

struct process_result {
    bool signaled; /* then `value` is a signal's number, else an exit status */
    int value;
};

struct process;

/*
 * Runs a program in its own process group, with default signals and no descriptor of ours but 0 to
 * 2; it is killed when this thread ends. fds[i] becomes our non-blocking end of a PROCESS_PIPE, the
 * caller's from then on, or -1. 0, or -errno with the failed call's name in *call, when the program
 * did not start. Loop thread only, as all below.
 */
int process_spawn(struct process **process, const struct process_options *options, int fds[3],
                  const char **call);

pid_t process_pid(const struct process *p);

/* 1 when it has ended (result is filled), 0 while it runs, -ECHILD when somebody else reaped it. */
int process_poll(struct process *p, struct process_result *result);

/* on_exit(owner) once when it has ended; NULL stops that. The loop waits for it meanwhile. */
void process_watch(struct process *p, void (*on_exit)(void *owner), void *owner);

/* 0, or -errno; -ESRCH when it has ended. */
int process_kill(struct process *p, int signal);

/*
 * Gives the process up. A living one's group is sent SIGTERM and, grace seconds later, SIGKILL (at
 * once for 0), and the loop reaps it; this never waits.
 */
void process_release(struct process *p, double grace);

/* How many released processes still live. */
int process_lingering(void);

#endif
