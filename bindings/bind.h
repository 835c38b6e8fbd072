/* What every binding needs: errors, classes, options and fields, the names of p2pd.core's parts. */
#ifndef P2PD_BINDINGS_BIND_H
#define P2PD_BINDINGS_BIND_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

/* Pushes nil, "TEXT: strerror(err)", "ECODE" for an errno (either sign); returns 3. */
int push_error(lua_State *L, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Pushes nil, text, code as they are; returns 3. */
int push_failure(lua_State *L, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Makes the metatable `name` with methods (in __index) and metamethods; __name is set. Pushes
 * nothing. */
void bind_class(lua_State *L, const char *name, const luaL_Reg *methods, const luaL_Reg *meta);

/* Sets a field of the table on top: the methods of a class, to which Lua may add its own. */
void set_methods(lua_State *L, const char *field, const char *name);

/* Pushes a zeroed userdata of that class. From here __gc owns it: it must be valid while zeroed. */
void *bind_new(lua_State *L, const char *name, size_t size);

/* The fields of an options table at index `t` (0 or nil there: as if empty); they raise, naming the
 * field, when it has another type or, for a port, is not 0 to 65535. Strings live as long as the
 * table. */
const char *opt_string(lua_State *L, int t, const char *field, const char *otherwise);
lua_Integer opt_integer(lua_State *L, int t, const char *field, lua_Integer otherwise);
lua_Number opt_number(lua_State *L, int t, const char *field, lua_Number otherwise);
bool opt_boolean(lua_State *L, int t, const char *field, bool otherwise);
int opt_port(lua_State *L, int t, const char *field, int otherwise);

/* Each sets a field of the table on top; a string that is NULL is none. */
void set_string(lua_State *L, const char *field, const char *value);
void set_integer(lua_State *L, const char *field, lua_Integer value);
void set_number(lua_State *L, const char *field, lua_Number value);
void set_boolean(lua_State *L, const char *field, bool value);

/* Live userdata of all classes made by bind_new() and not yet collected, for leak checks. */
int bind_live(lua_State *L);

/* Each pushes its part of p2pd.core. */
int bind_task(lua_State *L);
int bind_clock(lua_State *L);
int bind_log(lua_State *L);
int bind_random(lua_State *L);
int bind_stream(lua_State *L);
int bind_simplex_pair(lua_State *L);
int bind_tcp(lua_State *L);
int bind_tls(lua_State *L);
int bind_inet(lua_State *L);
int bind_keys(lua_State *L);
int bind_keylock(lua_State *L);
int bind_memory(lua_State *L);
int bind_spake2(lua_State *L);
int bind_netif(lua_State *L);
int bind_mqtt(lua_State *L);
int bind_folder(lua_State *L);
int bind_process(lua_State *L);
int bind_editline(lua_State *L);
int bind_udp(lua_State *L);
int bind_datagrams(lua_State *L);
int bind_stun(lua_State *L);
int bind_turn(lua_State *L);
int bind_punch(lua_State *L);
int bind_ntp(lua_State *L);
int bind_nat64(lua_State *L);
int bind_pcp(lua_State *L);
int bind_gateway(lua_State *L);
int bind_reliable(lua_State *L);
int bind_session(lua_State *L);
int bind_splice(lua_State *L);
int bind_private_file(lua_State *L);
int bind_mux(lua_State *L);
int bind_http(lua_State *L);
int bind_websocket(lua_State *L);
int bind_pattern(lua_State *L);
int bind_qr(lua_State *L);

#endif
