/***
What WebSockets (RFC 6455) need of C: the answer to a key, and masks.
@module p2pd.core.websocket
*/
#include <stdint.h>
#include <string.h>

#include "bindings/bind.h"
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

/***
Masks or unmasks (RFC 6455 section 5.3).
@function mask
@tparam string data
@tparam string key 4 bytes
@tparam[opt=0] integer offset of the data in its frame
@treturn string
*/
static int l_mask(lua_State *L) {
    size_t len, key_len;
    const char *data = luaL_checklstring(L, 1, &len);
    const char *key = luaL_checklstring(L, 2, &key_len);
    lua_Integer offset = luaL_optinteger(L, 3, 0);
    luaL_argcheck(L, key_len == 4, 2, "a key of 4 bytes expected");
    char turned[4], word_key[8];
    for (size_t i = 0; i < 4; i++)
        turned[i] = key[((size_t)offset + i) % 4];
    memcpy(word_key, turned, 4);
    memcpy(word_key + 4, turned, 4);
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, len);
    size_t i = 0;
    for (uint64_t word, by; i + 8 <= len; i += 8) {
        memcpy(&word, data + i, 8);
        memcpy(&by, word_key, 8);
        word ^= by;
        memcpy(out + i, &word, 8);
    }
    for (; i < len; i++)
        out[i] = (char)(data[i] ^ turned[i % 4]);
    luaL_pushresultsize(&buffer, len);
    return 1;
}

int bind_websocket(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {
        {"accept_of", l_accept_of}, {"mask", l_mask}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
