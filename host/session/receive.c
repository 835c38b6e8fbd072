/*
 * Frames are taken apart as they come: the bytes of DATA go on at once, whatever else is gathered
 * until it is complete. Bytes that no session sends end the path: another one may do better. What
 * contradicts the session's state ends the session.
 */
#include "host/session/receive.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/session/end.h"
#include "host/session/paths.h"

uint64_t session_read_position(const struct session_machine *m) {
    return m->inbox.next - m->inbox.ended - m->inbox.in.len;
}

uint64_t session_window_end(const struct session_machine *m) {
    return session_read_position(m) + m->options.keep_max;
}

static void refuse(struct session_machine *m, struct session_path *p, const char *why, double now) {
    paths_end(m, p, -EPROTO, why, true, now);
}

/* -- acknowledgements ----------------------------------------------------------------------- */

/* A round is as many bytes as may be kept. When a write was refused in it, and the peer took them
 * so fast that the path holds more than half of them, more may be kept; else it is a queue on the
 * way that holds them. */
static void grow(struct session_machine *m, double now) {
    if (m->keep.acked < m->round_end)
        return;
    double rate = (double)(m->keep.acked - m->round_start) / fmax(now - m->round_at, 1e-6);
    double rtt = m->tx ? m->tx->rtt_least : 0;
    size_t twice = m->bound * 2 < m->options.keep_max ? m->bound * 2 : m->options.keep_max;
    if (m->limited && !m->keep.unsent && (!rtt || 2 * rate * rtt > (double)m->bound))
        m->bound = twice;
    m->limited = false;
    m->round_at = now;
    m->round_start = m->keep.acked;
    m->round_end = m->keep.acked + m->bound;
}

static void acknowledged(struct session_machine *m, uint64_t position, double now) {
    if (position > m->high) {
        session_break(m, -EPROTO, "the peer has acknowledged what was never sent", false);
        return;
    }
    if (position <= m->keep.acked)
        return;
    uint64_t sent = session_keep_sent(&m->keep);
    session_keep_ack(&m->keep, position);
    if (session_keep_sent(&m->keep) != sent) /* what was to be sent again has come after all */
        m->start_due = true;
    m->unacked_at = now;
    grow(m, now);
    paths_settle(m, now);
    session_check_end(m, now);
}

static void allow(struct session_machine *m, uint64_t limit) {
    m->limit = limit > m->limit ? limit : m->limit;
}

/* -- control frames ------------------------------------------------------------------------- */

static void on_hello(struct session_machine *m, struct session_path *p,
                     const struct session_frame *f, double now) {
    bool initiator = f->flags & SESSION_INITIATOR;
    bool both = initiator && m->options.initiator;
    if (both && (m->options.prevails || m->options.yields)) {
        m->options.initiator = m->options.prevails;
        initiator = !m->options.prevails;
    }
    if (f->version != SESSION_VERSION)
        session_break(m, -EPROTONOSUPPORT, "the peer speaks another version of sessions", false);
    else if (initiator == m->options.initiator)
        session_break(m, -EPROTO, "both sides take the same part in the session", false);
    else if (p->up)
        refuse(m, p, "a second HELLO", now);
    if (m->state >= SESSION_ENDED || p->state != PATH_LIVE)
        return;
    p->remote = f->path;
    allow(m, f->limit);
    acknowledged(m, f->position, now);
    if (m->state < SESSION_ENDED && p->state == PATH_LIVE)
        paths_up(m, p, now);
}

static void on_start(struct session_machine *m, struct session_path *p, uint64_t position,
                     double now) {
    p->started = true;
    p->finished = false;
    p->at = position;
    m->rx = p;
    m->ack_now = true;
    session_inbox_forget(&m->inbox, p->number);
    if (m->tx && p != m->tx && m->options.initiator && !m->old && !(m->tx->due & DUE_USE))
        paths_doubt(m->tx, now); /* the peer would have stayed there */
}

static void on_mark(struct session_machine *m, struct session_path *p, uint64_t position,
                    double now) {
    if (!p->started || position != p->at) {
        refuse(m, p, "a marker that is not at the end of the data", now);
        return;
    }
    p->started = false;
    m->ack_now = true;
    paths_check_gap(m);
}

static void on_again(struct session_machine *m, uint64_t position, double now) {
    acknowledged(m, position, now);
    if (m->state < SESSION_ENDED && m->tx && m->keep.acked < m->high)
        paths_rewind(m, m->keep.acked, now);
}

static void on_pong(struct session_path *p, uint64_t token, double now) {
    if (token != p->token || p->asked_at < 0)
        return;
    double rtt = now - p->asked_at;
    p->rtt_least = p->rtt_least > 0 ? fmin(p->rtt_least, rtt) : rtt;
    p->rtt = p->rtt > 0 ? p->rtt + (rtt - p->rtt) / 4 : rtt;
    p->asked_at = -1;
}

/* Only who has acknowledged our end, and knows that we have its own, says so. */
static void on_bye(struct session_machine *m, uint64_t position, double now) {
    acknowledged(m, position, now);
    m->bye_in = m->state == SESSION_CLOSING;
    if (m->state == SESSION_OPEN)
        session_break(m, -EPROTO, "the peer has ended what was not at its end", false);
    else
        session_check_end(m, now);
}

/* Its text is the peer's: printable, or not shown. */
static void copy_text(const struct session_frame *f, char *text) {
    size_t n = 0;
    for (; n < f->text_len; n++)
        text[n] = (unsigned char)f->text[n] < ' ' || f->text[n] == 127 ? '?' : f->text[n];
    text[n] = 0;
}

