/***
TLS on a stream: between two nodes that know each other's id, or to a server with a name.
@module p2pd.core.tls
*/
#include "host/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/keys.h"
#include "bindings/scheduler.h"
#include "bindings/stream.h"

#define CONTEXT_CLASS "p2pd.tls.context"

struct lua_context {
    struct tls_context *context; /* NULL until made */
    bool trusting;               /* peers have names, not keys */
};

static int m_close(lua_State *L) {
    struct lua_context *self = lua_touserdata(L, 1);
    tls_context_unref(self->context);
    self->context = NULL;
    return 0;
}

/***
The certificate of a node key, and TLS's settings. One serves every stream of the node.
@function context
@tparam p2pd.key key
@tparam[opt] table options key_records: how many records are sent under one key, 1 to 2^23 (the
default)
@treturn p2pd.tls.context the context; or nil, message, code
*/
static int l_context(lua_State *L) {
    const struct keys *keys = check_keys(L, 1);
    lua_Integer records = opt_integer(L, 2, "key_records", TLS_KEY_RECORDS_MAX);
    luaL_argcheck(L, records > 0 && records <= (lua_Integer)TLS_KEY_RECORDS_MAX, 2,
                  "option 'key_records' out of range");
    struct lua_context *self = bind_new(L, CONTEXT_CLASS, sizeof *self);
    self->context = tls_context_new(keys);
    if (!self->context)
        return push_failure(L, "EIO", "no TLS context: OpenSSL failed");
    tls_context_limit(self->context, (uint64_t)records);
    return 1;
}

/***
What is needed to talk to servers with names, whose certificates authorities vouch for.
@function authority
@tparam[opt] string ca a file of certificates, or a folder of them; the system's without it
@treturn p2pd.tls.context the context, for @{client} with the server's name or address; or nil,
message, code
*/
static int l_authority(lua_State *L) {
    const char *ca = luaL_optstring(L, 1, NULL);
    struct lua_context *self = bind_new(L, CONTEXT_CLASS, sizeof *self);
    self->trusting = true;
    self->context = tls_context_trusting(ca);
    if (self->context)
        return 1;
    return push_failure(L, "ENOENT", "no certificates of authorities in %s",
                        ca ? ca : "the system");
}

/* -- the handshake: the stream's only reader until it is over ------------------------------ */

struct wish {
    struct tls_context *context;
    enum tls_role role;
    struct tls_expected peer;
    uint8_t key[KEYS_PUBLIC];
};

static struct lua_context *check_context(lua_State *L, int arg) {
    struct lua_context *self = luaL_checkudata(L, arg, CONTEXT_CLASS);
    luaL_argcheck(L, self->context, arg, "a TLS context that was made expected");
    return self;
}

/* Stack: stream, context, the peer's id or name. */
static void check_peer(lua_State *L, enum tls_role role, struct wish *wish) {
    const struct lua_context *context = check_context(L, 2);
    *wish = (struct wish){.context = context->context, .role = role};
    if (role == TLS_SERVER && !context->trusting && lua_isnoneornil(L, 3))
        return; /* anybody */
    size_t len;
    const char *name = luaL_checklstring(L, 3, &len);
    if (context->trusting) {
        luaL_argcheck(L, role == TLS_CLIENT, 2, "the context of a node expected");
        luaL_argcheck(L, len && len <= TLS_HOST_MAX && strlen(name) == len, 3,
                      "a host name or an IP address expected");
        wish->peer.host = name;
        return;
    }
    luaL_argcheck(L, keys_parse_id(name, len, wish->key) == 0, 3,
                  "a node id that is a key expected");
    wish->peer.key = wish->key;
}

static struct transport *wrap(struct transport *lower, struct buffer early, void *arg) {
    const struct wish *wish = arg;
    return tls_transport(wish->context, wish->role, lower, early, &wish->peer);
}

/* Stack: stream, context, id, role. */
static int begin(lua_State *L, struct lua_stream *self) {
    struct wish wish;
    check_peer(L, (enum tls_role)lua_tointeger(L, 4), &wish);
    int err = stream_wrap(self->stream, wrap, &wish);
    if (!err)
        self->scanned = 0;
    return err;
}

static int give_up(lua_State *L, struct lua_stream *self, int err) {
    const char *reason = transport_reason(self->stream->transport);
    push_failure(L, strerrorname_np(abs(err)), "TLS with %s: %s", luaL_optstring(L, 3, "somebody"),
                 reason ? reason : strerror(abs(err)));
    kill_stream(self);
    return 3;
}

static int shake_k(lua_State *L, int status, lua_KContext ctx);

