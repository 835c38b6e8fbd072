/* A set of authorities takes a megabyte and tens of milliseconds to read, so the clients of a
 * process share it; it is read again when its file has changed. */
#include "host/mqtt/authority.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct authority {
    struct authority *next;
    struct tls_context *context;
    struct timespec modified;
    char ca[]; /* "": the system's */
};

static struct authority *list;

static struct authority *find(const char *ca) {
    for (struct authority *a = list; a; a = a->next)
        if (strcmp(a->ca, ca) == 0)
            return a;
    struct authority *a = calloc(1, sizeof *a + strlen(ca) + 1);
    if (!a)
        abort();
    strcpy(a->ca, ca);
    a->next = list;
    return list = a;
}

static struct timespec modified(const char *ca) {
    struct stat st = {0};
    if (ca)
        stat(ca, &st);
    return st.st_mtim;
}

struct tls_context *mqtt_authority(const char *ca) {
    struct authority *a = find(ca ? ca : "");
    struct timespec now = modified(ca);
    if (a->context && now.tv_sec == a->modified.tv_sec && now.tv_nsec == a->modified.tv_nsec)
        return tls_context_ref(a->context);
    tls_context_unref(a->context);
    a->context = tls_context_trusting(ca);
    a->modified = now;
    return a->context ? tls_context_ref(a->context) : NULL;
}
