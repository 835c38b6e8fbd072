/*
 * libFuzzer on yamux: the codec; a machine that a hostile peer feeds, beside whatever its user
 * does; and two machines with each other, whose every stream delivers what was written to it.
 */
#include <errno.h>
#include <ev.h>

#include "host/mux/frame.h"
#include "host/mux/machine.h"
#include "spec/fuzz/fuzz.h"

#define STREAMS_MAX 16
#define MEMORY_MAX (512 * 1024)
#define OUT_MAX (1024 * 1024)
#define WRITTEN_MAX (2 * 1024 * 1024)

static void decode(const uint8_t *data, size_t size) {
    struct mux_frame f;
    uint8_t again[MUX_HEADER];
    if (size < MUX_HEADER || mux_frame_decode(&f, data) < 0)
        return;
    mux_frame_encode(&f, again);
    require(memcmp(data, again, MUX_HEADER) == 0);
}

/* -- a side --------------------------------------------------------------------------------- */

struct held {
    struct mux_stream *stream;
    uint64_t written, read;
    bool shut, opened;
};

struct side {
    struct mux_machine *machine;
    struct held streams[STREAMS_MAX];
};

static double rtt = 0.05;

static double on_rtt(void *arg) {
    (void)arg;
    return rtt;
}

static void begin(struct side *s, bool client) {
    struct mux_options options = {.client = client,
                                  .backlog = 8,
                                  .streams_max = STREAMS_MAX,
                                  .memory_max = MEMORY_MAX,
                                  .rtt = on_rtt};
    *s = (struct side){.machine = mm_new(&options)};
}

static struct held *room(struct side *s) {
    for (int i = 0; i < STREAMS_MAX; i++)
        if (!s->streams[i].stream)
            return &s->streams[i];
    return NULL;
}

static void hold(struct side *s, struct mux_stream *stream, bool opened) {
    struct held *h = room(s);
    if (!stream)
        return;
    *h = (struct held){.stream = stream, .opened = opened};
    ms_set_owner(stream, h);
}

static void release(struct held *h) {
    if (h->stream) {
        ms_set_owner(h->stream, NULL);
        ms_free(h->stream);
    }
    *h = (struct held){0};
}

static void end(struct side *s) {
    for (int i = 0; i < STREAMS_MAX; i++)
        release(&s->streams[i]);
    for (struct mux_stream *stream; (stream = mm_accept(s->machine));)
        ms_free(stream);
    mm_free(s->machine);
}

static uint8_t pattern(const struct held *h, uint64_t position, bool written) {
    bool opener = h->opened == written;
    return (uint8_t)(position * 7 + ms_number(h->stream) + (opener ? 0 : 128));
}

static void write_some(struct held *h, size_t len) {
    static uint8_t bytes[70000];
    if (h->written > WRITTEN_MAX)
        return;
    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern(h, h->written + i, true);
    ssize_t n = ms_write(h->stream, bytes, len);
    require(n <= (ssize_t)len);
    h->written += n > 0 ? (uint64_t)n : 0;
    if (n == -EAGAIN)
        ms_want(h->stream, EV_WRITE);
}

static void read_some(struct held *h, size_t len, bool honest, double now) {
    static uint8_t bytes[70000];
    ssize_t n = ms_read(h->stream, bytes, len, now);
    for (ssize_t i = 0; i < n && honest; i++)
        require(bytes[i] == pattern(h, h->read + (uint64_t)i, false));
    h->read += n > 0 ? (uint64_t)n : 0;
    if (n == -EAGAIN)
        ms_want(h->stream, EV_READ);
}

static void check(const struct side *s) {
    struct mux_info info;
    const uint8_t *data;
    mm_info(s->machine, &info);
    require(info.unread <= MEMORY_MAX && info.streams >= 0 && info.peers_streams >= 0);
    require(info.peers_streams <= STREAMS_MAX && mm_poll(s->machine, &data) <= OUT_MAX);
}

/* Whoever may write, or is told of something, does what streams do. */
static void turn(struct side *s) {
    const uint8_t *data;
    struct mux_stream *stream;
    while (!mm_poll(s->machine, &data) && (stream = mm_next_writer(s->machine)))
        if (ms_owner(stream))
            write_some(ms_owner(stream), 20000);
    while ((stream = mm_next_stirred(s->machine)))
        require(ms_events(stream) >= 0);
}

static void act(struct side *s, uint8_t what, size_t value, bool honest, double now) {
    struct held *h = &s->streams[value % STREAMS_MAX];
    int err;
    size_t len = value < 240 ? 1 + value * 37 : 65000;
    if (!h->stream && what % 8 > 1)
        return;
    switch (what % 8) {
    case 0:
        if (room(s))
            hold(s, mm_open(s->machine, &err), true);
        break;
    case 1:
        if (room(s))
            hold(s, mm_accept(s->machine), false);
        break;
    case 2:
    case 3:
        write_some(h, len);
        break;
    case 4:
    case 5:
        read_some(h, len, honest, now);
        break;
    case 6:
        if (ms_shutdown(h->stream) == 0)
            h->shut = true;
        break;
    default:
        if (value >> 4 & 1)
            ms_ignore(h->stream);
        if (value >> 4 & 2)
            ms_reset(h->stream);
        release(h);
    }
}

/* -- a hostile peer --------------------------------------------------------------------------- */

static void suffer(const uint8_t *data, size_t size) {
    struct side s;
    const uint8_t *out;
    begin(&s, size & 1);
    double now = 0;
    while (size >= 2) {
        size_t len = data[0] >> 3;
        uint8_t what = data[0] & 7, value = data[1];
        data += 2, size -= 2;
        len = len < size ? len : size;
        if (what == 0 || what == 1)
            mm_feed(s.machine, data, len, now);
        else if (what == 2)
            mm_sent(s.machine, mm_poll(s.machine, &out) * value / 255);
        else if (what == 3)
            mm_ping(s.machine, now);
        else
            act(&s, value, len ? data[0] : 0, false, now);
        if (what < 2)
            data += len, size -= len;
        now += 0.01;
        turn(&s);
        check(&s);
    }
    end(&s);
}

/* -- two machines ----------------------------------------------------------------------------- */

static void carry(struct side *from, struct side *to, size_t most, double now) {
    const uint8_t *data;
    size_t len = mm_poll(from->machine, &data);
    len = len < most ? len : most;
    if (!len)
        return;
    uint8_t *copy = malloc(len);
    require(copy != NULL);
    memcpy(copy, data, len);
    mm_sent(from->machine, len);
    mm_feed(to->machine, copy, len, now);
    free(copy);
}

static void converse(const uint8_t *data, size_t size) {
    struct side sides[2];
    double now = 0;
    begin(&sides[0], true);
    begin(&sides[1], false);
    for (size_t i = 0; i + 1 < size; i += 2) {
        int from = data[i] & 1;
        if (data[i] & 2)
            carry(&sides[from], &sides[!from], 1 + (size_t)data[i + 1] * data[i + 1] * 2, now);
        else
            act(&sides[from], data[i] >> 2, data[i + 1], true, now);
        now += data[i + 1] / 2550.0;
        turn(&sides[from]);
        check(&sides[from]);
        require(!mm_error(sides[0].machine) && !mm_error(sides[1].machine));
    }
    end(&sides[0]);
    end(&sides[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    decode(data, size);
    if (size && data[0] & 1)
        suffer(data + 1, size - 1);
    else if (size)
        converse(data + 1, size - 1);
    return 0;
}