/* ctx: has begun; before that, what is queued has to leave. */
static int shake(lua_State *L, bool begun, double deadline, bool first_try) {
    struct lua_stream *self = lua_touserdata(L, 1);
    if (!self->stream)
        return push_failure(L, "EBADF", "the stream is closed");
    int err = begun ? 0 : begin(L, self);
    begun = begun || !err;
    bool queued = err == -EBUSY;
    if (!err)
        err = tls_handshake(self->stream->transport);
    if (!err) {
        lua_pushboolean(L, true);
        lua_pushstring(L, tls_peer(self->stream->transport));
        return 2;
    }
    if (err != -EAGAIN && !queued)
        return give_up(L, self, err);
    if (!first_try && task_expired())
        return give_up(L, self, ETIMEDOUT);
    (queued ? stream_want_write : stream_want_read)(self->stream);
    struct waitlist *list = queued ? &self->writers : &self->readers;
    return first_try ? task_wait(L, list, deadline, begun, shake_k)
                     : task_wait_again(L, list, begun, shake_k);
}

static int shake_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status;
    return shake(L, ctx != 0, 0, false);
}

static int start(lua_State *L, enum tls_role role) {
    struct lua_stream *self = check_lua_stream(L, 1);
    struct wish wish;
    check_peer(L, role, &wish);
    double deadline = task_deadline(L, 4);
    task_prepare(L);
    luaL_argcheck(L, !self->readers.first, 1, "another task is reading this stream");
    luaL_argcheck(L, !self->writers.first, 1, "another task is writing to this stream");
    lua_settop(L, 3);
    lua_pushinteger(L, role);
    return shake(L, false, deadline, true);
}

/***
Encrypts a stream, as the side that speaks first: waits until the peer has proved to be who is
expected. What was read too early belongs to TLS; what is queued leaves before it. The same stream
is then the encrypted one; after a failure it is closed. That the peer has taken us in turn shows in
the first read.
@function client
@tparam p2pd.stream stream
@tparam p2pd.tls.context context
@tparam string peer_id whose key the peer must hold; with the context of an @{authority} the
server's name
@tparam[opt] number timeout seconds
@return true and the peer's id; or nil, message, code: EACCES for another node, or when it refuses
us; EPROTO for what is not TLS 1.3; ECONNRESET when it hangs up; ETIMEDOUT
*/
static int l_client(lua_State *L) {
    return start(L, TLS_CLIENT);
}

/***
The same as the other side: true when the client has proved to be who is expected.
@function server
@tparam p2pd.stream stream
@tparam p2pd.tls.context context
@tparam ?string peer_id nil: whoever proves to be a node
@tparam[opt] number timeout seconds
@return as for @{client}
*/
static int l_server(lua_State *L) {
    return start(L, TLS_SERVER);
}

/***
Whether the record that a TLS stream begins with (RFC 8446 §5.1) is a ClientHello of somebody who
knows the id of the context's node. @{server} finds that out by itself; this is for deciding about
a stream before.
@function proved
@tparam p2pd.tls.context context
@tparam string record its first bytes, 1 to all
@treturn boolean
@treturn ?integer without a proof how many bytes of the record are needed to say more; nil: there
is no proof
*/
static int l_proved(lua_State *L) {
    const struct lua_context *self = check_context(L, 1);
    luaL_argcheck(L, !self->trusting, 1, "the context of a node expected");
    size_t len;
    const char *record = luaL_checklstring(L, 2, &len);
    ssize_t size = tls_proof_size(record, len);
    bool complete = size == (ssize_t)len && len > TLS_PROOF_HEADER;
    lua_pushboolean(L,
                    complete && tls_proof_check(tls_context_proof_key(self->context), record, len));
    if (complete || size < (ssize_t)len)
        return 1;
    lua_pushinteger(L, (lua_Integer)size);
    return 2;
}

/***
Takes new keys for what we send (RFC 8446 §4.6.3). It happens by itself before a key is worn out.
@function rekey
@tparam p2pd.stream stream an encrypted one
@tparam[opt=false] boolean both also asks the peer to take new ones
@return true; or nil, message, code: EBUSY while a write waits, EOPNOTSUPP without TLS
*/
static int l_rekey(lua_State *L) {
    struct stream *s = check_stream(L, 1);
    int err = tls_rekey(s->transport, lua_toboolean(L, 2));
    if (err)
        return push_error(L, err, "new TLS keys");
    lua_pushboolean(L, true);
    return 1;
}

static const luaL_Reg CONTEXT_METHODS[] = {{NULL, NULL}};
static const luaL_Reg CONTEXT_META[] = {{"__gc", m_close}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {
    {"context", l_context}, {"authority", l_authority}, {"client", l_client}, {"server", l_server},
    {"rekey", l_rekey},     {"proved", l_proved},       {NULL, NULL}};

int bind_tls(lua_State *L) {
    bind_class(L, CONTEXT_CLASS, CONTEXT_METHODS, CONTEXT_META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
