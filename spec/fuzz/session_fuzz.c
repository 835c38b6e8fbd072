/*
 * libFuzzer on sessions: a machine that is fed whatever a peer may send, and two machines with
 * paths between them that cut, drop, delay, change and end what they carry. What each reads is a
 * beginning of what the other wrote as long as nothing was changed; whatever happens, no limit is
 * passed.
 */
#include <errno.h>
#include <math.h>

#include "host/session/codec.h"
#include "host/session/machine.h"
#include "spec/fuzz/fuzz.h"

#define PATHS_MAX 4
#define ROOM 20000
#define WRITTEN_MAX 400000

/* -- frames --------------------------------------------------------------------------------- */

/* What was decoded is written again as the same bytes. */
static void decode(const uint8_t *data, size_t size) {
    struct session_frame f;
    uint8_t again[SESSION_CONTROL_MAX];
    int need = size < SESSION_HEADER ? -1 : session_frame_need(data);
    if (need < 0 || (size_t)need > size)
        return;
    uint8_t *exact = copy_exactly(data, (size_t)need);
    if (session_frame_decode(&f, exact) == 0 && f.type < SESSION_OPTIONAL) {
        require(session_frame_encode(&f, again) == (size_t)need);
        require(memcmp(exact, again, (size_t)need) == 0);
    }
    free(exact);
}

/* -- two machines --------------------------------------------------------------------------- */

struct way {
    uint8_t bytes[ROOM];
    size_t len;
    int ended;
};

struct side {
    struct session_machine *machine;
    uint64_t written, read;
};

struct world {
    struct side sides[2];
    struct way ways[PATHS_MAX + 1][2]; /* by number; towards that side */
    int paths;
    double now;
    int changed; /* something came that no machine had made */
};

static void poll_path(struct world *w, int i, uint32_t path) {
    struct session_machine *m = w->sides[i].machine;
    struct way *way = &w->ways[path][!i];
    const uint8_t *bytes;
    size_t len;
    while (!way->ended && (len = sm_poll(m, path, &bytes, w->now))) {
        require(len <= SESSION_FRAME_MAX);
        size_t n = len < ROOM - way->len ? len : ROOM - way->len;
        memcpy(way->bytes + way->len, bytes, n);
        way->len += n;
        sm_sent(m, path, n, w->now);
        if (n < len)
            break;
    }
    if (sm_path_state(m, path) == PATH_LIVE)
        return;
    sm_detach(m, path);
    way->ended = 1;
}

static void deliver(struct world *w, int i, uint32_t path, size_t most) {
    struct way *way = &w->ways[path][i];
    size_t n = way->len < most ? way->len : most;
    uint8_t *exact = copy_exactly(way->bytes, n);
    sm_feed(w->sides[i].machine, path, exact, n, w->now);
    free(exact);
    memmove(way->bytes, way->bytes + n, way->len - n);
    way->len -= n;
    if (!way->len && way->ended)
        sm_path_failed(w->sides[i].machine, path, 0, "ended", w->now);
}

static void add_path(struct world *w) {
    if (w->paths == PATHS_MAX)
        return;
    w->paths++;
    for (int i = 0; i < 2; i++)
        if (sm_attach(w->sides[i].machine, w->now) < 0)
            w->ways[w->paths][!i].ended = 1;
}

static void write_side(struct world *w, int i, size_t len) {
    static uint8_t bytes[255 * 200];
    struct side *s = &w->sides[i];
    if (s->written > WRITTEN_MAX)
        return;
    for (size_t n = 0; n < len; n++)
        bytes[n] = (uint8_t)((s->written + n) * 7);
    ssize_t n = sm_write(s->machine, bytes, len);
    s->written += n > 0 ? (uint64_t)n : 0;
}

static void read_side(struct world *w, int i, size_t len) {
    static uint8_t bytes[255 * 200];
    struct side *s = &w->sides[i];
    ssize_t got = len ? sm_read(s->machine, bytes, len) : 0;
    for (ssize_t n = 0; n < got && !w->changed; n++)
        require(bytes[n] == (uint8_t)((s->read + (uint64_t)n) * 7));
    s->read += got > 0 ? (uint64_t)got : 0;
    require(w->changed || s->read <= w->sides[!i].written);
}

