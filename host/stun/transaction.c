/*
 * The client transaction of RFC 8489 §6.2. It owns no socket and no clock, so that UDP, TCP and
 * TURN can use it and a spec can run 39.5 seconds in no time.
 *
 * The next instant is counted from when the request was really sent, so a late poll never sends a
 * burst.
 */
#include "host/stun/transaction.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "host/stun/integrity.h"

static bool is_sane(const struct stun_timer *timer) {
    return timer->rto > 0 && timer->rto < INFINITY && timer->rm > 0 && timer->rm < INFINITY &&
           timer->ti > 0 && timer->ti < INFINITY && timer->rc >= 1;
}

int stun_transaction_init(struct stun_transaction *t, const struct stun_timer *timer,
                          const void *request, size_t len) {
    struct stun_message m;
    if (!is_sane(timer) || stun_decode(&m, request, len) != 0 || m.class != STUN_REQUEST)
        return -EINVAL;
    *t = (struct stun_transaction){
        .timer = *timer,
        .request = request,
        .len = len,
        .state = STUN_WAIT,
        .next = -INFINITY,
        .interval = timer->rto,
    };
    return 0;
}

static void plan_next(struct stun_transaction *t, double now) {
    if (t->timer.reliable)
        t->next = now + t->timer.ti;
    else if (t->sent >= t->timer.rc)
        t->next = now + t->timer.rm * t->timer.rto;
    else
        t->next = now + t->interval;
    t->interval *= 2;
}

enum stun_action stun_transaction_poll(struct stun_transaction *t, double now) {
    if (t->state != STUN_WAIT)
        return t->state;
    if (now < t->next)
        return STUN_WAIT;
    if (t->sent >= (t->timer.reliable ? 1 : t->timer.rc))
        return t->state = STUN_FAILED;
    if (t->sent++ == 0)
        t->first = now;
    plan_next(t, now);
    return STUN_SEND;
}

double stun_transaction_due(const struct stun_transaction *t) {
    return t->state == STUN_WAIT ? t->next : INFINITY;
}

static bool is_trusted(const struct stun_transaction *t, const struct stun_message *m) {
    int integrity = t->key ? stun_check_integrity(m, t->key, t->key_len) : 1;
    return integrity == 1 || (integrity == -ENOENT && m->class == STUN_ERROR);
}

static bool is_answer(const struct stun_transaction *t, const struct stun_message *m) {
    struct stun_message request;
    stun_decode(&request, t->request, t->len);
    return (m->class == STUN_SUCCESS || m->class == STUN_ERROR) && m->method == request.method &&
           memcmp(m->id, request.id, STUN_ID_SIZE) == 0 && stun_check_fingerprint(m) != 0 &&
           is_trusted(t, m);
}

int stun_transaction_feed(struct stun_transaction *t, struct stun_message *m, const void *data,
                          size_t len) {
    int error = stun_decode(m, data, len);
    if (error)
        return error;
    if (t->state != STUN_WAIT || t->sent == 0 || !is_answer(t, m))
        return 0;
    t->state = STUN_DONE;
    return 1;
}
