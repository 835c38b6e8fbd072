/*
 * spec.session_history: random histories of a session in virtual time. In each: two machines, paths
 * between them that come, break, fall silent, come back and are left, at random. Each side writes a
 * pattern to an end and checks what it reads. All of it follows from the seed. Faults stop after a
 * while; then it has to end.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "host/session/machine.h"

#define PATHS_MAX 64
#define FAULTS_S 20.0
#define END_S 200.0
#define STEPS_MAX 200000
#define NEVER INFINITY
#define WHY_MAX 256

/* What has happened in all of them. */
struct history_counts {
    uint64_t paths, breaks, stalls, moves, lost, bytes;
};

/* -- chance --------------------------------------------------------------------------------- */

static uint64_t chance_state;

static uint64_t chance(void) {
    chance_state ^= chance_state >> 12;
    chance_state ^= chance_state << 25;
    chance_state ^= chance_state >> 27;
    return chance_state * 2685821657736338717u >> 16;
}

static size_t below(size_t n) {
    return (size_t)(chance() % n);
}

static bool one_in(size_t n) {
    return below(n) == 0;
}

static double seconds(double most) {
    return most * (double)below(1000000) / 1e6;
}

/* -- the world ------------------------------------------------------------------------------ */

struct piece {
    double at;
    size_t len;
    bool end; /* of what is sent by this side */
};

/* One direction of a path: pieces in order, and their bytes. */
struct way {
    uint8_t *bytes;
    size_t first, len, room;
    struct piece *pieces;
    size_t piece_first, piece_count, piece_room;
    double last; /* when the last piece arrives */
};

struct path {
    uint32_t number[2];
    bool attached[2], over[2];
    double fails_at[2]; /* its transport learns that it is broken */
    double attach_at[2];
    bool silent; /* what is sent is lost */
    double delay;
    struct way to[2]; /* towards that side */
};

struct side {
    struct session_machine *machine;
    uint64_t total, written, read;
    bool shut, got_end;
};

struct world {
    struct side sides[2];
    struct path paths[PATHS_MAX];
    int count;
    double now, next_path;
    size_t keep_max;
    size_t room;    /* of bytes on their way, a direction */
    size_t trouble; /* one in so many steps */
    struct history_counts *counts;
    char *why;
};

static void fail(struct world *w, const char *why) {
    if (!*w->why)
        snprintf(w->why, WHY_MAX, "%s, after %.3f s", why, w->now);
}

static uint8_t pattern(int from, uint64_t position) {
    return (uint8_t)((position * 0x9E3779B97F4A7C15u >> 56) + (uint64_t)from);
}

/* -- a direction ---------------------------------------------------------------------------- */

static void *widen(void *p, size_t count, size_t size) {
    p = realloc(p, count * size);
    if (!p)
        abort();
    return p;
}

static void add_piece(struct way *way, struct piece piece) {
    if (way->piece_first + way->piece_count == way->piece_room) {
        way->piece_room = way->piece_room * 2 + 8;
        way->pieces = widen(way->pieces, way->piece_room, sizeof *way->pieces);
    }
    way->pieces[way->piece_first + way->piece_count++] = piece;
}

static void add_bytes(struct way *way, const uint8_t *data, size_t len) {
    if (!len)
        return;
    if (way->first && way->first + way->len + len > way->room) {
        memmove(way->bytes, way->bytes + way->first, way->len);
        way->first = 0;
    }
    if (way->len + len > way->room) {
        way->room = 2 * (way->len + len);
        way->bytes = widen(way->bytes, way->room, 1);
    }
    memcpy(way->bytes + way->first + way->len, data, len);
    way->len += len;
}

static void send(struct world *w, struct path *p, int to, const uint8_t *data, size_t len,
                 bool end) {
    struct way *way = &p->to[to];
    if (p->silent)
        return;
    way->last = fmax(way->last, w->now + p->delay + seconds(p->delay / 4));
    add_bytes(way, data, len);
    add_piece(way, (struct piece){way->last, len, end});
}

static void clear(struct way *way) {
    free(way->bytes);
    free(way->pieces);
    *way = (struct way){0};
}

/* -- paths ---------------------------------------------------------------------------------- */

static bool is_open(const struct path *p, int side) {
    return p->attached[side] && !p->over[side];
}

