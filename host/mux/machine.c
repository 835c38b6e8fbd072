#include "host/mux/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/mux/state.h"

#define NUMBER_MAX 0xfffffffeU
#define ANSWERS_MAX (256 * 1024) /* bytes of them that a peer may have us queue and not read */

struct mux_machine *mm_new(const struct mux_options *options) {
    struct mux_machine *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    m->options = *options;
    struct mux_options *o = &m->options;
    o->backlog = o->backlog ? o->backlog : MUX_BACKLOG;
    o->streams_max = o->streams_max ? o->streams_max : MUX_STREAMS_MAX;
    o->window_max = o->window_max ? o->window_max : MUX_WINDOW_MAX;
    o->memory_max = o->memory_max ? o->memory_max : MUX_MEMORY_MAX;
    m->next_number = o->client ? 1 : 2;
    return m;
}

/* -- out ------------------------------------------------------------------------------------ */

void machine_put(struct mux_machine *m, uint8_t type, uint16_t flags, uint32_t stream,
                 uint32_t length) {
    uint8_t header[MUX_HEADER];
    mux_frame_encode(&(struct mux_frame){type, flags, stream, length}, header);
    buffer_append(&m->out, header, sizeof header);
}

/* What the peer can ask for without end. What was queued before answers_from has left when the
 * position has passed it, so at most two rounds of them are counted. */
static void put_answer(struct mux_machine *m, uint8_t type, uint16_t flags, uint32_t stream,
                       uint32_t length) {
    if (m->position >= m->answers_from) {
        m->answers_from = m->position + m->out.len;
        m->answers = 0;
    }
    m->answers += MUX_HEADER;
    machine_put(m, type, flags, stream, length);
    if (m->answers > ANSWERS_MAX)
        machine_break(m, "it asks, and does not read the answers");
}

size_t mm_poll(const struct mux_machine *m, const uint8_t **data) {
    if (m->out.len)
        *data = (const uint8_t *)buffer_head(&m->out);
    return m->out.len;
}

void mm_sent(struct mux_machine *m, size_t n) {
    buffer_consume(&m->out, n);
    m->position += n;
}

uint64_t mm_position(const struct mux_machine *m) {
    return m->position;
}

struct mux_stream *mm_next_writer(struct mux_machine *m) {
    struct mux_stream *s = m->writers.first;
    if (s) {
        list_remove(s, &s->queue);
        m->turn = s;
    }
    return s;
}

struct mux_stream *mm_next_stirred(struct mux_machine *m) {
    struct mux_stream *s = m->stirred.first;
    if (s)
        list_remove(s, &s->stirred);
    return s;
}

bool mm_has_stirred(const struct mux_machine *m) {
    return m->stirred.first != NULL;
}

/* -- its end -------------------------------------------------------------------------------- */

static void end_streams(struct mux_machine *m, int err) {
    for (size_t i = 0; i < m->bucket_count; i++) {
        for (struct mux_stream *s = m->buckets[i], *next; s; s = next) {
            next = s->next;
            stream_end_by(s, err);
            stream_forget(s);
        }
    }
}

void mm_fail(struct mux_machine *m, int err, const char *why) {
    if (m->error)
        return;
    m->error = err ? err : -EPIPE;
    snprintf(m->reason, sizeof m->reason, "%s", why);
    end_streams(m, err ? err : -ECONNRESET);
}

void machine_break(struct mux_machine *m, const char *why) {
    char text[sizeof m->reason];
    snprintf(text, sizeof text, "the peer breaks the protocol: %s", why);
    machine_put(m, MUX_GO_AWAY, 0, 0, MUX_END_PROTOCOL);
    mm_fail(m, -EPROTO, text);
}

void mm_free(struct mux_machine *m) {
    for (size_t i = 0; i < m->bucket_count; i++) {
        for (struct mux_stream *s = m->buckets[i], *next; s; s = next) {
            next = s->next;
            stream_end_by(s, -ECONNABORTED);
            list_remove(s, &s->stirred);
            s->machine = NULL;
            if (!s->held || !s->owner) {
                buffer_fini(&s->in);
                free(s);
            }
        }
    }
    free(m->buckets);
    buffer_fini(&m->out);
    free(m);
}

int mm_error(const struct mux_machine *m) {
    return m->error;
}

const char *mm_reason(const struct mux_machine *m) {
    return m->error ? m->reason : NULL;
}

void mm_go_away(struct mux_machine *m) {
    if (m->sent_go_away || m->error)
        return;
    m->sent_go_away = true;
    machine_put(m, MUX_GO_AWAY, 0, 0, MUX_END_NORMAL);
}

