#include "host/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <dlfcn.h>
#include <errno.h>
#include <pcre2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libpcre2-8.so.0"
#define HEAP_KIB_MAX 1024 /* of one match */

/* The library's functions by their names without the suffix of the width. */
#define FUNCTIONS(X)                                                                               \
    X(compile)                                                                                     \
    X(code_free)                                                                                   \
    X(match)                                                                                       \
    X(match_data_create)                                                                           \
    X(match_data_free)                                                                             \
    X(match_context_create)                                                                        \
    X(match_context_free)                                                                          \
    X(set_match_limit)                                                                             \
    X(set_depth_limit)                                                                             \
    X(set_heap_limit)                                                                              \
    X(get_error_message)

static struct {
#define X(name) __typeof__(&pcre2_##name##_8) name;
    FUNCTIONS(X)
#undef X
} library;

struct pattern {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static bool load(void) {
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL), *symbol;
    bool complete = handle != NULL;
/* ISO C has no cast from an object's pointer to a function's. */
#define X(name)                                                                                    \
    symbol = complete ? dlsym(handle, "pcre2_" #name "_8") : NULL;                                 \
    complete = symbol != NULL;                                                                     \
    memcpy(&library.name, &symbol, sizeof symbol);
    FUNCTIONS(X)
#undef X
    return complete;
}

static bool is_loaded(void) {
    static bool tried, loaded;
    if (!tried)
        loaded = load();
    tried = true;
    return loaded;
}

static int compile(struct pattern *p, const char *text, size_t len, char *error) {
    int code;
    PCRE2_SIZE at;
    unsigned char why[PATTERN_ERROR_MAX - 32] = "";
    p->code = library.compile((PCRE2_SPTR)text, len, PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    if (!p->code) {
        library.get_error_message(code, why, sizeof why);
        snprintf(error, PATTERN_ERROR_MAX, "%s (at %zu)", (char *)why, at);
        return -EINVAL;
    }
    p->data = library.match_data_create(1, NULL);
    p->context = library.match_context_create(NULL);
    if (!p->data || !p->context)
        return -ENOMEM;
    library.set_match_limit(p->context, PATTERN_STEPS_MAX);
    library.set_depth_limit(p->context, PATTERN_STEPS_MAX);
    library.set_heap_limit(p->context, HEAP_KIB_MAX);
    return 0;
}

int pattern_new(struct pattern **pattern, const char *text, size_t len,
                char error[PATTERN_ERROR_MAX]) {
    *error = '\0';
    if (!is_loaded())
        return -ELIBACC;
    if (len > PATTERN_MAX) {
        snprintf(error, PATTERN_ERROR_MAX, "longer than %d bytes", PATTERN_MAX);
        return -EINVAL;
    }
    struct pattern *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    int err = compile(p, text, len, error);
    if (err < 0) {
        pattern_free(p);
        return err;
    }
    *pattern = p;
    return 0;
}

void pattern_free(struct pattern *p) {
    library.match_context_free(p->context);
    library.match_data_free(p->data);
    library.code_free(p->code);
    free(p);
}

int pattern_find(struct pattern *p, const char *text, size_t len) {
    int result = library.match(p->code, (PCRE2_SPTR)text, len, 0, 0, p->data, p->context);
    if (result >= 0)
        return 1;
    return result == PCRE2_ERROR_NOMATCH ? 0 : -E2BIG;
}
