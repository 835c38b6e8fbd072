/*
 * The channels of a TURN client (ChannelData, RFC 8656 §12.4), each a carrier of its own over the
 * carrier to the server. Other datagrams are for the owner of that one.
 */
#ifndef P2PD_HOST_DATAGRAMS_CHANNELS_H
#define P2PD_HOST_DATAGRAMS_CHANNELS_H

#include <stdint.h>

#include "host/datagrams.h"

#define CHANNEL_FIRST 0x4000 /* RFC 8656 §12 */
#define CHANNEL_LAST 0x4fff
#define CHANNEL_HEADER 4

struct channel;

/* In place; its owner passes on what the carrier tells. It must not move while a channel is open.
 */
struct channels {
    struct datagrams *way; /* the owner's */
    struct channel *first;
    void (*on_idle)(struct channels *); /* the last one was freed; may be NULL */
    void *owner;
};

/* A carrier of what goes through one channel; NULL: it is open already. */
struct datagrams *channels_open(struct channels *c, uint16_t number);

/* True: it was ChannelData of an open channel, and is delivered. */
bool channels_deliver(struct channels *c, const void *data, size_t len);

void channels_pause(struct channels *c);
void channels_room(struct channels *c);

/* Tells all that nothing will come any more, and lets go of them. */
void channels_end(struct channels *c, int err, const char *why);

#endif
