/* The paths of a session: which of them carries, whether they live, how they end. */
#ifndef P2PD_HOST_SESSION_PATHS_H
#define P2PD_HOST_SESSION_PATHS_H

#include "host/session/state.h"

struct session_path *paths_add(struct session_machine *m, double now);
struct session_path *paths_find(const struct session_machine *m, uint32_t number); /* a live one */

/* The peer's HELLO has come. */
void paths_up(struct session_machine *m, struct session_path *p, double now);

/* Data is to go by this path: now, or when it is up and the last move is through. */
void paths_want(struct session_machine *m, struct session_path *p, const char *why, double now);

/* The last move may be through. */
void paths_settle(struct session_machine *m, double now);

/* It is over: with -errno (0: as it should) and why. `tell`: the peer is told, and what has left
 * before stays in order; else nothing leaves any more. */
void paths_end(struct session_machine *m, struct session_path *p, int code, const char *why,
               bool tell, double now);

/* What is kept from `position` on is sent again. */
void paths_rewind(struct session_machine *m, uint64_t position, double now);

/* Bytes wait for others that no path will bring: the peer is asked for them. */
void paths_check_gap(struct session_machine *m);

/* -- do they live? -------------------------------------------------------------------------- */

double paths_rtt(const struct session_path *p); /* 0: unknown */
void paths_heard(struct session_path *p, double since, double now);
void paths_doubt(struct session_path *p, double now);
void paths_drain(struct session_machine *m, struct session_path *p, double now); /* to drop it */
void paths_check(struct session_machine *m, struct session_path *p, double now);
double paths_due(const struct session_machine *m, const struct session_path *p);

#endif
