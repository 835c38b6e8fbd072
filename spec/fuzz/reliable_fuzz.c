/*
 * libFuzzer on the datagrams of a reliable link: the decoder, and two machines between which a
 * hostile network cuts, changes, drops, duplicates and delays. What each reads is a beginning of
 * what the other wrote as long as nothing was changed; whatever happens, no limit is passed.
 */
#include <math.h>

#include "host/reliable.h"
#include "host/reliable/codec.h"
#include "host/reliable/flow.h"
#include "spec/fuzz/fuzz.h"

#define MAIL_MAX 64
#define WRITTEN_MAX 100000
#define POLLS_MAX 400

/* -- the decoder --------------------------------------------------------------------------- */

/* What was decoded is written again as the same bytes. */
static void decode(const uint8_t *data, size_t size) {
    struct reliable_packet p;
    uint8_t *exact = copy_exactly(data, size), *again = allocate(size);
    if (reliable_decode(&p, exact, size) == 0) {
        require(reliable_encode(&p, again, size) == (ssize_t)size);
        require(memcmp(exact, again, size) == 0);
        require(size == 0 || reliable_encode(&p, again, size - 1) < 0);
    }
    free(exact);
    free(again);
}

/* -- two machines -------------------------------------------------------------------------- */

struct mail {
    uint8_t data[RELIABLE_SIZE_MAX];
    size_t len;
};

struct side {
    struct reliable *machine;
    struct mail mail[MAIL_MAX]; /* on its way to this side */
    int count;
    uint64_t written, read;
};

struct world {
    struct side sides[2];
    double now;
    int changed; /* something came that no machine had made */
};

static void post(struct world *w, int to, const uint8_t *data, size_t len) {
    struct side *s = &w->sides[to];
    if (s->count == MAIL_MAX)
        return;
    memcpy(s->mail[s->count].data, data, len);
    s->mail[s->count++].len = len;
}

static void poll_side(struct world *w, int i) {
    uint8_t datagram[RELIABLE_SIZE_MAX];
    size_t len;
    int polls = 0;
    while ((len = reliable_poll(w->sides[i].machine, datagram, sizeof datagram, w->now))) {
        require(len <= RELIABLE_SIZE && ++polls < POLLS_MAX);
        decode(datagram, len);
        post(w, !i, datagram, len);
    }
    require(reliable_due(w->sides[i].machine) >= w->now - 1e-9 ||
            reliable_state(w->sides[i].machine) == RELIABLE_GONE ||
            reliable_due(w->sides[i].machine) == -INFINITY);
}

static void deliver(struct world *w, int i, int which, int keep) {
    struct side *s = &w->sides[i];
    if (!s->count)
        return;
    which %= s->count;
    reliable_feed(s->machine, s->mail[which].data, s->mail[which].len, w->now);
    if (!keep)
        s->mail[which] = s->mail[--s->count];
}

static void write_side(struct world *w, int i, size_t len) {
    uint8_t bytes[512];
    struct side *s = &w->sides[i];
    if (s->written > WRITTEN_MAX)
        return;
    len = 1 + len % sizeof bytes;
    for (size_t n = 0; n < len; n++)
        bytes[n] = (uint8_t)((s->written + n) * 7);
    ssize_t n = reliable_write(s->machine, bytes, len);
    s->written += n > 0 ? (uint64_t)n : 0;
}

static void read_side(struct world *w, int i, size_t len) {
    char bytes[256];
    struct side *s = &w->sides[i];
    ssize_t got = reliable_read(s->machine, bytes, 1 + len % sizeof bytes);
    for (ssize_t n = 0; n < got && !w->changed; n++)
        require((uint8_t)bytes[n] == (uint8_t)((s->read + (uint64_t)n) * 7));
    s->read += got > 0 ? (uint64_t)got : 0;
    require(w->changed || s->read <= w->sides[!i].written);
}

/* A datagram on its way, changed; the id stays, or it would be refused at once. */
static void change(struct world *w, int i, const uint8_t *with, size_t len) {
    struct side *s = &w->sides[i];
    if (!s->count)
        return;
    struct mail *m = &s->mail[s->count - 1];
    for (size_t n = 0; n + 1 < len; n += 2) {
        size_t at = with[n] % (m->len ? m->len : 1);
        if (at < 2 || at >= 2 + RELIABLE_ID_SIZE)
            m->data[at] ^= with[n + 1];
    }
    w->changed = 1;
}

static void step(struct world *w, uint8_t what, const uint8_t *rest, size_t left) {
    int i = what & 1;
    size_t value = left ? rest[0] : 0;
    struct side *s = &w->sides[i];
    switch (what >> 1 & 15) {
    case 0:
        write_side(w, i, value * 4);
        break;
    case 1:
    case 2:
        read_side(w, i, value);
        break;
    case 3:
        w->now += (double)value / 100;
        break;
    case 4:
        w->now = fmin(fmax(w->now, reliable_due(s->machine)), w->now + 20);
        break;
    case 5:
        change(w, i, rest, left < 16 ? left : 16);
        break;
    case 6:
        reliable_shutdown(s->machine);
        break;
    case 7:
        s->count -= s->count > 0;
        break;
    case 8:
        deliver(w, i, (int)value, 1);
        break;
    case 9:
        if (value == 77)
            reliable_leave(s->machine, w->now);
        break;
    case 10:
    case 11:
    case 12:
        poll_side(w, i);
        break;
    default:
        deliver(w, i, (int)value, 0);
    }
}

static void play(const uint8_t *data, size_t size) {
    static struct world w;
    struct reliable_info info;
    memset(&w, 0, sizeof w);
    for (int i = 0; i < 2; i++) {
        struct reliable_options options = {.dialer = i == 0};
        w.sides[i].machine = reliable_new(&options, 0);
        poll_side(&w, i);
    }
    for (size_t n = 1; n < size; n++)
        step(&w, data[n], data + n + 1, size - n - 1);
    for (int i = 0; i < 2; i++) {
        reliable_info(w.sides[i].machine, &info);
        require(info.unacked <= FLOW_WINDOW);
        reliable_free(w.sides[i].machine);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    decode(data, size);
    play(data, size);
    return 0;
}