/* -- streams -------------------------------------------------------------------------------- */

struct mux_stream *mm_open(struct mux_machine *m, int *err) {
    *err = m->error || m->gone_away || m->sent_go_away ? -EPIPE
           : m->next_number >= NUMBER_MAX              ? -EMFILE
                                                       : 0;
    if (*err)
        return NULL;
    struct mux_stream *s = stream_begin(m, m->next_number, false);
    m->next_number += 2;
    m->counts.opened++;
    s->opening = true;
    list_append(&m->opening, s, &s->queue);
    stream_tell_opened(m);
    return s;
}

bool mm_has_accept(const struct mux_machine *m) {
    return m->accepted.first != NULL;
}

/* That it is taken is said by its next frame, or by this one. */
struct mux_stream *mm_accept(struct mux_machine *m) {
    struct mux_stream *s = m->accepted.first;
    if (!s)
        return NULL;
    list_remove(s, &s->queue);
    m->counts.accepted++;
    if (s->ack_due && !m->error)
        machine_put(m, MUX_WINDOW, MUX_ACK, s->number, 0);
    s->ack_due = false;
    return s;
}

static bool is_peers(const struct mux_machine *m, uint32_t number) {
    return (number & 1) != (m->options.client ? 1 : 0);
}

static void refuse(struct mux_machine *m, uint32_t number) {
    m->counts.refused++;
    put_answer(m, MUX_WINDOW, MUX_RST, number, 0);
}

/* The stream, or NULL: it is refused, or that was an error. Numbers need not come in order: a peer
 * with threads tells of two streams at once. */
static struct mux_stream *begin_stream(struct mux_machine *m, uint32_t number) {
    if (!is_peers(m, number)) {
        machine_break(m, "it begins a stream with a number of ours");
        return NULL;
    }
    if (table_find(m, number)) {
        machine_break(m, "it begins a stream with a number that is in use");
        return NULL;
    }
    m->last_peers = number > m->last_peers ? number : m->last_peers;
    if (m->sent_go_away || m->accepted.count >= m->options.backlog ||
        m->peers_open >= m->options.streams_max) {
        refuse(m, number);
        return NULL;
    }
    struct mux_stream *s = stream_begin(m, number, true);
    s->ack_due = true;
    list_append(&m->accepted, s, &s->queue);
    return s;
}

/* -- in ------------------------------------------------------------------------------------- */

static void take_ping(struct mux_machine *m, const struct mux_frame *f, double now) {
    if (f->flags & MUX_SYN)
        put_answer(m, MUX_PING, MUX_ACK, 0, f->length);
    if (!(f->flags & MUX_ACK))
        return;
    for (int i = 0; i < PINGS_MAX; i++)
        if (m->ping[i].number == f->length && m->ping[i].rtt < 0)
            m->ping[i].rtt = now - m->ping[i].sent;
}

static void take_go_away(struct mux_machine *m, const struct mux_frame *f) {
    m->gone_away = true;
    if (f->length == MUX_END_PROTOCOL)
        mm_fail(m, -EPROTO, "the peer says that we break the protocol");
    else if (f->length == MUX_END_INTERNAL)
        mm_fail(m, -ECONNRESET, "the peer has an internal error");
}

static void take_window(struct mux_machine *m, struct mux_stream *s, const struct mux_frame *f) {
    if (s->may_send + f->length > UINT32_MAX) {
        machine_break(m, "its window overflows");
        return;
    }
    s->may_send += f->length;
}

static void take_reset(struct mux_stream *s) {
    s->reset = true;
    if (s->queue.list == &s->machine->accepted) { /* nobody has seen it */
        s->machine->counts.streams--;
        s->held = false;
    }
    stream_end_by(s, -ECONNRESET);
    stream_forget(s);
}

/* A frame that is late for a stream that is over. */
static bool is_late(const struct mux_machine *m, uint32_t number) {
    return is_peers(m, number) ? number <= m->last_peers : number < m->next_number;
}

static struct mux_stream *find_stream(struct mux_machine *m, const struct mux_frame *f) {
    if (f->stream == 0) {
        machine_break(m, "a stream's frame without a number");
        return NULL;
    }
    if (f->flags & MUX_SYN)
        return begin_stream(m, f->stream);
    struct mux_stream *s = table_find(m, f->stream);
    if (!s && !is_late(m, f->stream))
        machine_break(m, "a frame of a stream that has not begun");
    return s;
}