static void add_path(struct world *w) {
    if (w->count == PATHS_MAX)
        return;
    struct path *p = &w->paths[w->count++];
    *p =
        (struct path){.fails_at = {NEVER, NEVER}, .delay = 0.001 + seconds(one_in(4) ? 0.3 : 0.03)};
    for (int i = 0; i < 2; i++)
        p->attach_at[i] = w->now + (one_in(2) ? 0 : seconds(0.2));
    w->counts->paths++;
}

static void attach(struct world *w, struct path *p, int i) {
    if (p->attached[i] || w->now < p->attach_at[i])
        return;
    p->attached[i] = true;
    int64_t number = sm_attach(w->sides[i].machine, w->now);
    if (number > 0)
        p->number[i] = (uint32_t)number;
    else
        p->over[i] = true;
    if (!p->over[i])
        return;
    p->fails_at[!i] = w->now + p->delay;
    if (number == -EPIPE)
        sm_abort(w->sides[!i].machine, -ECONNRESET, "the peer has lost the session");
}

/* In one of the ways in which paths end: both sides learn it at once, one does, none does. */
static void break_path(struct world *w, struct path *p) {
    static const double SLOW = 8;
    for (int i = 0; i < 2; i++)
        p->fails_at[i] = fmin(p->fails_at[i], one_in(3)   ? w->now
                                              : one_in(2) ? w->now + seconds(SLOW)
                                                          : NEVER);
    for (int i = 0; i < 2; i++)
        if (one_in(2))
            clear(&p->to[i]);
    p->silent = true;
    w->counts->breaks++;
}

/* It stands still, and comes back with everything; perhaps too late. */
static void stall(struct world *w, struct path *p) {
    double stall = seconds(one_in(3) ? 10 : 1.5);
    for (int i = 0; i < 2; i++) {
        for (size_t n = 0; n < p->to[i].piece_count; n++)
            p->to[i].pieces[p->to[i].piece_first + n].at += stall;
        p->to[i].last = fmax(p->to[i].last, w->now) + stall;
    }
    w->counts->stalls++;
}

static bool any_path(const struct world *w) {
    for (int n = 0; n < w->count; n++) {
        const struct path *p = &w->paths[n];
        if (!p->silent && !p->over[0] && !p->over[1] && isinf(p->fails_at[0]) &&
            isinf(p->fails_at[1]))
            return true;
    }
    return false;
}

/* -- what a side does ----------------------------------------------------------------------- */

static void leave_path(struct world *w, struct path *p, int i, enum session_path_state state) {
    struct session_machine *m = w->sides[i].machine;
    const uint8_t *data;
    size_t len;
    while ((len = sm_poll(m, p->number[i], &data, w->now))) {
        send(w, p, !i, data, len, false);
        sm_sent(m, p->number[i], len, w->now);
    }
    if (state == PATH_DEAD)
        p->fails_at[!i] = p->silent ? p->fails_at[!i] : fmin(p->fails_at[!i], w->now + p->delay);
    else
        send(w, p, !i, NULL, 0, true);
    sm_detach(m, p->number[i]);
    p->over[i] = true;
    clear(&p->to[i]);
}

static void poll_path(struct world *w, struct path *p, int i) {
    struct session_machine *m = w->sides[i].machine;
    const uint8_t *data;
    size_t len;
    if (!is_open(p, i))
        return;
    while (p->to[!i].len < w->room && sm_path_state(m, p->number[i]) == PATH_LIVE &&
           (len = sm_poll(m, p->number[i], &data, w->now))) {
        size_t n = one_in(8) ? 1 + below(len) : len;
        send(w, p, !i, data, n, false);
        sm_sent(m, p->number[i], n, w->now);
        if (one_in(16))
            break;
    }
    enum session_path_state state = sm_path_state(m, p->number[i]);
    if (state != PATH_LIVE)
        leave_path(w, p, i, state);
}

