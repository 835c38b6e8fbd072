/* The packets that were sent: in flight, acknowledged, or lost. */
#ifndef P2PD_HOST_RELIABLE_SENT_H
#define P2PD_HOST_RELIABLE_SENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/reliable/rtt.h"

#define SENT_MAX 1024 /* packets of which the fate is still open */

enum sent_fate { SENT_IN_FLIGHT, SENT_ACKED, SENT_LOST };

struct sent_packet {
    double at;
    uint64_t position, units; /* of its data; units 0: none */
    uint16_t size;
    uint8_t fate;
    bool opens; /* nobody may have been there to hear it */
    bool acks;  /* it told what has come, and how much more may */
};

/* Zeroed: nothing was sent. */
struct sent {
    struct sent_packet *list;
    size_t room;
    uint64_t base, next; /* the numbers of the oldest that is kept, and of the next one */
    uint64_t highest;    /* that was acknowledged, and 1; 0: none */
    size_t in_flight;    /* packets */
    double last_at;      /* when the newest left */
    int patience;        /* rounds in which a loss was spurious */
    uint64_t patient_to; /* the first number of the next round */
};

struct sent_packet *sent_get(const struct sent *s, uint64_t number);

/* Whether no more than `reserve` fit in. */
bool sent_is_full(const struct sent *s, size_t reserve);

/* The new packet, with its number as s->next - 1; aborts when out of memory. */
struct sent_packet *sent_add(struct sent *s, double now);

/* True when this is news; *spurious: it had been declared lost. */
bool sent_acked(struct sent *s, uint64_t number, bool *spurious);

/* The next packet from *number on that is lost by now; NULL: none. After the last, *due is the
 * instant to look again (INFINITY: never). */
struct sent_packet *sent_lose(struct sent *s, const struct rtt *r, double now, uint64_t *number,
                              double *due);

/* Forgets what is settled; lost ones are kept until they are not expected any more. The instant to
 * do so again, or INFINITY. */
double sent_settle(struct sent *s, const struct rtt *r, double now);

void sent_fini(struct sent *s);

#endif
