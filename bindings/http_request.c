/* What the task that has taken a request does with it: reads its body, and answers. */
/***
@submodule p2pd.core.http
*/
#include "bindings/http_request.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/file_handle.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"
#include "host/file.h"

#define REQUEST_CLASS "p2pd.http.request"
#define STREAM 1 /* the user value that has it */

struct lua_request {
    struct http_request *request; /* NULL: closed */
    struct waitlist waiters;
};

static void on_event(void *owner) {
    task_wake_all(&((struct lua_request *)owner)->waiters);
}

int push_http_request(lua_State *L, struct http_request *r) {
    struct lua_request *self = bind_new(L, REQUEST_CLASS, sizeof *self);
    self->request = r;
    http_request_on_event(r, on_event, self);
    return 1;
}

static struct lua_request *check_request(lua_State *L) {
    return luaL_checkudata(L, 1, REQUEST_CLASS);
}

static struct http_request *check_open(lua_State *L) {
    struct lua_request *self = check_request(L);
    if (!self->request)
        luaL_error(L, "the request is closed");
    return self->request;
}

/***
Lets go of it, and closes its stream; an answer that was begun and has not been ended is broken off.
@function request:close
*/
static int m_request_close(lua_State *L) {
    struct lua_request *self = check_request(L);
    if (!self->request)
        return 0;
    if (lua_getiuservalue(L, 1, STREAM) == LUA_TUSERDATA)
        close_stream(check_lua_stream(L, -1));
    http_request_free(self->request);
    self->request = NULL;
    task_wake_all(&self->waiters);
    return 0;
}

/***
What was asked for.
@function request:head
@treturn string method
@treturn string target as it was sent, with its query
@treturn table headers: names in lower case; several of one name are joined by ", "
*/
static int m_head(lua_State *L) {
    struct http_request *r = check_open(L);
    const char *name, *value;
    lua_pushstring(L, http_request_method(r));
    lua_pushstring(L, http_request_target(r));
    lua_newtable(L);
    for (size_t i = 0; http_request_header(r, i, &name, &value); i++) {
        luaL_Buffer lower;
        luaL_buffinit(L, &lower);
        for (const char *c = name; *c; c++)
            luaL_addchar(&lower, *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c);
        luaL_pushresult(&lower);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) == LUA_TSTRING) {
            lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), value);
            lua_remove(L, -2);
        } else {
            lua_pop(L, 1);
            lua_pushstring(L, value);
        }
        lua_rawset(L, -3);
    }
    return 3;
}

/***
Its bodies: what is read of the stream is the request's body; what is written, once
@{request:begin} was called, is the answer's, which `shutdown` ends. The same at each call.
@function request:stream
@treturn p2pd.stream closed with the request
*/
static int m_stream(lua_State *L) {
    struct http_request *r = check_open(L);
    lua_settop(L, 1);
    if (lua_getiuservalue(L, 1, STREAM) == LUA_TUSERDATA)
        return 1;
    push_stream(L, stream_new(http_request_bodies(r)));
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, STREAM);
    return 1;
}

/* -- answering -------------------------------------------------------------------------------- */

/* A line end in a header's name or value would be another header. */
static void check_headers(lua_State *L, int t) {
    if (lua_isnoneornil(L, t))
        return;
    luaL_checktype(L, t, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1)) {
        size_t len;
        luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING && lua_isstring(L, -1), t,
                      "headers are strings by name");
        const char *name = lua_tostring(L, -2), *value = lua_tolstring(L, -1, &len);
        luaL_argcheck(L, !strpbrk(name, "\r\n: ") && *name, t, "a malformed header");
        luaL_argcheck(L, !strpbrk(value, "\r\n") && strlen(value) == len, t, "a malformed header");
    }
}

static void add_headers(lua_State *L, struct http_request *r, int t) {
    if (lua_isnoneornil(L, t))
        return;
    for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1))
        http_answer_header(r, lua_tostring(L, -2), lua_tostring(L, -1));
}

static int push_gone(lua_State *L) {
    return push_failure(L, "EPIPE", "the client has hung up");
}

static int check_status(lua_State *L, int arg) {
    lua_Integer status = luaL_checkinteger(L, arg);
    luaL_argcheck(L, status >= 200 && status <= 599, arg, "a status from 200 to 599 expected");
    return (int)status;
}

static int push_answered(lua_State *L, int err) {
    if (err == -EALREADY)
        return luaL_error(L, "the request has been answered");
    if (err < 0)
        return push_gone(L);
    lua_pushboolean(L, true);
    return 1;
}

/***
Answers.
@function request:answer
@tparam integer status
@tparam ?table headers values by name
@tparam[opt] string body
@treturn boolean true; or nil, message, code (EPIPE: the client has hung up)
*/
static int m_answer(lua_State *L) {
    struct http_request *r = check_open(L);
    int status = check_status(L, 2);
    size_t len;
    const char *body = luaL_optlstring(L, 4, "", &len);
    check_headers(L, 3);
    add_headers(L, r, 3);
    return push_answered(L, http_answer(r, status, body, len));
}

