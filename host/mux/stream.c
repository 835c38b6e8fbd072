/*
 * One stream. It is in the machine's table until both halves have ended or it was reset, and nobody
 * has it; a stream that nobody has, and whose peer goes on, throws away what comes.
 */
#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>

#include "host/mux/machine.h"
#include "host/mux/state.h"

#define GROW_RTTS 2 /* half a window within so many round trips: it is too small */
#define LINGERING_MAX 1024
#define FRAME_LEAST 4096 /* bytes that a frame may at least have */

/* -- lives ---------------------------------------------------------------------------------- */

struct mux_stream *stream_begin(struct mux_machine *m, uint32_t number, bool peers) {
    struct mux_stream *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->machine = m;
    s->number = number;
    s->peers = peers;
    s->window = s->may_send = s->may_come = MUX_WINDOW_FIRST;
    s->held = true;
    table_add(m, s);
    m->counts.streams++;
    m->counts.window = m->counts.window ? m->counts.window : s->window;
    m->peers_open += peers;
    return s;
}

/* No more than the peer's backlog holds: it would refuse the rest. */
void stream_tell_opened(struct mux_machine *m) {
    struct mux_stream *s;
    while (!m->error && m->unacked < MUX_BACKLOG && (s = m->opening.first)) {
        list_remove(s, &s->queue);
        s->opening = false;
        s->unacked = true;
        m->unacked++;
        machine_put(m, MUX_WINDOW, MUX_SYN | (s->shut ? MUX_FIN : 0), s->number, 0);
        s->end = m->position + m->out.len;
        stream_stir(s);
    }
}

void stream_stir(struct mux_stream *s) {
    if (s->held)
        list_append(&s->machine->stirred, s, &s->stirred);
}

static void leave_lists(struct mux_stream *s) {
    list_remove(s, &s->queue);
    list_remove(s, &s->stirred);
}

static void drop_unread(struct mux_stream *s) {
    s->machine->unread -= s->in.len;
    buffer_fini(&s->in);
    s->in = (struct buffer){0};
}

void stream_note_acked(struct mux_stream *s) {
    if (!s->unacked)
        return;
    s->unacked = false;
    s->machine->unacked--;
    stream_tell_opened(s->machine);
}

/* Takes it out of the machine: no frame of it has a meaning any more. */
static void detach(struct mux_stream *s) {
    struct mux_machine *m = s->machine;
    if (!m)
        return;
    stream_note_acked(s);
    table_remove(m, s);
    m->grown -= s->window - MUX_WINDOW_FIRST;
    if (m->into == s)
        m->into = NULL;
    if (m->turn == s)
        m->turn = NULL;
    m->peers_open -= s->peers;
}

static bool is_over(const struct mux_stream *s) {
    return s->reset || s->error || (s->shut && s->ended);
}

void stream_forget(struct mux_stream *s) {
    if (s->held || !is_over(s))
        return;
    leave_lists(s);
    drop_unread(s);
    detach(s);
    free(s);
}

void stream_end_by(struct mux_stream *s, int err) {
    if (!s->error && !(s->shut && s->ended))
        s->error = err;
    list_remove(s, &s->queue);
    stream_note_acked(s);
    stream_stir(s);
}

/* The peer may go on for ever; what it sends is thrown away, and answered by a reset. */
static void linger(struct mux_stream *s) {
    struct mux_list *list = &s->machine->lingering;
    list_append(list, s, &s->queue);
    if (list->count > LINGERING_MAX) {
        struct mux_stream *oldest = list->first;
        ms_reset(oldest);
        stream_forget(oldest);
    }
}

void ms_free(struct mux_stream *s) {
    struct mux_machine *m = s->machine;
    if (m)
        m->counts.streams--;
    if (m && (!s->shut || s->opening))
        ms_reset(s);
    s->held = false;
    s->ignored = true;
    if (!m) {
        buffer_fini(&s->in);
        free(s);
        return;
    }
    leave_lists(s);
    drop_unread(s);
    if (m->turn == s)
        m->turn = NULL;
    if (is_over(s))
        stream_forget(s);
    else
        linger(s);
}

/* -- in ------------------------------------------------------------------------------------- */

