/* core.stun.transaction: the client's retransmission timer. The script has the socket and the
 * clock. */
/***
@submodule p2pd.core.stun
*/
#include "bindings/stun_transaction.h"

#include <limits.h>

#include "bindings/bind.h"
#include "bindings/stun_message.h"
#include "host/loop.h"
#include "host/stun/transaction.h"

#define TRANSACTION_CLASS "p2pd.stun.transaction"

static struct stun_transaction *check_self(lua_State *L) {
    return luaL_checkudata(L, 1, TRANSACTION_CLASS);
}

static struct stun_timer check_timer(lua_State *L, int t) {
    struct stun_timer timer = STUN_TIMER_DEFAULT;
    lua_Integer rc = opt_integer(L, t, "rc", timer.rc);
    luaL_argcheck(L, rc >= 1 && rc <= INT_MAX, t, "option 'rc': 1 or more expected");
    timer.rc = (int)rc;
    timer.rto = opt_number(L, t, "rto", timer.rto);
    timer.rm = opt_number(L, t, "rm", timer.rm);
    timer.ti = opt_number(L, t, "ti", timer.ti);
    timer.reliable = opt_boolean(L, t, "reliable", false);
    return timer;
}

/* The key and the request are kept alive by the userdata's user value, a table. */
static void keep(lua_State *L, int self, int request, const char *key, size_t key_len) {
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, request);
    lua_seti(L, -2, 1);
    if (key) {
        lua_pushlstring(L, key, key_len);
        lua_seti(L, -2, 2);
    }
    lua_setiuservalue(L, self, 1);
}

static void set_key(lua_State *L, struct stun_transaction *t) {
    lua_getiuservalue(L, 3, 1);
    lua_geti(L, -1, 2);
    t->key = lua_tolstring(L, -1, &t->key_len);
    lua_pop(L, 2);
}

/***
A client transaction: the retransmission timer. The script has the socket and the clock.
@function transaction
@tparam string request an encoded one
@tparam[opt] table options rto, rm, ti (seconds), rc, reliable, key
@treturn p2pd.stun.transaction
*/
int stun_l_transaction(lua_State *L) {
    size_t len, key_len = 0;
    const char *request = luaL_checklstring(L, 1, &len), *key = NULL;
    struct stun_timer timer = check_timer(L, 2);
    lua_settop(L, 2);
    if (opt_string(L, 2, "key", NULL)) {
        lua_getfield(L, 2, "key");
        key = lua_tolstring(L, -1, &key_len);
        lua_settop(L, 2);
    }
    struct stun_transaction *t = bind_new(L, TRANSACTION_CLASS, sizeof *t);
    if (stun_transaction_init(t, &timer, request, len) < 0)
        return luaL_error(L, "an encoded request and positive times expected");
    keep(L, 3, 1, key, key_len);
    set_key(L, t);
    return 1;
}

/***
What is to be done.
@function transaction:poll
@tparam[opt] number now
@return "send" and the request; "wait" and an instant; "failed"; or "done"
*/
static int m_poll(lua_State *L) {
    struct stun_transaction *t = check_self(L);
    double now = luaL_optnumber(L, 2, loop_now());
    switch (stun_transaction_poll(t, now)) {
    case STUN_SEND:
        lua_pushliteral(L, "send");
        lua_pushlstring(L, (const char *)t->request, t->len);
        return 2;
    case STUN_WAIT:
        lua_pushliteral(L, "wait");
        lua_pushnumber(L, stun_transaction_due(t));
        return 2;
    case STUN_FAILED:
        lua_pushliteral(L, "failed");
        return 1;
    default:
        lua_pushliteral(L, "done");
        return 1;
    }
}

/***
The instant to poll at.
@function transaction:due
@treturn number
*/
static int m_due(lua_State *L) {
    lua_pushnumber(L, stun_transaction_due(check_self(L)));
    return 1;
}

/***
Takes a packet that was received.
@function transaction:feed
@tparam string bytes
@treturn table the response as @{decode} gives it; or nil, message, code: ENOMSG: of something else
*/
static int m_feed(lua_State *L) {
    struct stun_transaction *t = check_self(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    struct stun_message m;
    int result = stun_transaction_feed(t, &m, data, len);
    if (result < 0)
        return push_stun_refusal(L, result, &m);
    if (result == 0)
        return push_failure(L, "ENOMSG", "not the answer to this request");
    push_stun_message(L, &m, (struct stun_text){t->key, t->key_len});
    return 1;
}

/***
How often the request was sent.
@function transaction:sent
@treturn integer
@treturn ?number the instant of the first time
*/
static int m_sent(lua_State *L) {
    struct stun_transaction *t = check_self(L);
    lua_pushinteger(L, t->sent);
    if (t->sent == 0)
        return 1;
    lua_pushnumber(L, t->first);
    return 2;
}

static int m_tostring(lua_State *L) {
    static const char *const STATES[] = {"waiting", "sending", "failed", "done"};
    struct stun_transaction *t = check_self(L);
    lua_pushfstring(L, "stun transaction (%s, %d sent): %p", STATES[t->state], t->sent, (void *)t);
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"poll", m_poll}, {"due", m_due}, {"feed", m_feed}, {"sent", m_sent}, {NULL, NULL}};
static const luaL_Reg META[] = {{"__tostring", m_tostring}, {NULL, NULL}};

void stun_transaction_class(lua_State *L) {
    bind_class(L, TRANSACTION_CLASS, METHODS, META);
}
