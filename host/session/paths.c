/*
 * A move in good order begins with MARK on the old path and START on the new one, and is through
 * when all before MARK is acknowledged; only then comes another. After a break everything that is
 * not acknowledged is sent again on the new path.
 */
#include "host/session/paths.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "host/session/end.h"

static bool is_usable(const struct session_path *p) {
    return p && p->state == PATH_LIVE && p->up;
}

static bool is_over(const struct session_machine *m) {
    return m->state >= SESSION_ENDED;
}

static double larger(double a, double b) {
    return a > b ? a : b;
}

static double earlier(double a, double b) {
    return a < b ? a : b;
}

/* -- the list ------------------------------------------------------------------------------- */

struct session_path *paths_find(const struct session_machine *m, uint32_t number) {
    struct session_path *p = m->paths;
    while (p && p->number != number)
        p = p->next;
    return p && p->state == PATH_LIVE ? p : NULL;
}

struct session_path *paths_add(struct session_machine *m, double now) {
    struct session_path *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->number = ++m->last_number;
    p->next = m->paths;
    p->due = DUE_HELLO | DUE_PING;
    p->heard = now;
    p->probe_due = now + HELLO_S;
    p->probe_quick = true;
    p->drop_due = INFINITY;
    m->paths = p;
    m->live++;
    if (p->number == 1) { /* there is nothing that the peer could have to say before data */
        m->tx = p;
        m->last_tx = 1;
        m->start_due = true;
        m->unacked_at = now;
    }
    return p;
}

/* -- moves ---------------------------------------------------------------------------------- */

void paths_rewind(struct session_machine *m, uint64_t position, double now) {
    m->old = NULL;
    session_keep_rewind(&m->keep, position);
    if (m->high > position)
        m->counts.again += m->high - position;
    m->start_due = true;
    m->unacked_at = now;
}

static void tell_move(struct session_machine *m, const struct session_path *p, const char *why,
                      double now) {
    struct session_event event = {.type = SESSION_MOVED,
                                  .path = p->number,
                                  .remote = p->remote,
                                  .from = m->last_tx,
                                  .pause = m->broken_at >= 0 ? now - m->broken_at : 0};
    m->counts.moves++;
    m->counts.resumed += m->broken_at >= 0;
    session_tell(m, &event, why);
}

static void leave_old(struct session_machine *m, double now) {
    m->settled = session_keep_sent(&m->keep);
    if (!m->start_due) {
        m->tx->due |= DUE_MARK;
        m->tx->mark = m->settled;
    }
    m->old = m->settled > m->keep.acked ? m->tx : NULL;
    m->start_due = true;
    m->unacked_at = now;
}

static void take(struct session_machine *m, struct session_path *p, const char *why, double now) {
    if (m->tx)
        leave_old(m, now);
    else
        paths_rewind(m, m->keep.acked, now);
    tell_move(m, p, why, now);
    m->tx = p;
    m->last_tx = p->number;
    m->broken_at = -1;
    if (m->state == SESSION_CLOSING) {
        m->bye_due = true;
        m->end_due = now + m->options.silence + LINGER_S;
    }
    m->ack_now = true; /* the last one may be lost with its path */
    if (m->options.initiator)
        p->due |= DUE_USE;
}

void paths_settle(struct session_machine *m, double now) {
    if (m->old && m->keep.acked >= m->settled)
        m->old = NULL;
    struct session_path *p = m->wanted;
    if (m->old || !is_usable(p))
        return;
    m->wanted = NULL;
    if (p != m->tx)
        take(m, p, m->why_wanted, now);
}

void paths_want(struct session_machine *m, struct session_path *p, const char *why, double now) {
    m->wanted = p;
    m->why_wanted = why;
    paths_settle(m, now);
}

/* The one that was heard last. */
static struct session_path *choose(const struct session_machine *m,
                                   const struct session_path * not ) {
    struct session_path *best = NULL;
    for (struct session_path *p = m->paths; p; p = p->next)
        if (p != not &&is_usable(p) && isinf(p->drop_due) && (!best || p->heard > best->heard))
            best = p;
    return best;
}

void paths_up(struct session_machine *m, struct session_path *p, double now) {
    p->up = true;
    session_tell(
        m, &(struct session_event){.type = SESSION_UP, .path = p->number, .remote = p->remote},
        NULL);
    if (!m->tx) {
        m->again_now = m->broken_at >= 0; /* what the peer has sent by the others is lost */
        take(m, p, "resumed", now);
    }
    paths_settle(m, now);
}

/* -- ends ----------------------------------------------------------------------------------- */

void paths_check_gap(struct session_machine *m) {
    if (!m->inbox.ahead_path)
        return;
    for (struct session_path *p = m->paths; p; p = p->next)
        if (p->state == PATH_LIVE && p->started && p->number != m->inbox.ahead_path)
            return;
    m->again_now = true;
    if (++m->again > AGAIN_MAX)
        session_break(m, -EPROTO, "the peer does not send what is missing", false);
}

static void lose(struct session_machine *m, const struct session_path *p, int code,
                 const char *why) {
    struct session_event event = {.type = SESSION_LOST, .path = p->number, .code = code};
    if (m->state == SESSION_CLOSING && (m->bye_in || m->lonely))
        session_finish(m);
    else if (m->lonely)
        session_break(m, code ? code : -ECONNRESET, why, true);
    else
        session_tell(m, &event, why);
}

