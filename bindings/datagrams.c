/*
 * Carriers of datagrams: a value that the maker of a carrier (a UDP socket, a TURN allocation)
 * hands to its user (core.reliable). A script may also send and receive by itself; what it does not
 * fetch is dropped, as the network would.
 */
#include "bindings/datagrams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "buffer.h"
#include "task.h"

#define DATAGRAMS_CLASS "p2pd.datagrams"
#define WAITING_MAX (64 * 1024) /* bytes that wait for a script */

struct lua_datagrams {
    struct datagrams *carrier; /* NULL: closed or taken */
    struct waitlist readers;
    struct buffer in; /* each as its length and its bytes */
    char reason[96];  /* why the carrier has ended */
    int error;
};

static void on_datagram(struct datagrams *d, const void *data, size_t len) {
    struct lua_datagrams *self = d->owner;
    if (self->in.len + sizeof len + len > WAITING_MAX)
        return;
    buffer_append(&self->in, &len, sizeof len);
    buffer_append(&self->in, data, len);
    task_wake(&self->readers);
}

static void on_end(struct datagrams *d, int err, const char *why) {
    struct lua_datagrams *self = d->owner;
    self->error = abs(err);
    strncpy(self->reason, why, sizeof self->reason - 1);
    task_wake_all(&self->readers);
}

void push_datagrams(lua_State *L, struct datagrams *d) {
    struct lua_datagrams *self = bind_new(L, DATAGRAMS_CLASS, sizeof *self);
    self->carrier = d;
    d->owner = self;
    d->on_datagram = on_datagram;
    d->on_pause = NULL;
    d->on_room = NULL;
    d->on_end = on_end;
}

struct datagrams *take_datagrams(lua_State *L, int arg) {
    struct lua_datagrams *self = luaL_checkudata(L, arg, DATAGRAMS_CLASS);
    struct datagrams *d = self->carrier;
    luaL_argcheck(L, d, arg, "an open carrier expected, got a closed one");
    d->ops->receive(d, false);
    self->carrier = NULL;
    buffer_fini(&self->in);
    task_wake_all(&self->readers);
    return d;
}

static struct lua_datagrams *check_self(lua_State *L) {
    return luaL_checkudata(L, 1, DATAGRAMS_CLASS);
}

static int push_closed(lua_State *L) {
    return push_failure(L, "EBADF", "the carrier is closed");
}

static int push_ended(lua_State *L, const struct lua_datagrams *self) {
    const char *code = strerrorname_np(self->error);
    return push_failure(L, code ? code : "EIO", "%s", self->reason);
}

/* send(data) -> true: it has left, or will when the kernel has room */
static int m_send(lua_State *L) {
    struct lua_datagrams *self = check_self(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    if (!self->carrier)
        return push_closed(L);
    if (self->error)
        return push_ended(L, self);
    int err = self->carrier->ops->send(self->carrier, data, len);
    self->carrier->ops->flush(self->carrier);
    if (err)
        return push_error(L, err, "send");
    lua_pushboolean(L, true);
    return 1;
}

static int push_first(lua_State *L, struct lua_datagrams *self) {
    size_t len;
    memcpy(&len, buffer_head(&self->in), sizeof len);
    lua_pushlstring(L, buffer_head(&self->in) + sizeof len, len);
    if (self->in.len) /* a finaliser may have closed us */
        buffer_consume(&self->in, sizeof len + len);
    return 1;
}

static int receive_k(lua_State *L, int status, lua_KContext ctx);

static int receive(lua_State *L, struct lua_datagrams *self, double deadline, bool first_try) {
    if (!self->carrier)
        return push_closed(L);
    if (self->in.len)
        return push_first(L, self);
    if (self->error)
        return push_ended(L, self);
    if (!first_try && task_expired())
        return task_push_timeout(L);
    self->carrier->ops->receive(self->carrier, true);
    return first_try ? task_wait(L, &self->readers, deadline, 0, receive_k)
                     : task_wait_again(L, &self->readers, 0, receive_k);
}

static int receive_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return receive(L, lua_touserdata(L, 1), 0, false);
}

/* receive([timeout]) -> data */
static int m_receive(lua_State *L) {
    struct lua_datagrams *self = check_self(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return receive(L, self, deadline, true);
}

static int m_close(lua_State *L) {
    struct lua_datagrams *self = check_self(L);
    struct datagrams *d = self->carrier;
    if (!d)
        return 0;
    self->carrier = NULL;
    d->ops->free(d);
    buffer_fini(&self->in);
    task_wake_all(&self->readers);
    return 0;
}

static int m_tostring(lua_State *L) {
    struct lua_datagrams *self = check_self(L);
    lua_pushfstring(L, "datagrams (%s): %p", self->carrier ? "open" : "closed", (void *)self);
    return 1;
}

void datagrams_class(lua_State *L) {
    static const luaL_Reg METHODS[] = {
        {"send", m_send}, {"receive", m_receive}, {"close", m_close}, {NULL, NULL}};
    static const luaL_Reg META[] = {
        {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
    bind_class(L, DATAGRAMS_CLASS, METHODS, META);
}
