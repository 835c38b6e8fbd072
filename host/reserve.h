/* A descriptor kept in reserve: with it a process that has no other left can still accept a
 * connection, in order to close it. Loop thread. */
#ifndef P2PD_HOST_RESERVE_H
#define P2PD_HOST_RESERVE_H

#include <stdbool.h>

/* There is one between the first hold and the last release, unless none can be had. */
void reserve_hold(void);
void reserve_release(void);

/* Gives it up for a moment: false when there is none. Whoever got true calls restore() after. */
bool reserve_spend(void);
void reserve_restore(void);

#endif