static void deliver(struct world *w, struct path *p, int i) {
    struct way *way = &p->to[i];
    struct session_machine *m = w->sides[i].machine;
    while (is_open(p, i) && way->piece_count && way->pieces[way->piece_first].at <= w->now) {
        struct piece *piece = &way->pieces[way->piece_first];
        size_t n = piece->len && one_in(4) ? 1 + below(piece->len) : piece->len;
        sm_feed(m, p->number[i], way->bytes + way->first, n, w->now);
        way->first += n;
        way->len -= n;
        piece->len -= n;
        if (piece->len)
            continue;
        if (piece->end)
            sm_path_failed(m, p->number[i], 0, "the path has ended", w->now);
        way->piece_first++;
        if (--way->piece_count == 0)
            way->first = way->piece_first = 0;
    }
    if (is_open(p, i) && w->now >= p->fails_at[i])
        sm_path_failed(m, p->number[i], -ECONNRESET, "the path is broken", w->now);
}

static void write_some(struct world *w, int i) {
    uint8_t bytes[40000];
    struct side *s = &w->sides[i];
    size_t len = one_in(3) ? sizeof bytes : 1 + below(300);
    if (len > s->total - s->written)
        len = (size_t)(s->total - s->written);
    for (size_t n = 0; n < len; n++)
        bytes[n] = pattern(i, s->written + n);
    ssize_t n = len ? sm_write(s->machine, bytes, len) : 0;
    if (n > 0)
        s->written += (uint64_t)n;
    else if (n < 0 && n != -EAGAIN)
        fail(w, sm_reason(s->machine) ? sm_reason(s->machine) : "a write fails");
    if (s->written == s->total && !s->shut) {
        sm_shutdown(s->machine, w->now);
        s->shut = true;
    }
}

static void read_some(struct world *w, int i) {
    uint8_t bytes[30000];
    struct side *s = &w->sides[i];
    if (s->got_end)
        return;
    ssize_t n = sm_read(s->machine, bytes, 1 + below(sizeof bytes));
    for (ssize_t k = 0; k < n; k++)
        if (bytes[k] != pattern(!i, s->read + (uint64_t)k)) {
            fail(w, "a byte is wrong");
            return;
        }
    if (n > 0)
        s->read += (uint64_t)n;
    else if (n == 0)
        s->got_end = true;
    else if (n != -EAGAIN)
        fail(w, sm_reason(s->machine));
    if (s->read > w->sides[!i].written || (s->got_end && s->read != w->sides[!i].total))
        fail(w, "not what was written");
}

static void check_limits(struct world *w, int i) {
    struct session_info info;
    struct session_event event;
    sm_info(w->sides[i].machine, &info);
    if (info.kept > w->keep_max + 20000 || info.unread > w->keep_max)
        fail(w, "more is kept than may be");
    while (!one_in(4) && sm_event(w->sides[i].machine, &event)) {
        w->counts->moves += event.type == SESSION_MOVED;
        w->counts->lost += event.type == SESSION_LOST;
        if (event.type == SESSION_OVER && event.code)
            fail(w, event.reason);
        if (event.type == SESSION_DOWN && event.code == -EPROTO)
            fail(w, event.reason);
    }
}

/* -- the course of it ----------------------------------------------------------------------- */

static void meddle(struct world *w) {
    int i = (int)below(2);
    struct path *p = w->count ? &w->paths[below((size_t)w->count)] : NULL;
    struct session_machine *m = w->sides[i].machine;
    if (!p || !is_open(p, i))
        return;
    switch (below(12)) {
    case 0:
    case 1:
    case 2:
        if (w->now < FAULTS_S && !p->silent)
            break_path(w, p);
        break;
    case 3:
    case 4:
        if (w->now < FAULTS_S)
            stall(w, p);
        break;
    case 5:
    case 6:
    case 7:
        sm_switch(m, p->number[i], w->now);
        break;
    case 8:
        if (w->now < FAULTS_S)
            sm_drop(m, p->number[i], "at random", one_in(2), w->now);
        break;
    case 9:
        sm_doubt(m, w->now);
        break;
    default:
        if (w->now < FAULTS_S)
            add_path(w);
    }
}

static double next_instant(const struct world *w) {
    double next = w->next_path;
    for (int i = 0; i < 2; i++)
        next = fmin(next, sm_due(w->sides[i].machine));
    for (int n = 0; n < w->count; n++)
        for (int i = 0; i < 2; i++) {
            const struct path *p = &w->paths[n];
            const struct way *way = &p->to[i];
            if (!p->attached[i])
                next = fmin(next, p->attach_at[i]);
            if (is_open(p, i) && way->piece_count)
                next = fmin(next, way->pieces[way->piece_first].at);
            if (is_open(p, i))
                next = fmin(next, p->fails_at[i]);
        }
    return next;
}

