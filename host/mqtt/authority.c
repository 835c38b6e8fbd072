/* A set of authorities takes a megabyte and tens of milliseconds to read, so the clients of a
 * process share it; it is read again when its file has changed. */
#include "host/mqtt/authority.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct authority {
    struct authority *next;
    struct tls_context *context;
    struct timespec modified[3];
    const char *paths[3]; /* authorities (NULL: the system's), certificate and key (NULL: none) */
};

static struct authority *list;

static bool is_same(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static struct authority *find(const char *const paths[3]) {
    for (struct authority *a = list; a; a = a->next)
        if (is_same(a->paths[0], paths[0]) && is_same(a->paths[1], paths[1]) &&
            is_same(a->paths[2], paths[2]))
            return a;
    struct authority *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    for (int i = 0; i < 3; i++)
        a->paths[i] = paths[i] ? strdup(paths[i]) : NULL;
    a->next = list;
    return list = a;
}

static struct timespec modified(const char *path) {
    struct stat st = {0};
    if (path)
        stat(path, &st);
    return st.st_mtim;
}

/* Whether a file has changed since the last call. */
static bool has_changed(struct authority *a) {
    bool changed = false;
    for (int i = 0; i < 3; i++) {
        struct timespec now = modified(a->paths[i]), then = a->modified[i];
        changed = changed || now.tv_sec != then.tv_sec || now.tv_nsec != then.tv_nsec;
        a->modified[i] = now;
    }
    return changed;
}

struct tls_context *mqtt_authority(const char *ca, const char *cert, const char *key,
                                   const char **why) {
    struct authority *a = find((const char *const[]){ca, cert, key});
    bool changed = has_changed(a);
    if (a->context && !changed)
        return tls_context_ref(a->context);
    tls_context_unref(a->context);
    a->context = tls_context_trusting(ca);
    *why = "no certificates of authorities can be read";
    if (a->context && cert && !tls_context_identify(a->context, cert, key ? key : cert)) {
        *why = "our certificate and its key cannot be read, or do not belong together";
        tls_context_unref(a->context);
        a->context = NULL;
    }
    return a->context ? tls_context_ref(a->context) : NULL;
}
