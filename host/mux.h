/*
 * Many streams on one: yamux (host/mux/machine.h) over a transport. Each stream is a transport
 * itself. Loop thread only.
 */
#ifndef P2PD_HOST_MUX_H
#define P2PD_HOST_MUX_H

#include "host/mux/machine.h"
#include "host/transport.h"

struct mux;

/* Takes the transport over, and what was read from it and not used. on_event: something has come to
 * accept, a ping was answered, the last stream has gone, or it has ended. Never NULL. */
struct mux *mux_new(struct transport *lower, struct buffer early, const struct mux_options *options,
                    void (*on_event)(void *owner), void *owner);

struct transport *mux_open(struct mux *mux, int *err); /* NULL: *err, see mm_open() */
struct transport *mux_accept(struct mux *mux);         /* NULL: none waits */
bool mux_has_accept(const struct mux *mux);
uint32_t mux_ping(struct mux *mux);
double mux_pong(const struct mux *mux, uint32_t number); /* seconds; < 0: not yet */
void mux_go_away(struct mux *mux);

int mux_error(const struct mux *mux); /* -errno, 0: it lives */
const char *mux_reason(const struct mux *mux);
void mux_info(const struct mux *mux, struct mux_info *info);
double mux_rtt(const struct mux *mux); /* < 0: unknown */

/* The handle is given up; on_event is not called any more. The connection ends in good order once
 * the last stream has gone. */
void mux_close(struct mux *mux);

/* The same at once: streams that are there fail. */
void mux_abort(struct mux *mux);

#endif
