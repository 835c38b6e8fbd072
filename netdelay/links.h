/* What each line of a network does to packets: how long they take in each direction, and which are
 * lost. */
#ifndef NETDELAY_LINKS_H
#define NETDELAY_LINKS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Takes over "INTERFACE UP_US DOWN_US JITTER_US LOSS_PPM", which it changes. NULL, or what is
 * wrong: a text that is never freed.
 */
const char *links_configure(char *line);

/*
 * How long a packet takes from one interface to another, in microseconds, or -1 when it is lost. An
 * interface 0 is this machine itself: the packet answers one that came in by the other interface
 * and was not delayed, so it takes the time both ways.
 */
int64_t links_draw(uint32_t from, uint32_t to);

#endif
