/*
 * Bytes between a file and a stream, without a Lua string of them. A call moves one piece, so that
 * the stream's timeout is for each piece, as it is for those that Lua moves.
 */
/***
@submodule p2pd.core.folder
*/
#include "bindings/file_stream.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/file_handle.h"
#include "bindings/stream.h"

/* What has failed is the file, not the stream. */
static int push_file_failure(lua_State *L, int error, const char *call) {
    push_error(L, error, "%s", call);
    lua_pushboolean(L, true);
    return 4;
}

static struct lua_stream *check_partner(lua_State *L) {
    struct lua_stream *stream = check_lua_stream(L, 2);
    check_not_spliced(L, stream);
    return stream;
}

/* -- to a stream ---------------------------------------------------------------------------- */

/* Stack: file, stream, kind, where the piece is, its bytes with the header, those of the file. */
enum { DATA = 4, SIZE, COUNT };

static int write_k(lua_State *L, int status, lua_KContext ctx);

/* ctx: how much of the piece was taken. */
static int write_some(lua_State *L, size_t taken, bool first_try) {
    const struct lua_file *self = lua_touserdata(L, 1);
    struct lua_stream *to = lua_touserdata(L, 2);
    const uint8_t *data = lua_touserdata(L, DATA);
    size_t size = (size_t)lua_tointeger(L, SIZE);
    if (!self->file)
        return push_file_closed(L);
    if (!to->stream)
        return push_stream_closed(L);
    bool in_turn = first_try ? !to->writers.first : task_is_next(&to->writers);
    ssize_t n = in_turn ? stream_write(to->stream, data + taken, size - taken) : 0;
    if (n < 0) {
        task_wake_all(&to->writers);
        return push_stream_failure(L, to->stream, (int)n, "write");
    }
    taken += (size_t)n;
    if (taken == size) {
        task_wake(&to->writers);
        lua_pushvalue(L, COUNT);
        lua_pushboolean(L, file_is_between(self->file));
        return 2;
    }
    if (!first_try && task_expired())
        return task_push_timeout(L);
    lua_KContext ctx = (lua_KContext)taken;
    return first_try ? task_wait(L, &to->writers, stream_deadline(to), ctx, write_k)
                     : task_wait_again(L, &to->writers, ctx, write_k);
}

static int write_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return write_some(L, (size_t)ctx, false);
}

static int give_k(lua_State *L, int status, lua_KContext ctx);

static int give_some(lua_State *L, bool first_try) {
    struct lua_file *self = lua_touserdata(L, 1);
    if (!self->file)
        return push_file_closed(L);
    uint8_t *data;
    size_t block;
    ssize_t n = file_read(self->file, &data, &block);
    if (n == -EAGAIN)
        return first_try ? task_wait(L, &self->waiters, INFINITY, 0, give_k)
                         : task_wait_again(L, &self->waiters, 0, give_k);
    if (n < 0)
        return push_file_failure(L, (int)n, "read");
    if (n == 0)
        return 0;
    size_t header = block ? FILE_FRAME_HEADER : 0;
    if (block)
        write_frame_header(data - header, lua_tostring(L, 3), block);
    lua_pushlightuserdata(L, data - header);
    lua_pushinteger(L, (lua_Integer)(header + (size_t)n));
    lua_pushinteger(L, n);
    return write_some(L, 0, true);
}

static int give_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return give_some(L, false);
}

/***
Writes the next bytes to a stream. Waits. Nothing else of the file is to be called meanwhile.
@function file:give
@tparam p2pd.stream stream
@tparam string kind of frames: each block begins with this character and four bytes of length
@treturn integer how many of the file's bytes, 64 KiB at most; nothing at the end; or nil, message,
code, and true when it is the file that has failed
@treturn boolean whether these are the last ones of a block
*/
int file_m_give(lua_State *L) {
    check_file(L, 1);
    check_partner(L);
    luaL_checkstring(L, 3);
    lua_settop(L, 3);
    luaL_checkstack(L, 8, NULL);
    task_prepare(L);
    return give_some(L, true);
}

/* -- from a stream --------------------------------------------------------------------------- */

static int take_k(lua_State *L, int status, lua_KContext ctx);

/* What was read before goes first. A stream that has probably no more is waited for at once, so
 * that others run. */
static ssize_t read_to(struct stream *s, void *data, size_t len, bool waited) {
    if (!s->in.len && !waited && !s->likely && !s->ended && !s->read_error)
        return -EAGAIN;
    if (!s->in.len)
        return stream_read(s, data, len);
    size_t n = s->in.len < len ? s->in.len : len;
    memcpy(data, buffer_head(&s->in), n);
    buffer_consume(&s->in, n);
    return (ssize_t)n;
}

/* Stack: file, stream, most. ctx: whether it is the stream that was waited for. */
static int take_some(lua_State *L, bool waited, bool for_stream) {
    struct lua_file *self = lua_touserdata(L, 1);
    struct lua_stream *from = lua_touserdata(L, 2);
    size_t most = (size_t)lua_tointeger(L, 3);
    if (!self->file)
        return push_file_closed(L);
    uint8_t *to;
    ssize_t room = file_room(self->file, &to);
    if (room == -EAGAIN)
        return waited && !for_stream ? task_wait_again(L, &self->waiters, false, take_k)
                                     : task_wait(L, &self->waiters, INFINITY, false, take_k);
    if (room < 0)
        return push_file_failure(L, (int)room, "write");
    if (!from->stream)
        return push_stream_closed(L);
    ssize_t n = read_to(from->stream, to, most < (size_t)room ? most : (size_t)room, for_stream);
    if (n > 0) {
        file_filled(self->file, (size_t)n);
        lua_pushinteger(L, n);
        return 1;
    }
    if (n == 0)
        return 0;
    if (n != -EAGAIN)
        return push_stream_failure(L, from->stream, (int)n, "recv");
    if (for_stream && task_expired())
        return task_push_timeout(L);
    stream_want_read(from->stream);
    return for_stream ? task_wait_again(L, &from->readers, true, take_k)
                      : task_wait(L, &from->readers, stream_deadline(from), true, take_k);
}

static int take_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return take_some(L, true, ctx);
}

/***
Writes what a stream gives. Waits until there is something, and while the disk is slow.
@function file:take
@tparam p2pd.stream stream
@tparam integer max bytes
@treturn integer how many, 1 to max; nothing at the stream's end; or nil, message, code, and true
when it is the file that has failed: then nothing was read
*/
int file_m_take(lua_State *L) {
    check_file(L, 1);
    struct lua_stream *from = check_partner(L);
    luaL_argcheck(L, luaL_checkinteger(L, 3) > 0, 3, "a count of bytes expected");
    luaL_argcheck(L, !from->readers.first, 2, "another task is reading this stream");
    lua_settop(L, 3);
    luaL_checkstack(L, 8, NULL);
    task_prepare(L);
    return take_some(L, false, false);
}
