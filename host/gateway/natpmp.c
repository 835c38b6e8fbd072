#include "host/gateway/natpmp.h"

#include <dlfcn.h>
#include <errno.h>
#include <natpmp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LIBRARY "libnatpmp.so.1"

struct library {
    void *handle;
    __typeof__(&initnatpmp) init;
    __typeof__(&closenatpmp) close;
    __typeof__(&sendpublicaddressrequest) ask_address;
    __typeof__(&sendnewportmappingrequest) ask_mapping;
    __typeof__(&getnatpmprequesttimeout) get_timeout;
    __typeof__(&readnatpmpresponseorretry) read;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(struct natpmp *n, int error, const char *message) {
    n->error = error;
    snprintf(n->message, sizeof n->message, "%s", message);
}

/* ISO C has no cast from an object's pointer to a function's. */
static bool find(void *handle, const char *name, void *function) {
    void *symbol = dlsym(handle, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static bool load(struct library *lib, struct natpmp *n) {
    lib->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!lib->handle) {
        fail(n, -ELIBACC, LIBRARY " is not installed");
        return false;
    }
    if (find(lib->handle, "initnatpmp", &lib->init) &&
        find(lib->handle, "closenatpmp", &lib->close) &&
        find(lib->handle, "sendpublicaddressrequest", &lib->ask_address) &&
        find(lib->handle, "sendnewportmappingrequest", &lib->ask_mapping) &&
        find(lib->handle, "getnatpmprequesttimeout", &lib->get_timeout) &&
        find(lib->handle, "readnatpmpresponseorretry", &lib->read))
        return true;
    fail(n, -ELIBACC, LIBRARY " lacks a function");
    dlclose(lib->handle);
    return false;
}

static const struct {
    int result, error;
    const char *message;
} RESULTS[] = {
    {NATPMP_ERR_NOGATEWAYSUPPORT, -ECONNREFUSED, "the gateway speaks no NAT-PMP"},
    {NATPMP_ERR_UNSUPPORTEDVERSION, -EPROTONOSUPPORT, "unsupported version"},
    {NATPMP_ERR_NOTAUTHORIZED, -EACCES, "not authorized"},
    {NATPMP_ERR_NETWORKFAILURE, -ENETDOWN, "network failure (the gateway has no address)"},
    {NATPMP_ERR_OUTOFRESOURCES, -ENOSPC, "out of resources"},
    {NATPMP_ERR_UNSUPPORTEDOPCODE, -EOPNOTSUPP, "unsupported opcode"},
};

static void fail_by_result(struct natpmp *n, int result) {
    for (size_t i = 0; i < sizeof RESULTS / sizeof *RESULTS; i++)
        if (RESULTS[i].result == result) {
            fail(n, RESULTS[i].error, RESULTS[i].message);
            return;
        }
    char message[40];
    snprintf(message, sizeof message, "error %d of libnatpmp", result);
    fail(n, -EIO, message);
}

/* Waits until the library may read or send again; false once the time is up. */
static bool wait_turn(const struct library *lib, natpmp_t *p, double until) {
    struct timeval next = {0};
    lib->get_timeout(p, &next);
    double left = until - now();
    double wait = (double)next.tv_sec + (double)next.tv_usec / 1e6;
    if (left <= 0)
        return false;
    if (wait < 0 || wait > left)
        wait = left;
    struct pollfd fd = {.fd = p->s, .events = POLLIN};
    poll(&fd, 1, (int)(wait * 1000) + 1);
    return true;
}

/* The library reads fields without a look at the length: a datagram that is too short for them
 * (RFC 6886 §3.2, §3.3) is thrown away before. False when nobody listens at the gateway. */
static bool drop_short(const natpmp_t *p, const struct natpmp *n) {
    unsigned char data[16];
    for (;;) {
        ssize_t len = recv(p->s, data, sizeof data, MSG_PEEK | MSG_DONTWAIT);
        if (len < 0)
            return errno != ECONNREFUSED;
        bool refuses = len >= 8 && (data[2] || data[3]);
        if (refuses || len >= (n->map ? 16 : 12))
            return true;
        recv(p->s, data, sizeof data, MSG_DONTWAIT);
    }
}

static bool is_answer(const struct natpmp *n, const natpmpresp_t *r) {
    if (!n->map)
        return r->type == NATPMP_RESPTYPE_PUBLICADDRESS;
    return r->type == NATPMP_RESPTYPE_TCPPORTMAPPING &&
           r->pnu.newportmapping.privateport == n->internal;
}

static void take(struct natpmp *n, const natpmpresp_t *r) {
    n->epoch = r->epoch;
    if (!n->map) {
        n->external = r->pnu.publicaddress.addr;
        return;
    }
    n->port = r->pnu.newportmapping.mappedpublicport;
    n->lifetime = r->pnu.newportmapping.lifetime;
}

static void await_answer(const struct library *lib, natpmp_t *p, struct natpmp *n, double until) {
    natpmpresp_t response;
    while (wait_turn(lib, p, until)) {
        int result = drop_short(p, n) ? lib->read(p, &response) : NATPMP_ERR_NOGATEWAYSUPPORT;
        if (result == NATPMP_TRYAGAIN)
            continue;
        if (result != 0)
            fail_by_result(n, result);
        else if (is_answer(n, &response))
            take(n, &response);
        else
            fail(n, -EBADMSG, "an answer to another question");
        return;
    }
    fail(n, -ETIMEDOUT, "no answer");
}

static void converse(const struct library *lib, struct natpmp *n) {
    natpmp_t p = {.s = -1};
    double until = now() + n->timeout;
    int result = lib->init(&p, 1, n->gateway.s_addr);
    if (result != 0) {
        fail_by_result(n, result);
        return;
    }
    result = n->map ? lib->ask_mapping(&p, NATPMP_PROTOCOL_TCP, n->internal, n->port, n->lifetime)
                    : lib->ask_address(&p);
    if (result < 0 && result != NATPMP_TRYAGAIN)
        fail_by_result(n, result);
    else
        await_answer(lib, &p, n, until);
    lib->close(&p);
}

void natpmp_ask(struct natpmp *n) {
    struct library lib;
    n->error = 0;
    n->message[0] = '\0';
    if (!load(&lib, n))
        return;
    converse(&lib, n);
    dlclose(lib.handle);
}
