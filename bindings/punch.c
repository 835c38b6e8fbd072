/***
TCP hole punching at an agreed instant.
@module p2pd.core.punch
*/
#include "host/punch.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"
#include "host/fd.h"
#include "host/loop.h"
#include "host/nat64.h"

#define CLASS "p2pd.punch"
#define AHEAD_MAX_S 60.0 /* of the instant */
#define LASTS_MAX_S 300.0
#define GAP_LEAST_S 0.0001
#define FIELD_MAX 64

struct lua_punch {
    struct punch *punch; /* NULL: closed */
    struct waitlist waiters;
};

static void on_event(void *owner) {
    struct lua_punch *self = owner;
    task_wake_all(&self->waiters);
}

static struct lua_punch *check_self(lua_State *L) {
    return luaL_checkudata(L, 1, CLASS);
}

static int push_closed(lua_State *L) {
    return push_failure(L, "EBADF", "the punch is closed");
}

/* -- the plan: a table at t, whose fields are named with a prefix ---------------------------- */

struct fields {
    int t;
    const char *prefix; /* "" or "mappings[3]." */
};

static int bad_field(lua_State *L, struct fields f, const char *field, const char *expected) {
    return luaL_error(L, "option '%s%s': %s expected, got %s", f.prefix, field, expected,
                      luaL_tolstring(L, -1, NULL));
}

/* NAN when there is none. */
static double opt_within(lua_State *L, struct fields f, const char *field, double least,
                         double most) {
    int type = lua_getfield(L, f.t, field);
    double value = type == LUA_TNIL ? NAN : lua_tonumber(L, -1);
    if (type != LUA_TNIL && (type != LUA_TNUMBER || !(value >= least && value <= most))) {
        char expected[FIELD_MAX];
        snprintf(expected, sizeof expected, "%.10g to %.10g", least, most);
        bad_field(L, f, field, expected);
    }
    lua_pop(L, 1);
    return value;
}

static double opt_or(lua_State *L, struct fields f, const char *field, double least, double most,
                     double otherwise) {
    double value = opt_within(L, f, field, least, most);
    return isnan(value) ? otherwise : value;
}

static int opt_whole(lua_State *L, struct fields f, const char *field, int least, int most,
                     int otherwise) {
    double value = opt_or(L, f, field, least, most, otherwise);
    if (value != floor(value)) {
        lua_pushnumber(L, value);
        bad_field(L, f, field, "a whole number");
    }
    return (int)value;
}

/* Leaves the string on the stack; NULL when there is none. */
static const char *opt_text(lua_State *L, struct fields f, const char *field) {
    int type = lua_getfield(L, f.t, field);
    size_t len = 0;
    const char *text = type == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (type != LUA_TNIL && (!text || strlen(text) != len))
        bad_field(L, f, field, "a string");
    return text;
}

static void check_address(lua_State *L, struct fields f, const char *field, const char *ip,
                          int port, struct inet_addr *addr) {
    if (!ip || inet_parse(addr, ip, port) < 0)
        bad_field(L, f, field, "an IP address");
}

static void check_local(lua_State *L, struct fields f, struct punch_mapping *m) {
    int port = opt_whole(L, f, "port", 0, 65535, 0);
    const char *ip = opt_text(L, f, "ip");
    if (!ip)
        ip = m->remote.any.sa_family == AF_INET6 ? "::" : "0.0.0.0";
    check_address(L, f, "ip", ip, port, &m->local);
    struct inet_addr remote = m->remote;
    nat64_translate(&remote, m->local.any.sa_family);
    if (m->local.any.sa_family != remote.any.sa_family)
        bad_field(L, f, "ip", "an address of the family of 'remote_ip'");
    lua_pop(L, 1);
}

static void check_remote(lua_State *L, struct fields f, struct punch_mapping *m) {
    int port = opt_whole(L, f, "remote_port", 1, 65535, 0);
    if (!port) {
        lua_pushnil(L);
        bad_field(L, f, "remote_port", "1 to 65535");
    }
    check_address(L, f, "remote_ip", opt_text(L, f, "remote_ip"), port, &m->remote);
    lua_pop(L, 1);
}

