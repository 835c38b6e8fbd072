#include "host/http/library.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

static struct http_library library;

static bool load(void) {
    void *handle = dlopen(HTTP_LIBRARY, RTLD_LAZY | RTLD_LOCAL);
    bool complete = handle != NULL;
    void *symbol;
/* ISO C has no cast from an object's pointer to a function's. */
#define X(name)                                                                                    \
    symbol = complete ? dlsym(handle, #name) : NULL;                                               \
    complete = symbol != NULL;                                                                     \
    memcpy(&library.name, &symbol, sizeof symbol);
    HTTP_FUNCTIONS(X)
#undef X
    return complete;
}

const struct http_library *http_library(void) {
    static bool tried, loaded;
    if (!tried)
        loaded = load();
    tried = true;
    return loaded ? &library : NULL;
}
