#include "host/qr.h"

#include <dlfcn.h>
#include <errno.h>
#include <qrencode.h>
#include <stdbool.h>
#include <string.h>

#define LIBRARY "libqrencode.so.4"
#define DARK 1 /* the lowest bit of a module; the others tell what part it is of */

static struct {
    __typeof__(&QRcode_encodeData) encode;
    __typeof__(&QRcode_free) free;
} library;

/* ISO C has no cast from an object's pointer to a function's. */
static bool find(void *handle, const char *name, void *function) {
    void *symbol = dlsym(handle, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static bool is_loaded(void) {
    static bool tried, loaded;
    if (!tried) {
        void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
        loaded = handle && find(handle, "QRcode_encodeData", &library.encode) &&
                 find(handle, "QRcode_free", &library.free);
    }
    tried = true;
    return loaded;
}

int qr_encode(const char *text, size_t len, unsigned char modules[QR_SIZE_MAX * QR_SIZE_MAX]) {
    if (len == 0)
        return -EINVAL;
    if (len > QR_TEXT_MAX)
        return -E2BIG;
    if (!is_loaded())
        return -ELIBACC;
    QRcode *code = library.encode((int)len, (const unsigned char *)text, 0, QR_ECLEVEL_M);
    if (!code)
        return errno == ERANGE ? -E2BIG : -ENOMEM;
    int size = code->width;
    for (int i = 0; i < size * size; i++)
        modules[i] = code->data[i] & DARK;
    library.free(code);
    return size;
}
