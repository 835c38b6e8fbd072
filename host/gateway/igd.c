#include "host/gateway/igd.h"

#include <dlfcn.h>
#include <errno.h>
#include <miniupnpc/igd_desc_parse.h>
#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnpreplyparse.h>
#include <stdlib.h>
#include <string.h>

/* The library's soname has the version of the interface that its headers describe. */
#define TEXT_OF(x) #x
#define SONAME(version) "libminiupnpc.so." TEXT_OF(version)
#define LIBRARY SONAME(MINIUPNPC_API_VERSION)

static void copy(char to[IGD_TEXT_MAX], const char from[MINIUPNPC_URL_MAXSIZE]) {
    size_t len = strnlen(from, IGD_TEXT_MAX - 1);
    memcpy(to, from, len);
    to[len] = '\0';
}

static void copy_service(struct igd_service *to, const struct IGDdatas_service *from) {
    copy(to->type, from->servicetype);
    copy(to->control, from->controlurl);
}

/* ISO C has no cast from an object's pointer to a function's. */
static int find(void *handle, const char *name, void *function) {
    void *symbol = dlsym(handle, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol ? 0 : -ELIBACC;
}

static int open_library(void **handle, size_t len) {
    if (len > IGD_DOCUMENT_MAX)
        return -EMSGSIZE;
    *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    return *handle ? 0 : -ELIBACC;
}

int igd_parse_description(struct igd_description *d, const char *text, size_t len) {
    void *handle;
    __typeof__(&parserootdesc) parse;
    *d = (struct igd_description){0};
    int err = open_library(&handle, len);
    if (err)
        return err;
    struct IGDdatas *found = calloc(1, sizeof *found);
    err = found ? find(handle, "parserootdesc", &parse) : -ENOMEM;
    if (!err) {
        parse(text, (int)len, found);
        copy(d->url_base, found->urlbase);
        copy_service(&d->first, &found->first);
        copy_service(&d->second, &found->second);
        copy_service(&d->firewall, &found->IPv6FC);
    }
    free(found);
    dlclose(handle);
    return err;
}

static void take_values(struct igd_reply *r, const struct NameValueParserData *parsed) {
    for (const struct NameValue *v = parsed->l_head; v && r->count < IGD_VALUES_MAX;
         v = v->l_next) {
        size_t name = strnlen(v->name, IGD_NAME_MAX - 1),
               value = strnlen(v->value, IGD_TEXT_MAX - 1);
        memcpy(r->values[r->count].name, v->name, name);
        memcpy(r->values[r->count].value, v->value, value);
        r->count++;
    }
}

int igd_parse_reply(struct igd_reply *r, const char *text, size_t len) {
    void *handle;
    __typeof__(&ParseNameValue) parse;
    __typeof__(&ClearNameValueList) clear;
    *r = (struct igd_reply){0};
    int err = open_library(&handle, len);
    if (err)
        return err;
    err = find(handle, "ParseNameValue", &parse);
    if (!err)
        err = find(handle, "ClearNameValueList", &clear);
    if (!err) {
        struct NameValueParserData parsed = {0};
        parse(text, (int)len, &parsed);
        take_values(r, &parsed);
        clear(&parsed);
    }
    dlclose(handle);
    return err;
}
