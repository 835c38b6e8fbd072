/* Every call that may wait asks again until the answer is another one than -EAGAIN. */
/***
@submodule p2pd.core.folder
*/
#include "bindings/file.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/file_handle.h"
#include "bindings/file_stream.h"

static void on_ready(void *owner) {
    struct lua_file *self = owner;
    task_wake_all(&self->waiters);
}

int push_file(lua_State *L, int fd, bool writes, int64_t size) {
    struct lua_file *self = bind_new(L, FILE_CLASS, sizeof *self);
    struct file_events events = {on_ready, self};
    self->file = file_new(fd, writes, size, events);
    return self->file ? 1 : push_error(L, errno, "open");
}

static int push_result(lua_State *L, int error, const char *what) {
    if (error)
        return push_error(L, error, "%s", what);
    lua_settop(L, 1);
    return 1;
}

/* Asks; waits on and asks again while `ask` says so. */
typedef int ask_fn(lua_State *L,
                   struct lua_file *self); /* -EAGAIN, or how many results it pushed */

static int ask_again_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    struct lua_file *self = lua_touserdata(L, 1);
    if (!self->file)
        return push_file_closed(L);
    int n = ((ask_fn *)ctx)(L, self);
    return n == -EAGAIN ? task_wait_again(L, &self->waiters, ctx, ask_again_k) : n;
}

static int wait_for(lua_State *L, struct lua_file *self, ask_fn *ask) {
    int n = ask(L, self);
    return n == -EAGAIN ? task_wait(L, &self->waiters, INFINITY, (lua_KContext)ask, ask_again_k)
                        : n;
}

/* -- what waits ---------------------------------------------------------------------------- */

/* Stack: self, the frames' kind or nil. */
static void push_bytes(lua_State *L, const uint8_t *data, size_t len, size_t block) {
    luaL_Buffer buffer;
    const char *kind = lua_tostring(L, 2);
    uint8_t *to = (uint8_t *)luaL_buffinitsize(L, &buffer, FILE_FRAME_HEADER + len);
    size_t header = kind && block ? FILE_FRAME_HEADER : 0;
    if (header)
        write_frame_header(to, kind, block);
    memcpy(to + header, data, len);
    luaL_pushresultsize(&buffer, header + len);
}

static int ask_read(lua_State *L, struct lua_file *self) {
    uint8_t *data;
    size_t block;
    ssize_t n = file_read(self->file, &data, &block);
    if (n == -EAGAIN)
        return -EAGAIN;
    if (n < 0)
        return push_error(L, (int)n, "read");
    if (n == 0)
        return 0;
    push_bytes(L, data, (size_t)n, block);
    lua_pushinteger(L, (lua_Integer)n);
    lua_pushboolean(L, file_is_between(self->file));
    return 3;
}

/***
The next bytes. Waits.
@function file:read
@tparam[opt] string kind of frames: each block begins with this character and four bytes of length
@treturn string 64 KiB at most, and the frame's header; nothing at the end; or nil, message, code
@treturn integer how many are the file's
@treturn boolean whether these are the last ones of a block
*/
static int m_read(lua_State *L) {
    struct lua_file *self = check_file(L, 1);
    luaL_optstring(L, 2, NULL);
    lua_settop(L, 2);
    task_prepare(L);
    return wait_for(L, self, ask_read);
}

/* Stack: self, the data, how much of it was taken. */
static int ask_write(lua_State *L, struct lua_file *self) {
    size_t len, taken = (size_t)lua_tointeger(L, 3);
    const char *data = lua_tolstring(L, 2, &len);
    while (taken < len) {
        ssize_t n = file_write(self->file, (const uint8_t *)data + taken, len - taken);
        if (n == -EAGAIN) {
            lua_pushinteger(L, (lua_Integer)taken);
            lua_replace(L, 3);
            return -EAGAIN;
        }
        if (n < 0)
            return push_error(L, (int)n, "write");
        taken += (size_t)n;
    }
    return push_result(L, 0, "write");
}

