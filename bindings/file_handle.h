/* The userdata of a file (host/file.h), for its methods. */
#ifndef P2PD_BINDINGS_FILE_HANDLE_H
#define P2PD_BINDINGS_FILE_HANDLE_H

#include <lua.h>

#include "bindings/scheduler.h"
#include "host/file.h"

#define FILE_CLASS "p2pd.file"

struct lua_file {
    struct file *file; /* NULL: closed */
    struct waitlist waiters;
};

/* The open file at arg; raises when there is another value or a closed one. */
struct lua_file *check_file(lua_State *L, int arg);

/* Pushes nil, message, code; returns 3: it was closed while a task waited for it. */
int push_file_closed(lua_State *L);

/* A kind, and the length with its highest byte first: FILE_FRAME_HEADER bytes. */
void write_frame_header(uint8_t *to, const char *kind, size_t len);

#endif
