/*
 * Carriers of datagrams: a value that the maker of a carrier (a UDP socket, a TURN allocation)
 * hands to its user (core.reliable). A script may also send and receive by itself; what it does not
 * fetch is dropped, as the network would.
 */
/***
Carriers of datagrams to one peer: a UDP socket's, a TURN channel's, or a script's.
@module p2pd.core.datagrams
@pragma nostrip
*/
#include "bindings/datagrams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"
#include "host/buffer.h"
#include "host/datagrams/channels.h"
#include "host/datagrams/pair.h"

#define DATAGRAMS_CLASS "p2pd.datagrams"
#define WAITING_MAX (64 * 1024) /* bytes that wait for a script */

struct lua_datagrams {
    struct datagrams *carrier; /* NULL: closed or taken */
    struct channels channels;
    struct waitlist readers, watchers;
    struct buffer in; /* each as its length and its bytes */
    char reason[160]; /* why the carrier has ended */
    int error;
    int trouble; /* errno of what the network says, to be told once */
};

static void on_datagram(struct datagrams *d, const void *data, size_t len) {
    struct lua_datagrams *self = d->owner;
    if (channels_deliver(&self->channels, data, len))
        return;
    if (self->in.len + sizeof len + len > WAITING_MAX)
        return;
    buffer_append(&self->in, &len, sizeof len);
    buffer_append(&self->in, data, len);
    task_wake(&self->readers);
}

static void on_pause(struct datagrams *d) {
    struct lua_datagrams *self = d->owner;
    channels_pause(&self->channels);
}

static void on_room(struct datagrams *d) {
    struct lua_datagrams *self = d->owner;
    channels_room(&self->channels);
}

static void on_trouble(struct datagrams *d, int err) {
    struct lua_datagrams *self = d->owner;
    self->trouble = abs(err);
    task_wake(&self->readers);
}

static void on_idle(struct channels *c) {
    struct lua_datagrams *self = c->owner;
    task_wake_all(&self->watchers);
}

static void on_end(struct datagrams *d, int err, const char *why) {
    struct lua_datagrams *self = d->owner;
    self->error = abs(err);
    strncpy(self->reason, why, sizeof self->reason - 1);
    channels_end(&self->channels, err, why);
    task_wake_all(&self->readers);
    task_wake_all(&self->watchers);
}

void push_datagrams(lua_State *L, struct datagrams *d) {
    struct lua_datagrams *self = bind_new(L, DATAGRAMS_CLASS, sizeof *self);
    self->carrier = d;
    d->owner = self;
    d->on_datagram = on_datagram;
    d->on_pause = on_pause;
    d->on_trouble = on_trouble;
    d->on_room = on_room;
    d->on_end = on_end;
    self->channels = (struct channels){.way = d, .on_idle = on_idle, .owner = self};
}

