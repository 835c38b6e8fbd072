/* The method of a stream that writes. */
#ifndef P2PD_BINDINGS_STREAM_WRITE_H
#define P2PD_BINDINGS_STREAM_WRITE_H

#include <lua.h>

int stream_m_write(lua_State *L);

#endif
