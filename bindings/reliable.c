/* core.reliable: a stream, or messages, over datagrams that may be lost. */
#include <errno.h>
#include <string.h>

#include "bind.h"
#include "reliable_bind.h"
#include "reliable_id.h"

static const char *const STATES[] = {"opening", "open", "ended", "failed", "gone"};

static bool check_role(lua_State *L) {
    const char *role = opt_string(L, 1, "role", "");
    bool dialer = strcmp(role, "dialer") == 0;
    if (!dialer && strcmp(role, "answerer") != 0)
        luaL_error(L, "option 'role': \"dialer\" or \"answerer\" expected");
    return dialer;
}

static size_t check_mtu(lua_State *L) {
    lua_Integer mtu = opt_integer(L, 1, "mtu", RELIABLE_SIZE);
    if (mtu < RELIABLE_SIZE_MIN || mtu > RELIABLE_SIZE_MAX)
        luaL_error(L, "option 'mtu': %d to %d bytes expected", RELIABLE_SIZE_MIN,
                   RELIABLE_SIZE_MAX);
    return (size_t)mtu;
}

struct reliable_options check_reliable_options(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct reliable_options options = {.dialer = check_role(L),
                                       .messages = opt_boolean(L, 1, "message", false),
                                       .size = check_mtu(L),
                                       .silence = opt_number(L, 1, "silence", RELIABLE_SILENCE_S)};
    const char *id = opt_string(L, 1, "id", "");
    if (!*id)
        luaL_error(L, "option 'id': the id that both sides know expected");
    if (!(options.silence > 0))
        luaL_error(L, "option 'silence': seconds expected");
    reliable_make_id(id, strlen(id), options.id);
    return options;
}

int push_reliable_error(lua_State *L, const struct reliable *r, int err, const char *call) {
    const char *reason = err == reliable_error(r) ? reliable_reason(r) : NULL;
    if (!reason)
        return push_error(L, err, "%s", call);
    return push_failure(L, strerrorname_np(-err), "%s: %s", call, reason);
}

static void set_integer(lua_State *L, const char *field, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, field);
}

void push_reliable_info(lua_State *L, const struct reliable *r) {
    struct reliable_info info;
    reliable_info(r, &info);
    lua_createtable(L, 0, 16);
    lua_pushstring(L, STATES[info.state]);
    lua_setfield(L, -2, "state");
    lua_pushstring(L, reliable_reason(r));
    lua_setfield(L, -2, "reason");
    if (info.rtt > 0) {
        lua_pushnumber(L, info.rtt);
        lua_setfield(L, -2, "rtt");
    }
    set_integer(L, "mtu", info.size);
    set_integer(L, "message_max", reliable_message_max(r));
    set_integer(L, "window", info.window);
    set_integer(L, "flight", info.flight);
    set_integer(L, "unacked", info.unacked);
    set_integer(L, "datagrams_out", info.datagrams_out);
    set_integer(L, "datagrams_in", info.datagrams_in);
    set_integer(L, "resent", info.resent);
    set_integer(L, "lost", info.lost);
    set_integer(L, "late", info.late);
    set_integer(L, "doubled", info.doubled);
    set_integer(L, "refused", info.refused);
}

int bind_reliable(lua_State *L) {
    lua_newtable(L);
    bind_reliable_machine(L);
    return 1;
}
