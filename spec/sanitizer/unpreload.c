/* Preloaded after a sanitizer's library: what this process starts is to be without it. dash, for
 * one, does not live with ThreadSanitizer, because it calls vfork(). */
#include <stdlib.h>

__attribute__((constructor)) static void unpreload(void) {
    unsetenv("LD_PRELOAD");
}