static void check_device(lua_State *L, struct fields f, struct punch_mapping *m) {
    const char *device = opt_text(L, f, "device");
    if (device && (!*device || strlen(device) >= sizeof m->device))
        bad_field(L, f, "device", "an interface's name");
    if (device)
        strcpy(m->device, device);
    lua_pop(L, 1);
}

static void check_ttl(lua_State *L, struct fields f, struct punch_mapping *m) {
    m->ttl = opt_whole(L, f, "ttl", 1, 255, 0);
    if (m->ttl && m->remote.any.sa_family != AF_INET) {
        lua_pushinteger(L, m->ttl);
        bad_field(L, f, "ttl", "an IPv4 mapping");
    }
}

/* The mapping's table is on top of the stack. */
static void check_mapping(lua_State *L, int place, struct punch_mapping *m) {
    char prefix[FIELD_MAX];
    snprintf(prefix, sizeof prefix, "mappings[%d].", place);
    struct fields f = {lua_gettop(L), prefix};
    if (!lua_istable(L, -1)) {
        snprintf(prefix, sizeof prefix, "mappings[%d]", place);
        bad_field(L, f, "", "a table");
    }
    *m = (struct punch_mapping){0};
    check_remote(L, f, m);
    check_local(L, f, m);
    check_device(L, f, m);
    check_ttl(L, f, m);
    if (nat64_translate(&m->remote, m->local.any.sa_family))
        m->ttl = 0; /* there is no such thing in IPv6 */
    m->after_s = opt_or(L, f, "after", 0, LASTS_MAX_S, 0);
}

static bool are_same(const struct punch_mapping *a, const struct punch_mapping *b) {
    return inet_equal(&a->remote, &b->remote) && inet_port(&a->local) &&
           inet_equal(&a->local, &b->local) && strcmp(a->device, b->device) == 0;
}

static void check_distinct(lua_State *L, const struct punch_mapping *mappings, int n) {
    for (int i = 1; i < n; i++)
        for (int j = 0; j < i; j++)
            if (are_same(&mappings[i], &mappings[j]))
                luaL_error(L, "option 'mappings[%d]': the same as 'mappings[%d]'", i + 1, j + 1);
}

/* Leaves the array, a userdata, on the stack. */
static void check_mappings(lua_State *L, struct punch_plan *plan) {
    struct fields f = {1, ""};
    if (lua_getfield(L, 1, "mappings") != LUA_TTABLE)
        bad_field(L, f, "mappings", "a list");
    lua_Integer n = luaL_len(L, -1);
    if (n < 1 || n > PUNCH_MAPPINGS_MAX)
        luaL_error(L, "option 'mappings': 1 to %d mappings expected, got %I", PUNCH_MAPPINGS_MAX,
                   (LUAI_UACINT)n);
    int list = lua_gettop(L);
    struct punch_mapping *mappings = lua_newuserdatauv(L, (size_t)n * sizeof *mappings, 0);
    for (int i = 0; i < n; i++) {
        lua_geti(L, list, i + 1);
        check_mapping(L, i + 1, &mappings[i]);
        lua_settop(L, list + 1);
    }
    check_distinct(L, mappings, (int)n);
    plan->mappings = mappings;
    plan->n = (int)n;
}

static double check_instant(lua_State *L, const char *field) {
    struct fields f = {1, ""};
    double value = opt_within(L, f, field, -1e12, 1e12);
    if (isnan(value)) {
        lua_pushnil(L);
        bad_field(L, f, field, "an instant");
    }
    return value;
}

/* The mappings' instants are spread evenly over so many seconds, in their order. */
static void spread(struct punch_plan *plan, double seconds) {
    struct punch_mapping *mappings = (struct punch_mapping *)plan->mappings;
    for (int i = 0; i < plan->n; i++)
        mappings[i].after_s += seconds * i / plan->n;
}

