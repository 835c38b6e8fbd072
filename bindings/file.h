/* The class of files that a folder opens. */
#ifndef P2PD_BINDINGS_FILE_H
#define P2PD_BINDINGS_FILE_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

/* Once for each Lua state. */
void bind_file(lua_State *L);

/* Takes the descriptor over and pushes a file; or nil, message, code. Returns how many values. */
int push_file(lua_State *L, int fd, bool writes, int64_t size);

#endif