/* The path that data was sent by is gone. */
static void replace(struct session_machine *m, const struct session_path *p, int code,
                    const char *why, double now) {
    m->tx = m->old = NULL;
    if (m->state == SESSION_CLOSING) /* the peer may not know yet that all is delivered */
        m->end_due = INFINITY;
    if (m->broken_at < 0)
        m->broken_at = p->heard;
    struct session_path *next = choose(m, p);
    if (next)
        take(m, next, why, now);
    else if (!m->live)
        lose(m, p, code, why);
}

void paths_end(struct session_machine *m, struct session_path *p, int code, const char *why,
               bool tell, double now) {
    struct session_event event = {
        .type = SESSION_DOWN, .path = p->number, .remote = p->remote, .code = code};
    if (p->state != PATH_LIVE)
        return;
    p->state = tell ? PATH_LEAVING : PATH_DEAD;
    p->due = tell ? DUE_DROP | (p->due & DUE_HELLO) : 0;
    p->code = code;
    if (why != p->why)
        snprintf(p->why, sizeof p->why, "%s", why);
    m->live--;
    m->wanted = m->wanted == p ? NULL : m->wanted;
    m->rx = m->rx == p ? NULL : m->rx;
    session_inbox_forget(&m->inbox, p->number);
    session_tell(m, &event, why);
    if (p == m->tx)
        replace(m, p, code, why, now);
    else if (p == m->old)
        paths_rewind(m, m->keep.acked, now);
    else if (!m->tx && !m->live)
        lose(m, p, code, why);
    if (is_over(m))
        return;
    paths_settle(m, now);
    paths_check_gap(m);
}

/* -- do they live? -------------------------------------------------------------------------- */

double paths_rtt(const struct session_path *p) {
    return larger(p->rtt, p->rtt_below);
}

/* Round trips to be patient for: a path that once stood still is not waited for as long again. */
static double trips(const struct session_path *p, int count) {
    return count * earlier(paths_rtt(p), RTT_MAX_S);
}

void paths_heard(struct session_path *p, double since, double now) {
    p->heard = larger(p->heard, since);
    if (p->up && now >= p->believe_at)
        p->probe_due = INFINITY;
}

static void probe(struct session_path *p, double patience, bool quick, double now) {
    p->due |= DUE_PING;
    p->probe_due = now + patience;
    p->probe_quick = quick;
    p->lively = false;
}

void paths_doubt(struct session_path *p, double now) {
    double due = now + DOUBT_S + trips(p, 3);
    if (!p->up || (p->probe_quick && p->probe_due < due))
        return;
    probe(p, due - now, true, now);
    p->believe_at = now + trips(p, 1);
}

void paths_drain(struct session_machine *m, struct session_path *p, double now) {
    p->drop_due = now + larger(DROP_S, trips(p, 4));
    struct session_path *other = p == m->tx || p == m->wanted ? choose(m, p) : NULL;
    if (other)
        paths_want(m, other, "the path before is dropped", now);
    paths_check(m, p, now);
}

/* Something that it has carried should have been acknowledged. */
static bool is_awaited(const struct session_machine *m, const struct session_path *p) {
    bool waits = m->keep.acked < session_keep_sent(&m->keep) || m->state == SESSION_CLOSING;
    return p->up && ((waits && p == m->tx) || p == m->old);
}

static double quiet_due(const struct session_machine *m, const struct session_path *p) {
    return larger(p->heard, m->unacked_at) + larger(QUIET_S, trips(p, 3));
}

/* When a path that nothing is awaited of is probed: soon after the last data, as who only reads
 * would not notice else that the writer has lost the path; then now and then. */
static double idle_due(const struct session_machine *m, const struct session_path *p) {
    double idle = m->options.silence / 2, lull = larger(LULL_S, trips(p, 3));
    return p->heard + (p->lively ? earlier(idle, lull) : idle);
}

static bool is_drained(const struct session_machine *m, const struct session_path *p) {
    return p != m->tx && p != m->old && p != m->rx && !m->inbox.ahead_path;
}

static void missed(struct session_machine *m, struct session_path *p, double now) {
    char why[SESSION_WHY_MAX];
    if (now - p->probe_due > SLEPT_S) {
        probe(p, larger(ANSWER_S, trips(p, 4)), true, now);
        return;
    }
    snprintf(why, sizeof why, "the peer has not answered for %.1f s", now - p->heard);
    paths_end(m, p, -ETIMEDOUT, why, false, now);
}

void paths_check(struct session_machine *m, struct session_path *p, double now) {
    if (p->state != PATH_LIVE)
        return;
    bool probing = isfinite(p->probe_due);
    if (isfinite(p->drop_due) && (is_drained(m, p) || now >= p->drop_due))
        paths_end(m, p, 0, p->why, true, now);
    else if (now >= p->probe_due)
        missed(m, p, now);
    else if (is_awaited(m, p) && !(probing && p->probe_quick) && now >= quiet_due(m, p))
        probe(p, larger(ANSWER_S, trips(p, 4)), true, now);
    else if (!probing && now >= idle_due(m, p))
        probe(p, p->lively ? larger(ANSWER_S, trips(p, 4)) : m->options.silence / 2, p->lively,
              now);
}

double paths_due(const struct session_machine *m, const struct session_path *p) {
    bool probing = isfinite(p->probe_due);
    double due = earlier(p->probe_due, p->drop_due);
    if (is_awaited(m, p) && !(probing && p->probe_quick))
        due = earlier(due, quiet_due(m, p));
    return probing ? due : earlier(due, idle_due(m, p));
}