/* Nobody knows it: a ping will tell. */
static double round_trip(struct mux_machine *m, double now) {
    double rtt = mm_rtt(m);
    if (rtt < 0 && !m->pings)
        mm_ping(m, now);
    return rtt;
}

/* A window that is used up within a few round trips is what limits the peer. */
static void grow_window(struct mux_stream *s, double now) {
    struct mux_machine *m = s->machine;
    double rtt = round_trip(m, now);
    bool limited = s->granted_at > 0 && rtt > 0 && now - s->granted_at < GROW_RTTS * rtt;
    bool room =
        s->window * 2 <= m->options.window_max && m->grown + s->window <= m->options.memory_max / 2;
    s->granted_at = now;
    if (!limited || !room)
        return;
    m->grown += s->window;
    s->window *= 2;
    m->counts.window = s->window > m->counts.window ? s->window : m->counts.window;
}

/* The present frame's bytes that are still to come are in no other count. */
static size_t room_of(const struct mux_stream *s) {
    size_t coming = s->machine->into == s ? s->machine->data_left : 0;
    return s->window - s->in.len - s->may_come - coming;
}

void stream_grant(struct mux_stream *s, double now) {
    if (s->ended || s->reset || s->error || s->machine->error)
        return;
    if (room_of(s) < s->window / 2)
        return;
    grow_window(s, now);
    size_t more = room_of(s);
    uint16_t flags = s->ack_due ? MUX_ACK : 0;
    s->ack_due = false;
    s->may_come += more;
    machine_put(s->machine, MUX_WINDOW, flags, s->number, (uint32_t)more);
}

ssize_t ms_read(struct mux_stream *s, void *data, size_t len, double now) {
    if (s->in.len == 0)
        return s->ended ? 0 : s->error ? s->error : -EAGAIN;
    size_t n = len < s->in.len ? len : s->in.len;
    memcpy(data, buffer_head(&s->in), n);
    buffer_consume(&s->in, n);
    if (s->machine) {
        s->machine->unread -= n;
        stream_grant(s, now);
    }
    return (ssize_t)n;
}

/* Who has the most unread gives way: its reader has stopped. */
static struct mux_stream *fullest(const struct mux_machine *m) {
    struct mux_stream *most = NULL;
    for (size_t i = 0; i < m->bucket_count; i++)
        for (struct mux_stream *s = m->buckets[i]; s; s = s->next)
            if (!most || s->in.len > most->in.len)
                most = s;
    return most;
}

void stream_receive(struct mux_stream *s, const void *data, size_t len) {
    struct mux_machine *m = s->machine;
    if (s->ignored)
        ms_reset(s);
    if (s->ignored || s->reset || s->error)
        return;
    bool was_empty = s->in.len == 0;
    buffer_append(&s->in, data, len);
    m->unread += len;
    if (was_empty)
        stream_stir(s);
    while (m->unread > m->options.memory_max) {
        struct mux_stream *most = fullest(m);
        drop_unread(most);
        ms_reset(most);
        most->error = -ENOBUFS;
    }
}

void ms_ignore(struct mux_stream *s) {
    s->ignored = true;
    if (s->machine && s->in.len) {
        drop_unread(s);
        if (!s->reset && !s->error && s->shut && !s->ended)
            ms_reset(s);
    }
}

/* -- out ------------------------------------------------------------------------------------ */

static uint16_t take_flags(struct mux_stream *s) {
    uint16_t flags = s->ack_due ? MUX_ACK : 0;
    s->ack_due = false;
    return flags;
}

/* Whether it is this one's turn to put bytes into what leaves next. */
static bool has_turn(const struct mux_stream *s) {
    const struct mux_machine *m = s->machine;
    if (m->out.len >= MUX_FRAME_FAIR)
        return false;
    return m->turn == s || !m->writers.first;
}

/* A frame with these bytes: those that the carrier takes at once, with what is queued before them,
 * are not copied. */