static void change(struct world *w, struct way *way, const uint8_t *with, size_t len) {
    for (size_t n = 0; n + 1 < len && way->len; n += 2)
        way->bytes[with[n] % way->len] ^= with[n + 1];
    w->changed = 1;
}

static void step(struct world *w, uint8_t what, const uint8_t *rest, size_t left) {
    int i = what & 1;
    size_t value = left ? rest[0] : 0;
    uint32_t path = 1 + value % PATHS_MAX;
    struct session_machine *m = w->sides[i].machine;
    switch (what >> 1 & 31) {
    case 0:
        write_side(w, i, value * 200);
        break;
    case 1:
        read_side(w, i, value * 200);
        break;
    case 2:
        add_path(w);
        break;
    case 3:
        w->now += (double)value / 50;
        sm_tick(m, w->now);
        break;
    case 4:
        w->now = fmin(fmax(w->now, sm_due(m)), w->now + 20);
        sm_tick(m, w->now);
        break;
    case 5:
        change(w, &w->ways[path][i], rest, left < 16 ? left : 16);
        break;
    case 6:
        sm_shutdown(m, w->now);
        break;
    case 7:
        sm_path_failed(m, path, -ECONNRESET, "cut", w->now);
        break;
    case 8:
        sm_switch(m, path, w->now);
        break;
    case 9:
        sm_drop(m, path, "dropped", value & 128, w->now);
        break;
    case 10:
        sm_doubt(m, w->now);
        break;
    case 11:
        if (value == 77)
            sm_close(m, w->now);
        break;
    case 12:
        if (value == 77)
            sm_abort(m, -ECONNABORTED, "aborted");
        break;
    case 13:
        if (value == 77)
            sm_abandon(m);
        break;
    case 14:
    case 15:
    case 16:
    case 17:
    case 18:
    case 19:
        poll_path(w, i, path);
        break;
    default:
        deliver(w, i, path, 1 + value * 150);
    }
}

static void check(struct session_machine *m) {
    struct session_info info;
    struct session_event event;
    sm_info(m, &info);
    require(info.kept <= SESSION_KEEP_MIN + 20000 && info.unread <= SESSION_KEEP_MIN);
    while (sm_event(m, &event))
        require(memchr(event.reason, 0, sizeof event.reason) != NULL);
}

static void play(const uint8_t *data, size_t size) {
    static struct world w;
    memset(&w, 0, sizeof w);
    for (int i = 0; i < 2; i++) {
        struct session_options options = {.initiator = i == 0, .keep_max = SESSION_KEEP_MIN};
        w.sides[i].machine = sm_new(&options);
    }
    add_path(&w);
    for (size_t n = 1; n < size; n++)
        step(&w, data[n], data + n + 1, size - n - 1);
    for (int i = 0; i < 2; i++) {
        check(w.sides[i].machine);
        sm_free(w.sides[i].machine);
    }
}

/* -- a peer that sends what it likes -------------------------------------------------------- */

static void hear(const uint8_t *data, size_t size) {
    struct session_options options = {.initiator = true, .keep_max = SESSION_KEEP_MIN};
    struct session_machine *m = sm_new(&options);
    const uint8_t *out;
    size_t len;
    sm_attach(m, 0);
    sm_write(m, "some bytes", 10);
    while ((len = sm_poll(m, 1, &out, 0)))
        sm_sent(m, 1, len, 0);
    for (size_t at = 0, n; at < size; at += n) {
        n = size - at < 1000 ? size - at : 1000;
        sm_feed(m, 1, data + at, n, 0.1);
        while ((len = sm_poll(m, 1, &out, 0.1)))
            sm_sent(m, 1, len, 0.1);
    }
    check(m);
    sm_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    decode(data + 1, size - 1);
    if (data[0] & 1)
        play(data, size);
    else
        hear(data + 1, size - 1);
    return 0;
}
