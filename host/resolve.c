/*
 * Host names to addresses. getaddrinfo() cannot be interrupted, so a lookup that nobody wants any
 * more is left to its thread and freed when it comes back. Only the loop thread frees, and only it
 * looks at `state`: that needs no lock. While the thread works it alone touches the results.
 */
#include "host/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "host/nat64.h"
#include "host/worker.h"

enum state { RUNNING, DONE, ABANDONED };

struct resolve {
    enum state state;
    int family;
    void (*on_done)(void *owner);
    void *owner;
    struct inet_addr literal; /* an IPv4 address whose NAT64 is to be found first; else of len 0 */
    int error, count;         /* error: 0 or -errno */
    const char *message;
    struct inet_addr *addrs;
    char host[RESOLVE_NAME_MAX + 1];
};

static int eai_to_errno(int err) {
    switch (err) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return -ENOENT;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_MEMORY:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

static void set_error(struct resolve *r, int err, const char *message) {
    r->error = err;
    r->message = message;
}

/* Who asks for either family gets what can be reached; who asks for IPv6 is not told of addresses
 * that lead to IPv4 (RFC 6147). */
static bool fit_family(const struct resolve *r, struct inet_addr *addr) {
    struct inet_addr other;
    if (r->family == AF_UNSPEC && nat64_stands_for(addr, &other))
        *addr = other;
    other = *addr;
    return r->family != AF_INET6 || !nat64_translate_back(&other);
}

static void add(struct resolve *r, const struct sockaddr *found, socklen_t len) {
    struct inet_addr *addr = &r->addrs[r->count];
    if (len > sizeof addr->v6)
        return;
    addr->len = len;
    memcpy(&addr->any, found, len);
    if (!fit_family(r, addr))
        return;
    for (int i = 0; i < r->count; i++)
        if (inet_equal(&r->addrs[i], addr))
            return;
    r->count++;
}

/* The first IPv4 address that can't be reached without NAT64, unless there is IPv6 besides. */
static bool needs_nat64(const struct resolve *r, const struct addrinfo *list) {
    bool wanted = false;
    for (const struct addrinfo *info = list; info; info = info->ai_next) {
        struct inet_addr addr = {.len = info->ai_addrlen};
        if (info->ai_family == AF_INET6 && r->family == AF_UNSPEC)
            return false;
        if (info->ai_family != AF_INET || wanted)
            continue;
        memcpy(&addr.any, info->ai_addr, info->ai_addrlen);
        wanted = nat64_is_wanted(&addr);
    }
    return wanted;
}

static void take_results(struct resolve *r, const struct addrinfo *list) {
    size_t n = 0;
    if (needs_nat64(r, list))
        nat64_discover();
    for (const struct addrinfo *info = list; info; info = info->ai_next)
        n++;
    r->addrs = calloc(n, sizeof *r->addrs);
    if (!r->addrs) {
        set_error(r, -ENOMEM, strerror(ENOMEM));
        return;
    }
    for (const struct addrinfo *info = list; info; info = info->ai_next)
        add(r, info->ai_addr, info->ai_addrlen);
    if (r->count == 0)
        set_error(r, -ENOENT, gai_strerror(EAI_ADDRFAMILY));
}

static void take_literal(struct resolve *r, const struct inet_addr *addr) {
    r->addrs = malloc(sizeof *r->addrs);
    if (r->addrs)
        add(r, &addr->any, addr->len);
    else
        set_error(r, -ENOMEM, strerror(ENOMEM));
}

static void look_up_name(struct resolve *r) {
    struct addrinfo hints = {.ai_family = r->family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int err = getaddrinfo(r->host, NULL, &hints, &list);
    if (err == EAI_SYSTEM)
        set_error(r, -errno, strerrordesc_np(errno));
    else if (err)
        set_error(r, eai_to_errno(err), gai_strerror(err));
    else
        take_results(r, list);
    if (list)
        freeaddrinfo(list);
}

/* On a worker thread. */
static void look_up(void *arg) {
    struct resolve *r = arg;
    if (!r->literal.len) {
        look_up_name(r);
        return;
    }
    nat64_discover();
    take_literal(r, &r->literal);
}

static void destroy(struct resolve *r) {
    free(r->addrs);
    free(r);
}

static void deliver(void *arg) {
    struct resolve *r = arg;
    if (r->state == ABANDONED) {
        destroy(r);
        return;
    }
    r->state = DONE;
    r->on_done(r->owner);
}

/* True when the host is an address, and no more is to be known; of the wrong family it is a name
 * that does not exist. */
static bool answer_numeric(struct resolve *r) {
    struct inet_addr addr;
    if (inet_parse(&addr, r->host, 0) < 0)
        return false;
    bool fits = r->family == AF_UNSPEC || r->family == addr.any.sa_family;
    if (fits && nat64_is_wanted(&addr)) {
        r->literal = addr;
        return false;
    }
    r->state = DONE;
    if (fits)
        take_literal(r, &addr);
    else
        set_error(r, -ENOENT, gai_strerror(EAI_ADDRFAMILY));
    return true;
}

static struct resolve *new_lookup(const char *host, int family) {
    size_t len = strlen(host);
    if (len == 0 || len > RESOLVE_NAME_MAX) {
        errno = len ? ENAMETOOLONG : EINVAL;
        return NULL;
    }
    struct resolve *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->family = family;
    memcpy(r->host, host, len + 1);
    return r;
}

struct resolve *resolve_start(const char *host, int family, void (*on_done)(void *owner),
                              void *owner) {
    struct resolve *r = new_lookup(host, family);
    if (!r || answer_numeric(r))
        return r;
    r->on_done = on_done;
    r->owner = owner;
    int err = worker_submit(look_up, deliver, r);
    if (err == 0)
        return r;
    destroy(r);
    errno = -err;
    return NULL;
}

bool resolve_is_done(const struct resolve *r) {
    return r->state == DONE;
}

int resolve_count(const struct resolve *r) {
    return r->error ? r->error : r->count;
}

const struct inet_addr *resolve_address(const struct resolve *r, int i) {
    return &r->addrs[i];
}

const char *resolve_message(const struct resolve *r) {
    return r->message;
}

void resolve_free(struct resolve *r) {
    if (!r)
        return;
    if (r->state == RUNNING)
        r->state = ABANDONED;
    else
        destroy(r);
}
