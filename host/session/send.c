/* All control frames that are due on a path leave in one write, then the data, a frame a write. */
#include "host/session/send.h"

#include <math.h>
#include <string.h>

#include "host/session/end.h"
#include "host/session/receive.h"

/* Acknowledgements are asked for after this part of what may be kept: the rest of it is what can be
 * on a long path, and grow() wants more than half. */
#define ASK_SHARE 4

/* And after so many bytes, however much may be kept: what is acknowledged while the cache still has
 * it makes room that costs nothing to fill again. */
#define ASK_MAX (128 * 1024)

static void add(struct session_path *p, const struct session_frame *f) {
    p->out_len += session_frame_encode(f, p->out + p->out_len);
}

static void add_position(struct session_path *p, uint8_t type, uint64_t position) {
    add(p, &(struct session_frame){.type = type, .position = position});
}

static void add_hello(struct session_machine *m, struct session_path *p) {
    m->limit_sent = session_window_end(m);
    add(p, &(struct session_frame){.type = SESSION_HELLO,
                                   .flags = m->options.initiator ? SESSION_INITIATOR : 0,
                                   .version = SESSION_VERSION,
                                   .path = p->number,
                                   .position = m->inbox.next,
                                   .limit = m->limit_sent});
}

static void add_ack(struct session_machine *m, struct session_path *p) {
    m->limit_sent = session_window_end(m);
    m->ack_now = false;
    m->ack_due = INFINITY;
    add(p, &(struct session_frame){
               .type = SESSION_ACK, .position = m->inbox.next, .limit = m->limit_sent});
}

static void add_reason(struct session_path *p, uint8_t type, int code, const char *why) {
    size_t len = strlen(why);
    add(p,
        &(struct session_frame){.type = type,
                                .code = (uint16_t)-code,
                                .text = why,
                                .text_len = len < SESSION_REASON_MAX ? len : SESSION_REASON_MAX});
}

static void add_ping(struct session_path *p, double now) {
    p->asked_at = now;
    add_position(p, SESSION_PING, ++p->token);
}

/* Of those that leave on whatever is tx. */
static void add_present(struct session_machine *m, struct session_path *p) {
    if (m->again_now)
        add_position(p, SESSION_AGAIN, m->inbox.next);
    m->again_now = false;
    if (m->ack_now)
        add_ack(m, p);
}

static void add_order(struct session_machine *m, struct session_path *p) {
    if (m->start_due)
        add_position(p, SESSION_START, session_keep_sent(&m->keep));
    m->start_due = false;
    if (m->bye_due)
        add_position(p, SESSION_BYE, m->inbox.next);
    m->bye_sent = m->bye_sent || m->bye_due;
    m->bye_due = false;
}

static void gather(struct session_machine *m, struct session_path *p, double now) {
    unsigned due = p->due;
    p->due = 0;
    if (due & DUE_HELLO)
        add_hello(m, p);
    if (due & DUE_USE)
        add_position(p, SESSION_USE, 0);
    if (p == m->tx)
        add_present(m, p);
    if (due & DUE_PONG)
        add_position(p, SESSION_PONG, p->pong);
    if (due & DUE_PING)
        add_ping(p, now);
    if (due & DUE_MARK)
        add_position(p, SESSION_MARK, p->mark);
    if (p == m->tx)
        add_order(m, p);
    if (due & DUE_DROP)
        add_reason(p, SESSION_DROP, p->code, p->why);
    if (due & DUE_RESET)
        add_reason(p, SESSION_RESET, m->error, m->error ? m->reason : "it was closed");
}

static uint64_t chunk_end(const struct session_chunk *c) {
    return c->position + c->len + c->fin;
}

static size_t ask_spacing(const struct session_machine *m) {
    size_t share = m->bound / ASK_SHARE;
    return share < ASK_MAX ? share : ASK_MAX;
}

static void take_chunk(struct session_machine *m, struct session_path *p, double now) {
    if (m->hold && session_keep_is_partial(&m->keep))
        return;
    bool idle = session_keep_sent(&m->keep) == m->keep.acked;
    p->chunk = session_keep_next(&m->keep, ask_spacing(m));
    if (!p->chunk)
        return;
    if (idle)
        m->unacked_at = now;
    if (chunk_end(p->chunk) > m->high)
        m->high = chunk_end(p->chunk);
}

size_t session_next(struct session_machine *m, struct session_path *p, const uint8_t **data,
                    double now) {
    if (!p->out_len && !p->chunk && p->state != PATH_DEAD)
        gather(m, p, now);
    if (!p->out_len && !p->chunk && p == m->tx && p->state == PATH_LIVE)
        take_chunk(m, p, now);
    if (!p->out_len && !p->chunk)
        return 0;
    *data = (p->out_len ? p->out : p->chunk->frame) + p->written;
    return (p->out_len ? p->out_len : session_chunk_size(p->chunk)) - p->written;
}

void session_left(struct session_machine *m, struct session_path *p, size_t n, double now) {
    size_t size = p->out_len ? p->out_len : p->chunk ? session_chunk_size(p->chunk) : 0;
    p->written += n;
    if (p->written < size)
        return;
    p->written = 0;
    if (!p->out_len) {
        session_chunk_unref(p->chunk);
        p->chunk = NULL;
    }
    p->out_len = 0;
    session_check_end(m, now);
}
