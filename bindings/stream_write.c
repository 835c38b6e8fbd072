/* Writing to a stream: whole strings, in the order of the calls; it waits while the peer is slow.
 */
/***
@submodule p2pd.core.stream
*/
#include "bindings/stream_write.h"

#include <lauxlib.h>

#include "bindings/stream.h"

static int write_k(lua_State *L, int status, lua_KContext ctx);

/* Stack: self, the data. ctx: how much of it was taken. */
static int write_some(lua_State *L, struct lua_stream *self, size_t taken, bool first_try) {
    if (!self->stream)
        return push_stream_closed(L);
    size_t len;
    const char *data = lua_tolstring(L, 2, &len);
    bool in_turn = first_try ? !self->writers.first : task_is_next(&self->writers);
    ssize_t n = in_turn ? stream_write(self->stream, data + taken, len - taken) : 0;
    if (n < 0) {
        task_wake_all(&self->writers);
        return push_stream_failure(L, self->stream, (int)n, "write");
    }
    taken += (size_t)n;
    if (taken == len) {
        task_wake(&self->writers);
        lua_settop(L, 1);
        return 1;
    }
    if (!first_try && task_expired()) {
        task_push_timeout(L);
        lua_pushinteger(L, (lua_Integer)taken);
        return 4;
    }
    return first_try
               ? task_wait(L, &self->writers, stream_deadline(self), (lua_KContext)taken, write_k)
               : task_wait_again(L, &self->writers, (lua_KContext)taken, write_k);
}

static int write_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return write_some(L, lua_touserdata(L, 1), (size_t)ctx, false);
}

/***
Writes strings and numbers. Waits while the peer is slow; several writers go in the order of their
calls.
@function stream:write
@param ... strings or numbers
@return the stream; or nil, message, code, and after a timeout how many bytes were taken
*/
int stream_m_write(lua_State *L) {
    struct lua_stream *self = check_lua_stream(L, 1);
    int n = lua_gettop(L) - 1;
    for (int arg = 2; arg <= n + 1; arg++)
        luaL_checkstring(L, arg);
    lua_concat(L, n);
    task_prepare(L);
    check_not_spliced(L, self);
    return write_some(L, self, 0, true);
}