static void put_data(struct mux_stream *s, const void *data, size_t len) {
    struct mux_machine *m = s->machine;
    struct buffer *out = &m->out;
    machine_put(m, MUX_DATA, take_flags(s), s->number, (uint32_t)len);
    size_t n = 0, before = out->len;
    if (m->options.write && len >= MUX_DIRECT_MIN)
        n = m->options.write(m->options.arg, buffer_head(out), before, data, len);
    size_t taken = n > before ? n - before : 0;
    mm_sent(m, n - taken);
    m->position += taken;
    buffer_append(out, (const char *)data + taken, len - taken);
}

/* With what is queued before it a frame fills whole records of TLS; where a carrier takes frames at
 * once it is for it to fill them. */
static size_t frame_max(const struct mux_machine *m) {
    if (m->options.write && !m->writers.first)
        return MUX_FRAME_MAX;
    size_t before = m->out.len + MUX_HEADER;
    size_t most = m->writers.first ? MUX_FRAME_FAIR : MUX_FRAME_MAX;
    return before + FRAME_LEAST < most ? most - before : most;
}

ssize_t ms_write(struct mux_stream *s, const void *data, size_t len) {
    struct mux_machine *m = s->machine;
    if (s->error)
        return s->error;
    if (s->shut || !m)
        return -EPIPE;
    if (s->may_send == 0 || s->opening) {
        s->stalled = !s->opening;
        return -EAGAIN;
    }
    if (!has_turn(s)) {
        list_append(&m->writers, s, &s->queue);
        return -EAGAIN;
    }
    m->turn = NULL;
    size_t most = frame_max(m);
    size_t n = len < most ? len : most;
    n = n < s->may_send ? n : s->may_send;
    put_data(s, data, n);
    s->may_send -= n;
    s->end = m->position + m->out.len;
    return (ssize_t)n;
}

int ms_shutdown(struct mux_stream *s) {
    if (s->error)
        return s->error;
    if (s->shut || !s->machine)
        return s->shut ? 0 : -EPIPE;
    s->shut = true;
    if (s->opening) {
        s->end = UINT64_MAX;
        return 0;
    }
    machine_put(s->machine, MUX_WINDOW, MUX_FIN | take_flags(s), s->number, 0);
    s->end = s->machine->position + s->machine->out.len;
    return 0;
}

void ms_reset(struct mux_stream *s) {
    if (!s->machine || s->reset || s->error || (s->shut && s->ended))
        return;
    s->reset = true;
    if (!s->machine->error && !s->opening)
        machine_put(s->machine, MUX_WINDOW, MUX_RST, s->number, 0);
    stream_end_by(s, -ECONNABORTED);
}

/* -- what is known of it ---------------------------------------------------------------------- */

int ms_events(const struct mux_stream *s) {
    const struct mux_machine *m = s->machine;
    if (s->error || !m)
        return EV_READ | EV_WRITE;
    bool writable = s->shut || (s->may_send > 0 && !s->opening && has_turn(s));
    return (s->in.len || s->ended ? EV_READ : 0) | (writable ? EV_WRITE : 0);
}

void ms_want(struct mux_stream *s, int events) {
    struct mux_machine *m = s->machine;
    if (!m)
        return;
    if (events & ms_events(s))
        stream_stir(s);
    if (!(events & EV_WRITE) || (ms_events(s) & EV_WRITE))
        return;
    if (s->may_send && !s->opening)
        list_append(&m->writers, s, &s->queue);
    else
        s->stalled = !s->opening;
}

int ms_error(const struct mux_stream *s) {
    return s->error;
}

const char *ms_reason(const struct mux_stream *s) {
    if (!s->error)
        return NULL;
    if (s->error == -ENOBUFS)
        return "too much was received that nobody has read";
    if (s->reset)
        return s->error == -ECONNRESET ? "the peer has reset the stream" : NULL;
    return s->machine && s->machine->error ? s->machine->reason : NULL;
}

uint64_t ms_end(const struct mux_stream *s) {
    return s->end;
}

size_t ms_window(const struct mux_stream *s) {
    return s->window;
}

uint32_t ms_number(const struct mux_stream *s) {
    return s->number;
}

void ms_set_owner(struct mux_stream *s, void *owner) {
    s->owner = owner;
}

void *ms_owner(const struct mux_stream *s) {
    return s->owner;
}
