/* Threads for calls that block: name resolution, UPnP discovery. */
#ifndef P2PD_HOST_WORKER_H
#define P2PD_HOST_WORKER_H

/*
 * Runs work(arg) on a worker thread, then done(arg) on the loop thread; the loop waits for it
 * meanwhile. Jobs run side by side and may end in any order; past WORKER_THREADS_MAX they queue. 0,
 * or -errno when no thread could be made (then neither is called). Loop thread only.
 */
int worker_submit(void (*work)(void *arg), void (*done)(void *arg), void *arg);

#endif