static struct punch_plan check_plan(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct fields f = {1, ""};
    struct punch_plan plan = {
        .at = check_instant(L, "at"),
        .deadline = check_instant(L, "deadline"),
        .gap_s = opt_or(L, f, "gap", GAP_LEAST_S, 10, 0.005),
        .hold_s = opt_or(L, f, "hold", 0, LASTS_MAX_S, INFINITY),
        .ttl_for_s = opt_or(L, f, "ttl_for", 0, LASTS_MAX_S, 0),
        .max_open = opt_whole(L, f, "max_open", 1, PUNCH_OPEN_MAX, PUNCH_OPEN_MAX),
        .rate = opt_whole(L, f, "rate", 1, PUNCH_RATE_MAX, 1000),
        .syns_max = opt_whole(L, f, "syns_max", 0, INT_MAX, 0),
    };
    double seconds = opt_or(L, f, "spread", 0, LASTS_MAX_S, 0);
    check_mappings(L, &plan);
    spread(&plan, seconds);
    return plan;
}

/* What cannot be seen from the plan alone: 0, or the values of a failure are pushed. */
static int refuse(lua_State *L, const struct punch_plan *plan) {
    double now = loop_now();
    if (plan->at > now + AHEAD_MAX_S)
        return push_failure(L, "EINVAL", "the instant 'at' is more than %d s ahead",
                            (int)AHEAD_MAX_S);
    if (plan->deadline <= plan->at)
        return push_failure(L, "EINVAL", "the 'deadline' is not after the instant 'at'");
    if (plan->deadline > now + LASTS_MAX_S)
        return push_failure(L, "EINVAL", "the 'deadline' is more than %d s ahead",
                            (int)LASTS_MAX_S);
    for (int i = 0; i < plan->n; i++)
        if (plan->at + plan->mappings[i].after_s >= plan->deadline)
            return push_failure(L, "EINVAL", "mappings[%d]: its turn is after the 'deadline'",
                                i + 1);
    if (plan->deadline <= now)
        return push_failure(L, "ETIMEDOUT", "the 'deadline' has passed");
    return 0;
}

static int push_unopened(lua_State *L, int err, const struct punch_plan *plan, int place) {
    char local[INET_TEXT_MAX];
    if (place < 0)
        return push_error(L, err, "punch");
    return push_error(L, err, "mappings[%d]: a socket on %s", place + 1,
                      inet_format(&plan->mappings[place].local, local));
}

/*** Starts a punch: connect() from each mapping's local to its remote endpoint at the instant, and
 * again after a failure, until the deadline.
 * @function start
 * @tparam table plan at, deadline (seconds on clock.monotonic()'s scale; `at` up to 60 s ahead, or
 * past: at once); gap (s, 0.005; each is taken x0.2 to x1.8); mappings: up to 1024 of { ip
 * (any), port (0: a free one, kept over the retries), device, remote_ip, remote_port, after (s
 * beyond `at`), ttl (of the first SYN, IPv4) }; spread (s, 0: the first SYNs are spread evenly over
 * so long, in their order); max_open (320, sockets at a time), hold (s after its first SYN a
 * mapping is given up, never), rate (1000, SYNs a second), ttl_for (s after the first SYN its TTL
 * is the usual one again, 0)
 * @treturn punch or nil, message, code: EINVAL, ETIMEDOUT (the deadline has passed), EADDRINUSE,
 * EADDRNOTAVAIL, EMFILE, ENODEV, ...: of the socket that could not be made; then none is left
 */
static int l_start(lua_State *L) {
    lua_settop(L, 1);
    struct punch_plan plan = check_plan(L);
    int refused = refuse(L, &plan);
    if (refused)
        return refused;
    struct lua_punch *self = bind_new(L, CLASS, sizeof *self);
    int place = -1;
    int err = punch_start(&self->punch, &plan, on_event, self, &place);
    return err < 0 ? push_unopened(L, err, &plan, place) : 1;
}

/*** Ends all: what is not established is closed, and no SYN leaves any more. Never waits; can be
 * called twice.
 * @function punch:close
 */
static int m_close(lua_State *L) {
    struct lua_punch *self = check_self(L);
    struct punch *p = self->punch;
    if (!p)
        return 0;
    self->punch = NULL;
    punch_free(p);
    task_wake_all(&self->waiters);
    return 0;
}

/* -- what came of it ------------------------------------------------------------------------- */

/* On the stack while Lua allocates. */
static struct punch_stats *push_stats(lua_State *L, const struct lua_punch *self) {
    struct punch_stats *stats = lua_newuserdatauv(L, sizeof *stats, 0);
    punch_stats(self->punch, stats);
    return stats;
}

