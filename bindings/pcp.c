/***
PCP messages (RFC 6887), the client's side: bytes to tables and back.
@module p2pd.core.pcp
*/
#include "host/pcp.h"

#include <errno.h>
#include <string.h>

#include "bindings/bind.h"

static const char *const OPCODES[] = {[PCP_ANNOUNCE] = "announce", [PCP_MAP] = "map"};
static const char *const ANY[] = {"0.0.0.0", "::"};

static void check_address(lua_State *L, const char *field, const char *ip, int port,
                          struct inet_addr *addr) {
    if (inet_parse(addr, ip, port) < 0)
        luaL_error(L, "option '%s': '%s' is not an IP address", field, ip);
}

static uint32_t check_lifetime(lua_State *L) {
    lua_Integer lifetime = opt_integer(L, 1, "lifetime", 0);
    luaL_argcheck(L, lifetime >= 0 && lifetime <= UINT32_MAX, 1,
                  "option 'lifetime': seconds expected");
    return (uint32_t)lifetime;
}

static void check_nonce(lua_State *L, uint8_t nonce[PCP_NONCE_SIZE]) {
    size_t len = 0;
    lua_getfield(L, 1, "nonce");
    const char *bytes = lua_tolstring(L, -1, &len);
    luaL_argcheck(L, bytes && len == PCP_NONCE_SIZE, 1, "option 'nonce': 12 bytes expected");
    memcpy(nonce, bytes, PCP_NONCE_SIZE);
    lua_pop(L, 1);
}

static void check_map(lua_State *L, struct pcp_request *request) {
    const char *any = ANY[request->client.any.sa_family == AF_INET6];
    const char *protocol = opt_string(L, 1, "protocol", "tcp");
    bool is_tcp = strcmp(protocol, "tcp") == 0;
    luaL_argcheck(L, is_tcp || strcmp(protocol, "udp") == 0, 1,
                  "option 'protocol': tcp or udp expected");
    check_nonce(L, request->map.nonce);
    request->map.protocol = is_tcp ? IPPROTO_TCP : IPPROTO_UDP;
    request->map.internal_port = (uint16_t)opt_port(L, 1, "internal_port", 0);
    check_address(L, "external_ip", opt_string(L, 1, "external_ip", any),
                  opt_port(L, 1, "external_port", 0), &request->map.external);
}

/***
A request.
@function encode
@tparam table options opcode ("announce" or "map"), client (our address), lifetime (seconds, 0:
 removes a mapping); for a mapping nonce (12 bytes), protocol ("tcp", "udp"), internal_port, and as
 suggestions external_port and external_ip
@treturn string
@raise for what does not fit together
*/
static int l_encode(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    struct pcp_request request = {.lifetime = check_lifetime(L)};
    const char *opcode = opt_string(L, 1, "opcode", "announce");
    if (strcmp(opcode, "map") == 0)
        request.opcode = PCP_MAP;
    else
        luaL_argcheck(L, strcmp(opcode, "announce") == 0, 1,
                      "option 'opcode': announce or map expected");
    check_address(L, "client", opt_string(L, 1, "client", ""), 0, &request.client);
    if (request.opcode == PCP_MAP)
        check_map(L, &request);
    uint8_t data[PCP_MESSAGE_MAX];
    ssize_t n = pcp_encode(&request, data, sizeof data);
    if (n < 0)
        return luaL_error(L, "option 'external_ip': not of the client's family");
    lua_pushlstring(L, (const char *)data, (size_t)n);
    return 1;
}

static void set_map(lua_State *L, const struct pcp_map *map) {
    char text[INET_TEXT_MAX];
    lua_pushlstring(L, (const char *)map->nonce, PCP_NONCE_SIZE);
    lua_setfield(L, -2, "nonce");
    set_integer(L, "protocol", map->protocol);
    set_integer(L, "internal_port", map->internal_port);
    set_integer(L, "external_port", inet_port(&map->external));
    set_string(L, "external_ip", inet_ip(&map->external, text));
}

/***
Reads a response.
@function decode
@tparam string data
@treturn[1] table opcode, result (0: success), result_name, lifetime, epoch (seconds); of a mapping
 nonce, protocol (6: TCP), internal_port, external_ip, external_port
@treturn[2] nil
@treturn[2] string what is wrong with it
@treturn[2] string "EBADMSG", or "EPROTONOSUPPORT" when it speaks another version, as NAT-PMP does
*/
static int l_decode(lua_State *L) {
    size_t len;
    const char *data = luaL_checklstring(L, 1, &len);
    struct pcp_response response;
    int err = pcp_decode(&response, data, len);
    if (err)
        return push_failure(L, strerrorname_np(-err), "%s", response.reason);
    const char *name = pcp_result_name(response.result);
    lua_createtable(L, 0, 12);
    set_string(L, "opcode", OPCODES[response.opcode]);
    set_integer(L, "result", response.result);
    if (name)
        lua_pushstring(L, name);
    else
        lua_pushfstring(L, "result %d", response.result);
    lua_setfield(L, -2, "result_name");
    set_integer(L, "lifetime", response.lifetime);
    set_integer(L, "epoch", response.epoch);
    if (response.has_map)
        set_map(L, &response.map);
    return 1;
}

static uint32_t check_epoch(lua_State *L, int arg) {
    lua_Integer epoch = luaL_checkinteger(L, arg);
    luaL_argcheck(L, epoch >= 0 && epoch <= UINT32_MAX, arg, "an epoch expected");
    return (uint32_t)epoch;
}

/***
Whether a server has kept its mappings between two of its epochs (RFC 6887 section 8.5).
@function is_same_epoch
@tparam integer before
@tparam number before_at when that came, on the monotonic clock
@tparam integer now
@tparam number now_at
@treturn boolean
*/
static int l_is_same_epoch(lua_State *L) {
    lua_pushboolean(L, pcp_is_same_epoch(check_epoch(L, 1), luaL_checknumber(L, 2),
                                         check_epoch(L, 3), luaL_checknumber(L, 4)));
    return 1;
}

static const luaL_Reg FUNCTIONS[] = {
    {"encode", l_encode}, {"decode", l_decode}, {"is_same_epoch", l_is_same_epoch}, {NULL, NULL}};

int bind_pcp(lua_State *L) {
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
