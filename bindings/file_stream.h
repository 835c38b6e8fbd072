/* The methods of a file that move its bytes to a stream, or from one. */
#ifndef P2PD_BINDINGS_FILE_STREAM_H
#define P2PD_BINDINGS_FILE_STREAM_H

#include <lua.h>

int file_m_give(lua_State *L);
int file_m_take(lua_State *L);

#endif