static void add_errors(luaL_Buffer *text, const struct punch_stats *stats) {
    const char *before = ": ";
    for (int err = 1; err < PUNCH_ERRNO_MAX; err++) {
        char count[FIELD_MAX];
        if (!stats->errors[err])
            continue;
        snprintf(count, sizeof count, "%s%s %d times", before, strerrorname_np(err),
                 stats->errors[err]);
        luaL_addstring(text, count);
        before = ", ";
    }
}

static int push_over(lua_State *L, const struct lua_punch *self) {
    const struct punch_stats *stats = push_stats(L, self);
    luaL_Buffer text;
    lua_pushnil(L);
    luaL_buffinit(L, &text);
    luaL_addstring(&text,
                   stats->established ? "punch: no further connection" : "punch: no connection");
    add_errors(&text, stats);
    luaL_pushresult(&text);
    lua_pushstring(L, strerrorname_np(stats->reason ? stats->reason : ENODATA));
    return 3;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx);

static int wait_some(lua_State *L, struct lua_punch *self, double deadline, bool first_try) {
    int place;
    if (!self->punch)
        return push_closed(L);
    int fd = punch_take(self->punch, &place);
    if (fd >= 0) {
        push_stream(L, stream_new(fd_transport(fd, true)));
        lua_pushinteger(L, place + 1);
        return 2;
    }
    if (fd == -ENODATA)
        return push_over(L, self);
    return task_wait_or_time_out(L, &self->waiters, first_try, deadline, 0, wait_k);
}

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return wait_some(L, lua_touserdata(L, 1), 0, false);
}

/*** The next established connection.
 * @function punch:wait
 * @tparam[opt] number timeout seconds
 * @treturn stream or nil, message, code: ETIMEDOUT ("timed out") after the timeout; when no further
 * one can come, the error that most mappings ended with, ENODATA if none did. EADDRNOTAVAIL: a
 * listener on the port has accepted that connection; ELOOP: the socket met itself
 * @treturn integer the mapping's place
 */
static int m_wait(lua_State *L) {
    struct lua_punch *self = check_self(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return wait_some(L, self, deadline, true);
}

static void set_errors(lua_State *L, const struct punch_stats *stats) {
    lua_newtable(L);
    for (int err = 1; err < PUNCH_ERRNO_MAX; err++)
        if (stats->errors[err])
            set_integer(L, strerrorname_np(err), stats->errors[err]);
    lua_setfield(L, -2, "errors");
}

static void set_lateness(lua_State *L, const struct punch_stats *stats) {
    lua_newtable(L);
    for (int i = 0; i < PUNCH_MAPPINGS_MAX; i++)
        if (!isnan(stats->lateness_s[i])) {
            lua_pushnumber(L, stats->lateness_s[i]);
            lua_rawseti(L, -2, i + 1);
        }
    lua_setfield(L, -2, "lateness");
}

/*** Counters: fired (SYNs), failed (connects), established, open (sockets), over, scheduler
 * ("fifo", "slice", "normal"), errors (counts by code), lateness (place -> seconds from the planned
 * to the actual instant of the first SYN).
 * @function punch:stats
 * @treturn table or nil, message, code
 */
static int m_stats(lua_State *L) {
    struct lua_punch *self = check_self(L);
    if (!self->punch)
        return push_closed(L);
    const struct punch_stats *stats = push_stats(L, self);
    lua_createtable(L, 0, 8);
    set_integer(L, "fired", stats->fired);
    set_integer(L, "failed", stats->failed);
    set_integer(L, "established", stats->established);
    set_integer(L, "open", stats->open);
    set_boolean(L, "over", stats->over);
    set_string(L, "scheduler", stats->scheduler);
    set_errors(L, stats);
    set_lateness(L, stats);
    return 1;
}

static int m_tostring(lua_State *L) {
    struct lua_punch *self = check_self(L);
    lua_pushfstring(L, "punch (%s): %p", self->punch ? "open" : "closed", (void *)self);
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"wait", m_wait}, {"stats", m_stats}, {"close", m_close}, {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"start", l_start}, {NULL, NULL}};

int bind_punch(lua_State *L) {
    bind_class(L, CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
