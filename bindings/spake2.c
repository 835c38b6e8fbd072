/***
SPAKE2 over P-256 (RFC 9382): a key for two that know one password.
@module p2pd.core.spake2
*/
#include "host/spake2.h"

#include <errno.h>
#include <string.h>

#include "bindings/bind.h"

#define CLASS "p2pd.spake2"

struct exchange {
    struct spake2 *spake2; /* NULL once closed */
};

/***
Forgets the exchange and its secrets. It can be called twice.
@function exchange:close
*/
static int m_close(lua_State *L) {
    struct exchange *self = luaL_checkudata(L, 1, CLASS);
    spake2_free(self->spake2);
    self->spake2 = NULL;
    return 0;
}

static struct spake2 *check_exchange(lua_State *L) {
    struct exchange *self = luaL_checkudata(L, 1, CLASS);
    luaL_argcheck(L, self->spake2, 1, "the exchange is closed");
    return self->spake2;
}

static struct spake2_text check_text(lua_State *L, int arg) {
    struct spake2_text text;
    text.data = luaL_checklstring(L, arg, &text.len);
    return text;
}

static enum spake2_role check_role(lua_State *L, int arg) {
    static const char *const NAMES[] = {"a", "b", NULL};
    return luaL_checkoption(L, arg, NULL, NAMES) == 0 ? SPAKE2_A : SPAKE2_B;
}

static struct spake2_text check_name(lua_State *L, int arg) {
    struct spake2_text name = check_text(L, arg);
    luaL_argcheck(L, name.len <= SPAKE2_NAME_MAX, arg, "longer than 256 bytes");
    return name;
}

static int push_made(lua_State *L, struct exchange *self) {
    return self->spake2 ? 1 : push_error(L, errno, "spake2");
}

/***
One side of a new exchange.
@function new
@tparam string role "a" or "b"
@tparam string password
@tparam string a the identity of A, at most 256 bytes
@tparam string b that of B
@treturn p2pd.spake2 to be closed; or nil, message, code
*/
static int l_new(lua_State *L) {
    struct spake2_options options = {check_role(L, 1), check_text(L, 2), check_name(L, 3),
                                     check_name(L, 4)};
    struct exchange *self = bind_new(L, CLASS, sizeof *self);
    self->spake2 = spake2_new(&options);
    return push_made(L, self);
}

static const uint8_t *check_scalar(lua_State *L, int arg) {
    struct spake2_text text = check_text(L, arg);
    luaL_argcheck(L, text.len == SPAKE2_SCALAR, arg, "32 bytes expected");
    return text.data;
}

/***
One side with given scalars, for the published vectors.
@function new_with
@tparam string role "a" or "b"
@tparam string w 32 bytes, from the password
@tparam string secret 32 bytes
@tparam string a the identity of A, at most 256 bytes
@tparam string b that of B
@treturn p2pd.spake2 to be closed; or nil, message, code: EINVAL: no scalar of the group
*/
static int l_new_with(lua_State *L) {
    const uint8_t *w = check_scalar(L, 2), *secret = check_scalar(L, 3);
    struct spake2_options options = {check_role(L, 1), {"", 0}, check_name(L, 4), check_name(L, 5)};
    struct exchange *self = bind_new(L, CLASS, sizeof *self);
    self->spake2 = spake2_new_with(&options, w, secret);
    return push_made(L, self);
}

/***
What the peer needs first.
@function exchange:share
@treturn string 65 bytes
*/
static int m_share(lua_State *L) {
    lua_pushlstring(L, (const char *)spake2_share(check_exchange(L)), SPAKE2_SHARE);
    return 1;
}

static int push_done(lua_State *L, int error, const char *what) {
    if (error)
        return push_error(L, error, "%s", what);
    lua_pushboolean(L, 1);
    return 1;
}

/***
Takes the peer's share, once: an exchange is one guess.
@function exchange:receive
@tparam string share
@return true; or nil, message, code: EINVAL: not a point of the curve, or one that leaves no secret;
EALREADY
*/
static int m_receive(lua_State *L) {
    struct spake2_text share = check_text(L, 2);
    return push_done(L, spake2_receive(check_exchange(L), share.data, share.len), "share");
}

/***
What shows the peer that this side knows the password.
@function exchange:confirmation
@treturn string 32 bytes; nil before the peer's share was taken
*/
static int m_confirmation(lua_State *L) {
    const uint8_t *confirmation = spake2_confirmation(check_exchange(L));
    if (!confirmation)
        return 0;
    lua_pushlstring(L, (const char *)confirmation, SPAKE2_CONFIRMATION);
    return 1;
}

/***
Whether the peer knows the password.
@function exchange:verify
@tparam string confirmation the peer's
@return true; or nil, message, code: EBADMSG: it does not; ENOTCONN: its share has not been taken
*/
static int m_verify(lua_State *L) {
    struct spake2_text text = check_text(L, 2);
    return push_done(L, spake2_verify(check_exchange(L), text.data, text.len), "confirmation");
}

/***
Seals a text for the peer; each side can once.
@function exchange:seal
@tparam string text at most 1 MiB
@treturn string sealed; or nil, message, code: ENOTCONN, EALREADY
*/
static int m_seal(lua_State *L) {
    struct spake2 *s = check_exchange(L);
    struct spake2_text plain = check_text(L, 2);
    luaL_Buffer buffer;
    luaL_argcheck(L, plain.len <= SPAKE2_PLAIN_MAX, 2, "longer than 1 MiB");
    uint8_t *sealed = (uint8_t *)luaL_buffinitsize(L, &buffer, plain.len + SPAKE2_SEAL);
    int error = spake2_seal(s, plain, sealed);
    luaL_pushresultsize(&buffer, error ? 0 : plain.len + SPAKE2_SEAL);
    return error ? push_error(L, error, "seal") : 1;
}

/***
Opens what the peer has sealed.
@function exchange:open
@tparam string sealed
@treturn string text; or nil, message, code: EBADMSG: forged or altered; ENOTCONN
*/
static int m_open(lua_State *L) {
    const struct spake2 *s = check_exchange(L);
    struct spake2_text sealed = check_text(L, 2);
    luaL_Buffer buffer;
    uint8_t *plain = (uint8_t *)luaL_buffinitsize(L, &buffer, sealed.len);
    int error = spake2_open(s, sealed, plain);
    luaL_pushresultsize(&buffer, error ? 0 : sealed.len - SPAKE2_SEAL);
    return error ? push_error(L, error, "open") : 1;
}

static int m_tostring(lua_State *L) {
    const struct exchange *self = luaL_checkudata(L, 1, CLASS);
    lua_pushfstring(L, CLASS " (%s)", self->spake2 ? "open" : "closed");
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"share", m_share},   {"receive", m_receive}, {"confirmation", m_confirmation},
    {"verify", m_verify}, {"seal", m_seal},       {"open", m_open},
    {"close", m_close},   {NULL, NULL},
};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"new", l_new}, {"new_with", l_new_with}, {NULL, NULL}};

int bind_spake2(lua_State *L) {
    bind_class(L, CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
