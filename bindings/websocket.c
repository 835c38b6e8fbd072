/***
WebSockets (RFC 6455), the server's end.
@module p2pd.core.websocket
*/
#include "host/websocket.h"

#include <string.h>

#include "bindings/bind.h"
#include "bindings/stream.h"
#include "host/mqtt/websocket.h"

/***
The Sec-WebSocket-Accept for a Sec-WebSocket-Key.
@function accept_of
@tparam string key 24 characters
@treturn string
*/
static int l_accept_of(lua_State *L) {
    size_t len;
    const char *key = luaL_checklstring(L, 1, &len);
    char accept[WEBSOCKET_ACCEPT_SIZE];
    luaL_argcheck(L, len == WEBSOCKET_KEY_SIZE - 1 && strlen(key) == len, 1,
                  "a key of 24 characters expected");
    websocket_accept_of(key, accept);
    lua_pushstring(L, accept);
    return 1;
}

static struct transport *wrap(struct transport *lower, struct buffer early, void *arg) {
    (void)arg;
    return websocket_transport(lower, early, WEBSOCKET_SERVER);
}

/***
Makes a stream the server's end of a WebSocket whose handshake is done: it reads what binary
messages bring, and each write is a message. Who breaks the protocol's rules gets a close frame that
says so, and reading fails (EPROTO). The stream's end is a close frame.
@function serve
@tparam p2pd.stream stream
@treturn p2pd.stream the same; or nil, message, code
*/
static int l_serve(lua_State *L) {
    int results;
    struct stream *s = check_takeover(L, 1, "WebSocket", &results);
    if (results)
        return results;
    int err = stream_wrap(s, wrap, NULL);
    if (err)
        return push_error(L, err, "WebSocket");
    check_lua_stream(L, 1)->scanned = 0;
    lua_settop(L, 1);
    return 1;
}

/***
Ends the local half of a WebSocket, behind what was written, with a close frame.
@function shutdown
@tparam p2pd.stream stream
@tparam integer code 1000 to 4999
@tparam[opt=""] string reason of which 123 bytes are sent
@treturn p2pd.stream the same; or nil, message, code
*/
static int l_shutdown(lua_State *L) {
    lua_Integer code = luaL_checkinteger(L, 2);
    const char *reason = luaL_optstring(L, 3, "");
    luaL_argcheck(L, code >= 1000 && code <= 4999, 2, "a code from 1000 to 4999 expected");
    struct stream *s = check_lua_stream(L, 1)->stream;
    if (!s)
        return push_stream_closed(L);
    int err = websocket_end_with(s->transport, (int)code, reason);
    luaL_argcheck(L, !err, 1, "a WebSocket expected");
    err = stream_shutdown(s);
    if (err < 0)
        return push_error(L, err, "shutdown");
    lua_settop(L, 1);
    return 1;
}

int bind_websocket(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {
        {"accept_of", l_accept_of}, {"serve", l_serve}, {"shutdown", l_shutdown}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
