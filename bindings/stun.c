/***
STUN (RFC 8489, RFC 5780, RFC 3489): messages as tables, transactions, ids and keys.
@module p2pd.core.stun
*/
#include <errno.h>
#include <lauxlib.h>

#include "bindings/bind.h"
#include "bindings/stun_message.h"
#include "bindings/stun_transaction.h"

/***
How many bytes the message has that begins so, on a stream.
@function frame_length
@tparam string head 20 bytes or more
@treturn integer its length; or nil, message, code: EBADMSG
*/
static int l_frame_length(lua_State *L) {
    size_t len;
    const char *head = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len >= STUN_HEADER_SIZE, 1, "20 bytes expected");
    ssize_t frame = stun_frame_length((const uint8_t *)head);
    if (frame < 0)
        return push_failure(L, "EBADMSG", "STUN: no message begins so");
    lua_pushinteger(L, frame);
    return 1;
}

/* -- ids and keys -------------------------------------------------------------------------- */

/***
A random id.
@function random_id
@treturn string 12 bytes; or nil, message, code
*/
static int l_random_id(lua_State *L) {
    uint8_t bits[STUN_ID_BITS];
    int err = stun_random_bits(bits);
    if (err)
        return push_error(L, err, "getrandom");
    lua_pushlstring(L, (const char *)bits, sizeof bits);
    return 1;
}

static struct stun_text check_text(lua_State *L, int arg) {
    struct stun_text text;
    text.data = luaL_checklstring(L, arg, &text.len);
    return text;
}

/***
The key of the long-term credential mechanism (RFC 8489 §9.2.2).
@function long_term_key
@tparam string user
@tparam string realm
@tparam string password
@tparam[opt="md5"] string algorithm "md5" or "sha256"
@treturn string the key; or nil, message, code
*/
static int l_long_term_key(lua_State *L) {
    static const char *const NAMES[] = {"md5", "sha256", NULL};
    uint8_t key[STUN_KEY_MAX];
    enum stun_algorithm algorithm = luaL_checkoption(L, 4, "md5", NAMES) ? STUN_SHA256 : STUN_MD5;
    int len =
        stun_long_term_key(key, algorithm, check_text(L, 1), check_text(L, 2), check_text(L, 3));
    if (len < 0)
        return push_error(L, len, "long-term key");
    lua_pushlstring(L, (const char *)key, (size_t)len);
    return 1;
}

/***
The hash that stands for a user (RFC 8489 §14.4).
@function userhash
@tparam string user
@tparam string realm
@treturn string 32 bytes; or nil, message, code
*/
static int l_userhash(lua_State *L) {
    uint8_t hash[STUN_USERHASH_SIZE];
    int err = stun_userhash(hash, check_text(L, 1), check_text(L, 2));
    if (err)
        return push_error(L, err, "userhash");
    lua_pushlstring(L, (const char *)hash, sizeof hash);
    return 1;
}

static const luaL_Reg FUNCTIONS[] = {
    {"encode", stun_l_encode},           {"decode", stun_l_decode},
    {"frame_length", l_frame_length},    {"random_id", l_random_id},
    {"long_term_key", l_long_term_key},  {"userhash", l_userhash},
    {"transaction", stun_l_transaction}, {NULL, NULL}};

int bind_stun(lua_State *L) {
    stun_transaction_class(L);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