/* What is true of every frame of a stream; its bytes come after that. */
static void take_stream_frame(struct mux_machine *m, const struct mux_frame *f) {
    struct mux_stream *s = find_stream(m, f);
    m->data_left = f->type == MUX_DATA ? f->length : 0;
    m->into = s;
    if (m->error || !s)
        return;
    if (m->data_left && (s->ended || m->data_left > s->may_come)) {
        machine_break(m, s->ended ? "bytes after a stream's end" : "more bytes than its window");
        return;
    }
    s->may_come -= m->data_left;
    bool was_stalled = s->stalled;
    if (f->flags & MUX_ACK)
        stream_note_acked(s);
    if (f->type == MUX_WINDOW)
        take_window(m, s, f);
    if (f->flags & MUX_RST) {
        take_reset(s);
        m->into = NULL;
        return;
    }
    if (f->flags & MUX_FIN && !m->data_left)
        s->ended = true;
    s->ends_after = f->flags & MUX_FIN && m->data_left;
    s->stalled = was_stalled && s->may_send == 0;
    if (was_stalled != s->stalled || s->ended)
        stream_stir(s);
    if (s->ended && !s->held) {
        m->into = NULL;
        stream_forget(s);
    }
}

static void take_frame(struct mux_machine *m, double now) {
    struct mux_frame f;
    if (mux_frame_decode(&f, m->header) < 0)
        machine_break(m, "no frame of yamux");
    else if (f.type == MUX_PING)
        take_ping(m, &f, now);
    else if (f.type == MUX_GO_AWAY)
        take_go_away(m, &f);
    else
        take_stream_frame(m, &f);
}

static void note_end(struct mux_machine *m, struct mux_stream *s) {
    if (m->data_left == 0 && m->into && s->ends_after) {
        s->ended = true;
        stream_stir(s);
    }
}

static size_t take_bytes(struct mux_machine *m, const uint8_t *data, size_t len) {
    size_t n = len < m->data_left ? len : m->data_left;
    m->data_left -= n;
    struct mux_stream *s = m->into;
    if (!s)
        return n;
    stream_receive(s, data, n);
    note_end(m, s);
    stream_forget(s);
    return n;
}

struct mux_stream *mm_next_reader(const struct mux_machine *m, size_t *count) {
    struct mux_stream *s = m->into;
    *count = m->data_left;
    bool reads = s && m->data_left && !m->error && s->held && s->owner && !s->in.len;
    return reads && !s->ignored && !s->reset && !s->error ? s : NULL;
}

void mm_passed(struct mux_machine *m, size_t n, double now) {
    m->data_left -= n;
    note_end(m, m->into);
    stream_grant(m->into, now);
}

size_t mm_header_left(const struct mux_machine *m) {
    return m->data_left ? 0 : MUX_HEADER - m->header_len;
}

static size_t take_header(struct mux_machine *m, const uint8_t *data, size_t len, double now) {
    size_t missing = sizeof m->header - m->header_len;
    size_t n = len < missing ? len : missing;
    memcpy(m->header + m->header_len, data, n);
    m->header_len += n;
    if (m->header_len == sizeof m->header) {
        m->header_len = 0;
        take_frame(m, now);
    }
    return n;
}

void mm_feed(struct mux_machine *m, const void *data, size_t len, double now) {
    const uint8_t *at = data;
    while (len && !m->error) {
        size_t n = m->data_left ? take_bytes(m, at, len) : take_header(m, at, len, now);
        at += n;
        len -= n;
    }
}

/* -- pings ------------------------------------------------------------------------------------ */

uint32_t mm_ping(struct mux_machine *m, double now) {
    if (m->pings && m->ping[m->pings % PINGS_MAX].rtt < 0)
        return m->pings;
    uint32_t number = ++m->pings;
    m->ping[number % PINGS_MAX].number = number;
    m->ping[number % PINGS_MAX].sent = now;
    m->ping[number % PINGS_MAX].rtt = -1;
    machine_put(m, MUX_PING, MUX_SYN, 0, number);
    return number;
}

double mm_pong(const struct mux_machine *m, uint32_t number) {
    return m->ping[number % PINGS_MAX].number == number ? m->ping[number % PINGS_MAX].rtt : -1;
}

double mm_rtt(const struct mux_machine *m) {
    double rtt = m->options.rtt ? m->options.rtt(m->options.arg) : -1;
    return rtt >= 0 || !m->pings ? rtt : mm_pong(m, m->pings);
}

void mm_info(const struct mux_machine *m, struct mux_info *info) {
    *info = m->counts;
    info->peers_streams = m->peers_open;
    info->unread = m->unread;
    info->gone_away = m->gone_away;
}