/***
Answers with bytes of a file: its length is told, and the kernel sends them.
@function request:answer_file
@tparam integer status
@tparam ?table headers values by name
@tparam file file which stays its owner's
@tparam integer offset
@tparam integer length
@treturn boolean true; or nil, message, code (EPIPE: the client has hung up)
*/
static int m_answer_file(lua_State *L) {
    struct http_request *r = check_open(L);
    int status = check_status(L, 2);
    const struct file *file = check_file(L, 4)->file;
    lua_Integer offset = luaL_checkinteger(L, 5), len = luaL_checkinteger(L, 6);
    luaL_argcheck(L, offset >= 0, 5, "0 or more expected");
    luaL_argcheck(L, len >= 0, 6, "0 or more expected");
    check_headers(L, 3);
    int fd = fcntl(file_descriptor(file), F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return push_error(L, errno, "dup");
    add_headers(L, r, 3);
    return push_answered(L, http_answer_file(r, status, fd, (uint64_t)offset, (uint64_t)len));
}

/***
Begins an answer whose body is written to @{request:stream}.
@function request:begin
@tparam integer status
@tparam[opt] table headers values by name
@treturn boolean true; or nil, message, code
*/
static int m_begin(lua_State *L) {
    struct http_request *r = check_open(L);
    int status = check_status(L, 2);
    check_headers(L, 3);
    add_headers(L, r, 3);
    return push_answered(L, http_answer_begin(r, status));
}

static int upgrade_k(lua_State *L, int status, lua_KContext ctx);

static int take_stream(lua_State *L, struct lua_request *self, double deadline, bool first_try) {
    struct stream *stream = self->request ? http_request_upgraded(self->request) : NULL;
    if (stream) {
        push_stream(L, stream);
        return 1;
    }
    if (!self->request || http_request_is_gone(self->request))
        return push_gone(L);
    if (!first_try && task_expired())
        return task_push_timeout(L);
    return first_try ? task_wait(L, &self->waiters, deadline, 0, upgrade_k)
                     : task_wait_again(L, &self->waiters, 0, upgrade_k);
}

static int upgrade_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return take_stream(L, lua_touserdata(L, 1), 0, false);
}

/***
Answers 101 and gives the connection. Waits.
@function request:upgrade
@tparam table headers values by name; "Upgrade" among them
@tparam[opt] number timeout seconds
@treturn stream; or nil, message, code
*/
static int m_upgrade(lua_State *L) {
    struct lua_request *self = check_request(L);
    struct http_request *r = check_open(L);
    check_headers(L, 2);
    double deadline = task_deadline(L, 3);
    task_prepare(L);
    add_headers(L, r, 2);
    int err = http_answer_upgrade(r);
    if (err < 0)
        return push_answered(L, err);
    lua_settop(L, 3);
    return take_stream(L, self, deadline, true);
}

static int gone_k(lua_State *L, int status, lua_KContext ctx);

static int wait_gone(lua_State *L, struct lua_request *self, double deadline, bool first_try) {
    if (!self->request || http_request_is_gone(self->request)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (!first_try && task_expired())
        return task_push_timeout(L);
    return first_try ? task_wait(L, &self->waiters, deadline, 0, gone_k)
                     : task_wait_again(L, &self->waiters, 0, gone_k);
}

static int gone_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return wait_gone(L, lua_touserdata(L, 1), 0, false);
}

/***
Waits until nobody is left to answer to: the client has hung up, has the whole answer, or the
request is closed.
@function request:wait_gone
@tparam[opt] number timeout seconds
@treturn boolean true; or nil, message, code
*/
static int m_wait_gone(lua_State *L) {
    struct lua_request *self = check_request(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return wait_gone(L, self, deadline, true);
}

/***
Whether the client has hung up, as far as is known.
@function request:is_gone
*/
static int m_is_gone(lua_State *L) {
    struct lua_request *self = check_request(L);
    lua_pushboolean(L, !self->request || http_request_is_gone(self->request));
    return 1;
}

void http_request_class(lua_State *L) {
    static const luaL_Reg REQUEST_METHODS[] = {
        {"head", m_head},           {"stream", m_stream},
        {"answer", m_answer},       {"answer_file", m_answer_file},
        {"begin", m_begin},         {"upgrade", m_upgrade},
        {"is_gone", m_is_gone},     {"close", m_request_close},
        {"wait_gone", m_wait_gone}, {NULL, NULL}};
    static const luaL_Reg REQUEST_META[] = {
        {"__gc", m_request_close}, {"__close", m_request_close}, {NULL, NULL}};
    bind_class(L, REQUEST_CLASS, REQUEST_METHODS, REQUEST_META);
}
