#include "host/editline/library.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define LIBRARY "libedit.so.2"

static const struct {
    const char *name;
    size_t offset;
} FUNCTIONS[] = {
#define FUNCTION(field, symbol)                                                                    \
    { symbol, offsetof(struct editline_library, field) }
    FUNCTION(init, "el_init"),
    FUNCTION(end, "el_end"),
    FUNCTION(set, "el_set"),
    FUNCTION(wset, "el_wset"),
    FUNCTION(get, "el_get"),
    FUNCTION(gets, "el_gets"),
    FUNCTION(line, "el_line"),
    FUNCTION(wline, "el_wline"),
    FUNCTION(cursor, "el_cursor"),
    FUNCTION(insertstr, "el_insertstr"),
    FUNCTION(deletestr, "el_deletestr"),
    FUNCTION(resize, "el_resize"),
    FUNCTION(source, "el_source"),
    FUNCTION(history, "history"),
    FUNCTION(history_init, "history_init"),
    FUNCTION(history_end, "history_end"),
#undef FUNCTION
};

/* ISO C has no cast from an object's pointer to a function's. */
static bool find_all(void *handle, struct editline_library *library) {
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++) {
        void *symbol = dlsym(handle, FUNCTIONS[i].name);
        if (!symbol)
            return false;
        memcpy((char *)library + FUNCTIONS[i].offset, &symbol, sizeof symbol);
    }
    return true;
}

const struct editline_library *editline_library(void) {
    static struct editline_library library;
    static bool loaded;
    if (loaded)
        return &library;
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    loaded = handle && find_all(handle, &library);
    return loaded ? &library : NULL;
}
