/* The methods of a stream that read. */
#ifndef P2PD_BINDINGS_STREAM_READ_H
#define P2PD_BINDINGS_STREAM_READ_H

#include <lua.h>

int stream_m_read(lua_State *L);
int stream_m_peek(lua_State *L);
int stream_m_recv(lua_State *L);

#endif