static void on_reason(struct session_machine *m, struct session_path *p,
                      const struct session_frame *f, double now) {
    char text[SESSION_REASON_MAX + 1], why[SESSION_WHY_MAX];
    copy_text(f, text);
    if (f->type == SESSION_RESET && m->closed && m->shut && m->keep.acked == m->keep.end) {
        session_finish(m);
        return;
    }
    snprintf(why, sizeof why, "the peer has ended the %s: %s",
             f->type == SESSION_RESET ? "session" : "path", text);
    if (f->type == SESSION_RESET)
        session_break(m, -ECONNRESET, why, true);
    else
        paths_end(m, p, f->code ? -ECONNRESET : 0, why, false, now);
}

static void on_frame(struct session_machine *m, struct session_path *p,
                     const struct session_frame *f, double now) {
    if (!p->up && f->type != SESSION_HELLO) {
        refuse(m, p, "no HELLO", now);
        return;
    }
    switch (f->type) {
    case SESSION_HELLO:
        on_hello(m, p, f, now);
        break;
    case SESSION_START:
        on_start(m, p, f->position, now);
        break;
    case SESSION_MARK:
        on_mark(m, p, f->position, now);
        break;
    case SESSION_ACK:
        allow(m, f->limit);
        acknowledged(m, f->position, now);
        break;
    case SESSION_AGAIN:
        on_again(m, f->position, now);
        break;
    case SESSION_USE:
        if (m->options.initiator)
            refuse(m, p, "a choice that is ours", now);
        else
            paths_want(m, p, "the peer has chosen it", now);
        break;
    case SESSION_PING:
        p->pong = f->position;
        p->due |= DUE_PONG;
        break;
    case SESSION_PONG:
        on_pong(p, f->position, now);
        break;
    case SESSION_BYE:
        on_bye(m, f->position, now);
        break;
    case SESSION_DROP:
    case SESSION_RESET:
        on_reason(m, p, f, now);
        break;
    }
}

/* -- data ----------------------------------------------------------------------------------- */

/* What DATA has before its bytes. */
static void on_data(struct session_machine *m, struct session_path *p,
                    const struct session_frame *f, double now) {
    uint64_t end = f->position + (f->length - 8);
    bool fin = f->flags & SESSION_FIN;
    if (!p->started || p->finished || f->position != p->at)
        refuse(m, p, "a gap in the data", now);
    else if (end > m->limit_sent)
        session_break(m, -EPROTO, "the peer has sent more than it may", false);
    else if (m->inbox.ended && end + fin > m->inbox.next)
        session_break(m, -EPROTO, "data after the end", false);
    if (m->state >= SESSION_ENDED || p->state != PATH_LIVE)
        return;
    p->data_left = f->length - 8;
    p->fin = fin;
    p->ask = f->flags & SESSION_ASK;
}

static void on_data_end(struct session_machine *m, struct session_path *p, double now) {
    m->ack_now = m->ack_now || p->ask;
    if (m->ack_due > now + ACK_DELAY_S)
        m->ack_due = now + ACK_DELAY_S;
    p->finished = p->fin;
    session_check_end(m, now);
}

static void put(struct session_machine *m, struct session_path *p, const uint8_t *data, size_t len,
                double now) {
    uint64_t before = m->inbox.next;
    bool last = len == p->data_left;
    bool fin = p->fin && last;
    p->data_left -= len;
    p->lively = true;
    session_inbox_put(&m->inbox, p->number, p->at, data, len, fin);
    p->at += len + fin;
    if (m->inbox.next > before)
        m->again = 0;
    if (m->inbox.ahead_path == p->number && !m->again_now && m->inbox.ahead.len == len)
        paths_check_gap(m);
    if (last)
        on_data_end(m, p, now);
}

/* -- frames --------------------------------------------------------------------------------- */

static void complete(struct session_machine *m, struct session_path *p, double now) {
    struct session_frame f;
    p->part_len = 0;
    if (session_frame_decode(&f, p->part) < 0) {
        refuse(m, p, "a broken frame", now);
        return;
    }
    if (f.type >= SESSION_OPTIONAL)
        p->skip_left = f.length;
    else if (f.type != SESSION_DATA || !p->up)
        on_frame(m, p, &f, now);
    else
        on_data(m, p, &f, now);
    if (f.type == SESSION_DATA && p->state == PATH_LIVE && !p->data_left)
        put(m, p, p->part, 0, now);
}

static size_t min(size_t a, size_t b) {
    return a < b ? a : b;
}

/* How many bytes it took. */
static size_t gather(struct session_machine *m, struct session_path *p, const uint8_t *data,
                     size_t len, double now) {
    int need = p->part_len < SESSION_HEADER ? SESSION_HEADER : session_frame_need(p->part);
    size_t n = min(len, (size_t)need - p->part_len);
    memcpy(p->part + p->part_len, data, n);
    p->part_len += n;
    if (p->part_len < SESSION_HEADER)
        return n;
    need = session_frame_need(p->part);
    if (need < 0)
        refuse(m, p, "bytes that are no frame", now);
    else if (p->part_len == (size_t)need)
        complete(m, p, now);
    return n;
}

void session_receive(struct session_machine *m, struct session_path *p, const uint8_t *data,
                     size_t len, double now) {
    size_t n;
    for (; len && p->state == PATH_LIVE; data += n, len -= n) {
        if (p->skip_left) {
            n = min(len, p->skip_left);
            p->skip_left -= n;
        } else if (p->data_left) {
            n = min(len, p->data_left);
            put(m, p, data, n, now);
        } else {
            n = gather(m, p, data, len, now);
        }
    }
}