/***
Writes bytes. Waits while the disk is slow.
@function file:write
@tparam string data
@treturn file itself; or nil, message, code: of what was written before, too
*/
static int m_write(lua_State *L) {
    struct lua_file *self = check_file(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    luaL_checkstack(L, 4, NULL);
    task_prepare(L);
    return wait_for(L, self, ask_write);
}

/* Stack: self, how many. */
static int ask_skip(lua_State *L, struct lua_file *self) {
    int error = file_skip(self->file, lua_tointeger(L, 2));
    return error == -EAGAIN ? error : push_result(L, error, "read");
}

/***
Hashes the next bytes without giving them out. Waits. Before anything is read or written.
@function file:skip
@tparam integer count
@treturn file itself; or nil, message, code: ENODATA: there are fewer
*/
static int m_skip(lua_State *L) {
    struct lua_file *self = check_file(L, 1);
    luaL_argcheck(L, luaL_checkinteger(L, 2) >= 0, 2, "a count of bytes expected");
    lua_settop(L, 2);
    task_prepare(L);
    return wait_for(L, self, ask_skip);
}

static int ask_flush(lua_State *L, struct lua_file *self) {
    int error = file_flush(self->file);
    return error == -EAGAIN ? error : push_result(L, error, "write");
}

/***
Waits until all that was written is with the kernel.
@function file:flush
@treturn file itself; or nil, message, code
*/
static int m_flush(lua_State *L) {
    struct lua_file *self = check_file(L, 1);
    task_prepare(L);
    return wait_for(L, self, ask_flush);
}

/* -- what does not ------------------------------------------------------------------------- */

/***
Drops all that was written and hashed, and begins anew. After @{file:skip}.
@function file:restart
@treturn file itself; or nil, message, code
*/
static int m_restart(lua_State *L) {
    return push_result(L, file_restart(check_file(L, 1)->file), "truncate");
}

/***
Sets permissions and time, once all is written.
@function file:set
@tparam integer mode
@tparam integer mtime nanoseconds since 1970
@treturn file itself; or nil, message, code
*/
static int m_set(lua_State *L) {
    struct lua_file *self = check_file(L, 1);
    lua_Integer mode = luaL_checkinteger(L, 2), mtime_ns = luaL_checkinteger(L, 3);
    return push_result(L, file_set(self->file, (mode_t)(mode & 0777), mtime_ns), "set");
}

/***
SHA-256 of what was read, written and skipped so far; of a file that is read: after its end, or
after @{file:skip}.
@function file:digest
@treturn string 32 bytes; or nil, message, code: EAGAIN: asked too early
*/
static int m_digest(lua_State *L) {
    uint8_t digest[FILE_DIGEST];
    int error = file_digest(check_file(L, 1)->file, digest);
    if (error)
        return push_error(L, error, "SHA-256");
    lua_pushlstring(L, (const char *)digest, sizeof digest);
    return 1;
}

/***
How many bytes were read, written or skipped.
@function file:position
@treturn integer
*/
static int m_position(lua_State *L) {
    lua_pushinteger(L, file_position(check_file(L, 1)->file));
    return 1;
}

/***
Closes it; what was not flushed may be lost. It can be called twice.
@function file:close
*/
static int m_close(lua_State *L) {
    struct lua_file *self = luaL_checkudata(L, 1, FILE_CLASS);
    file_free(self->file);
    self->file = NULL;
    task_wake_all(&self->waiters);
    return 0;
}

static int m_tostring(lua_State *L) {
    const struct lua_file *self = luaL_checkudata(L, 1, FILE_CLASS);
    lua_pushfstring(L, "file (%s)", self->file ? "open" : "closed");
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"read", m_read},       {"write", m_write},    {"skip", m_skip},     {"flush", m_flush},
    {"restart", m_restart}, {"set", m_set},        {"digest", m_digest}, {"position", m_position},
    {"give", file_m_give},  {"take", file_m_take}, {"close", m_close},   {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};

void bind_file(lua_State *L) {
    bind_class(L, FILE_CLASS, METHODS, META);
}