struct datagrams *take_datagrams(lua_State *L, int arg) {
    struct lua_datagrams *self = luaL_checkudata(L, arg, DATAGRAMS_CLASS);
    struct datagrams *d = self->carrier;
    luaL_argcheck(L, d, arg, "an open carrier expected, got a closed one");
    luaL_argcheck(L, !self->channels.first, arg, "a carrier without open channels expected");
    d->ops->receive(d, false);
    d->on_pause = d->on_room = NULL;
    d->on_trouble = NULL;
    self->carrier = NULL;
    buffer_fini(&self->in);
    task_wake_all(&self->readers);
    task_wake_all(&self->watchers);
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

/***
Sends one; it may be lost.
@function datagrams:send
@tparam string data
@return true: it has left, or will when there is room; or nil, message, code
*/
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
    if (self->trouble) {
        int err = self->trouble;
        self->trouble = 0;
        return push_error(L, err, "receive");
    }
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

/***
Waits for one.
@function datagrams:receive
@tparam[opt] number timeout seconds
@treturn string data; or nil, message, code: ECONNREFUSED and the like are news, no end
*/
static int m_receive(lua_State *L) {
    struct lua_datagrams *self = check_self(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return receive(L, self, deadline, true);
}

/***
The datagrams of one channel of a TURN server, as a carrier of its own; they do not pass through the
script. This one has to live as long.
@function datagrams:channel
@tparam integer number 0x4000 to 0x4FFF
@treturn p2pd.datagrams; or nil, message, code: EBADF, EADDRINUSE
*/
static int m_channel(lua_State *L) {
    struct lua_datagrams *self = check_self(L);
    lua_Integer number = luaL_checkinteger(L, 2);
    luaL_argcheck(L, number >= CHANNEL_FIRST && number <= CHANNEL_LAST, 2,
                  "a channel from 0x4000 to 0x4FFF expected");
    if (!self->carrier)
        return push_closed(L);
    if (self->error)
        return push_ended(L, self);
    struct datagrams *d = channels_open(&self->channels, (uint16_t)number);
    if (!d)
        return push_error(L, EADDRINUSE, "channel");
    push_datagrams(L, d);
    return 1;
}

static int idle_k(lua_State *L, int status, lua_KContext ctx);

static int idle(lua_State *L, struct lua_datagrams *self, double deadline, bool first_try) {
    if (!self->carrier || !self->channels.first) {
        lua_pushboolean(L, true);
        return 1;
    }
    return task_wait_or_time_out(L, &self->watchers, first_try, deadline, 0, idle_k);
}

static int idle_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return idle(L, lua_touserdata(L, 1), 0, false);
}

/***
Waits until no channel is open, so that the allocation may be given back. A link that is closed
keeps its channel until its peer knows.
@function datagrams:idle
@tparam[opt] number timeout seconds
@return true; or nil, message, code
*/
static int m_idle(lua_State *L) {
    struct lua_datagrams *self = check_self(L);
    double deadline = task_deadline(L, 2);
    task_prepare(L);
    return idle(L, self, deadline, true);
}

/***
Closes it. Whoever uses one of its channels learns why.
@function datagrams:close
@tparam[opt] string reason
*/
static int m_close(lua_State *L) {
    struct lua_datagrams *self = check_self(L);
    struct datagrams *d = self->carrier;
    const char *why = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "the carrier is closed";
    if (!d)
        return 0;
    self->carrier = NULL;
    channels_end(&self->channels, -EPIPE, why);
    d->ops->free(d);
    buffer_fini(&self->in);
    task_wake_all(&self->readers);
    task_wake_all(&self->watchers);
    return 0;
}

static int m_tostring(lua_State *L) {
    struct lua_datagrams *self = check_self(L);
    lua_pushfstring(L, "datagrams (%s): %p", self->carrier ? "open" : "closed", (void *)self);
    return 1;
}

/***
Two carriers of which each delivers what the other one is given: for a script that carries datagrams
by its own means.
@function pair
@tparam[opt=2044] integer mtu bytes of the largest datagram
@treturn p2pd.datagrams
@treturn p2pd.datagrams
*/
static int l_pair(lua_State *L) {
    lua_Integer mtu = luaL_optinteger(L, 1, DATAGRAMS_SIZE_MAX - CHANNEL_HEADER);
    luaL_argcheck(L, mtu > 0 && mtu <= DATAGRAMS_SIZE_MAX, 1, "1 to 2048 bytes expected");
    struct datagrams *ends[2];
    datagram_pair((size_t)mtu, ends);
    push_datagrams(L, ends[0]);
    push_datagrams(L, ends[1]);
    return 2;
}

static const luaL_Reg METHODS[] = {{"send", m_send}, {"receive", m_receive}, {"channel", m_channel},
                                   {"idle", m_idle}, {"close", m_close},     {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"pair", l_pair}, {NULL, NULL}};

int bind_datagrams(lua_State *L) {
    bind_class(L, DATAGRAMS_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