static void keep_a_path(struct world *w) {
    if (any_path(w))
        w->next_path = NEVER;
    else if (isinf(w->next_path))
        w->next_path = w->now + (one_in(2) ? seconds(0.1) : seconds(5));
    if (w->now < w->next_path)
        return;
    w->next_path = NEVER;
    add_path(w);
}

static void step(struct world *w) {
    if (one_in(w->trouble))
        meddle(w);
    keep_a_path(w);
    for (int n = 0; n < w->count; n++)
        for (int i = 0; i < 2; i++) {
            attach(w, &w->paths[n], i);
            deliver(w, &w->paths[n], i);
        }
    for (int i = 0; i < 2; i++) {
        sm_tick(w->sides[i].machine, w->now);
        if (!one_in(3))
            write_some(w, i);
        if (!one_in(3))
            read_some(w, i);
        for (int n = 0; n < w->count; n++)
            poll_path(w, &w->paths[n], i);
        check_limits(w, i);
    }
    double next = next_instant(w);
    w->now += one_in(3) || next > w->now + 0.01 * (double)below(200) ? seconds(0.02)
                                                                     : fmax(next - w->now, 0);
}

static bool is_over(const struct world *w) {
    for (int i = 0; i < 2; i++) {
        struct session_info info;
        sm_info(w->sides[i].machine, &info);
        if (info.state < SESSION_ENDED || !w->sides[i].got_end)
            return false;
    }
    return true;
}

static void forget(struct world *w) {
    for (int n = 0; n < w->count; n++)
        for (int i = 0; i < 2; i++)
            clear(&w->paths[n].to[i]);
    for (int i = 0; i < 2; i++)
        sm_free(w->sides[i].machine);
}

static bool run(uint64_t seed, struct history_counts *counts, char *why) {
    static struct world w;
    memset(&w, 0, sizeof w);
    *why = 0;
    w.why = why;
    w.counts = counts;
    w.next_path = NEVER;
    chance_state = seed * 2654435761u + 88172645463325252u;
    w.room = (size_t)2000 << below(8);
    w.trouble = (size_t)2 << below(6);
    w.keep_max = one_in(2) ? SESSION_KEEP_MIN : 400000;
    for (int i = 0; i < 2; i++) {
        struct session_options options = {
            .initiator = i == 0, .silence = one_in(3) ? 8 : 60, .keep_max = w.keep_max};
        w.sides[i].machine = sm_new(&options);
        w.sides[i].total = one_in(10) ? 0 : below(one_in(4) ? 600000 : 100000);
    }
    for (int n = 0; n < STEPS_MAX && !*why && !is_over(&w); n++) {
        step(&w);
        if (w.now > END_S)
            fail(&w, "it does not end");
    }
    if (!*why && !is_over(&w))
        fail(&w, "it does not get on");
    for (int i = 0; i < 2; i++)
        counts->bytes += w.sides[i].read;
    forget(&w);
    return !*why;
}

/* -- for Lua -------------------------------------------------------------------------------- */

/* run(first, last) -> what has happened in the histories of these seeds; or nil and which has
 * failed, and why */
static int l_run(lua_State *L) {
    struct history_counts counts = {0};
    char why[WHY_MAX];
    lua_Integer last = luaL_checkinteger(L, 2);
    for (lua_Integer seed = luaL_checkinteger(L, 1); seed <= last; seed++) {
        if (run((uint64_t)seed, &counts, why))
            continue;
        lua_pushnil(L);
        lua_pushfstring(L, "history %d: %s", (int)seed, why);
        return 2;
    }
    lua_createtable(L, 0, 6);
    set_integer(L, "paths", counts.paths);
    set_integer(L, "breaks", counts.breaks);
    set_integer(L, "stalls", counts.stalls);
    set_integer(L, "moves", counts.moves);
    set_integer(L, "lost", counts.lost);
    set_integer(L, "bytes", counts.bytes);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_spec_session_history(lua_State *L);

int luaopen_spec_session_history(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"run", l_run}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
