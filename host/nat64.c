#include "host/nat64.h"

#include <netdb.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NAME "ipv4only.arpa" /* RFC 7050 §3: has the IPv4 addresses 192.0.0.170 and .171 alone */
#define RESERVED_OCTET 8     /* RFC 6052 §2.2: zero, unless the prefix has 96 bits */
#define ANY_PORT 9           /* of a socket that only asks the kernel for its route */

static const int LENGTHS[] = {96, 64, 56, 48, 40, 32};

/* -- the codec ----------------------------------------------------------------------------- */

/* Where the i-th octet of the IPv4 address is. */
static int place_of(int bits, int i) {
    int at = bits / 8 + i;
    return bits < 96 && at >= RESERVED_OCTET ? at + 1 : at;
}

void nat64_embed(const struct nat64_prefix *prefix, const struct inet_addr *v4,
                 struct inet_addr *v6) {
    const uint8_t *from = (const uint8_t *)&v4->v4.sin_addr;
    struct sockaddr_in6 made = {.sin6_family = AF_INET6, .sin6_port = v4->v4.sin_port};
    memcpy(made.sin6_addr.s6_addr, prefix->ip.s6_addr, (size_t)prefix->bits / 8);
    for (int i = 0; i < 4; i++)
        made.sin6_addr.s6_addr[place_of(prefix->bits, i)] = from[i];
    v6->len = sizeof made;
    v6->v6 = made;
}

static void take_octets(const struct in6_addr *ip, int bits, uint8_t octets[4]) {
    for (int i = 0; i < 4; i++)
        octets[i] = ip->s6_addr[place_of(bits, i)];
}

bool nat64_extract(const struct nat64_prefix *prefix, const struct inet_addr *v6,
                   struct inet_addr *v4) {
    const struct in6_addr ip = v6->v6.sin6_addr;
    if (v6->any.sa_family != AF_INET6 ||
        memcmp(ip.s6_addr, prefix->ip.s6_addr, (size_t)prefix->bits / 8) != 0 ||
        (prefix->bits < 96 && ip.s6_addr[RESERVED_OCTET]))
        return false;
    struct sockaddr_in found = {.sin_family = AF_INET, .sin_port = v6->v6.sin6_port};
    take_octets(&ip, prefix->bits, (uint8_t *)&found.sin_addr);
    v4->len = sizeof found;
    v4->v4 = found;
    return true;
}

static bool is_well_known(const uint8_t octets[4]) {
    static const uint8_t FIRST[] = {192, 0, 0};
    return memcmp(octets, FIRST, sizeof FIRST) == 0 && (octets[3] == 170 || octets[3] == 171);
}

bool nat64_find(const struct inet_addr *made, struct nat64_prefix *prefix) {
    if (made->any.sa_family != AF_INET6)
        return false;
    const struct in6_addr *ip = &made->v6.sin6_addr;
    for (size_t i = 0; i < sizeof LENGTHS / sizeof *LENGTHS; i++) {
        int bits = LENGTHS[i];
        uint8_t octets[4];
        take_octets(ip, bits, octets);
        if (!is_well_known(octets) || (bits < 96 && ip->s6_addr[RESERVED_OCTET]))
            continue;
        *prefix = (struct nat64_prefix){.bits = bits};
        memcpy(prefix->ip.s6_addr, ip->s6_addr, (size_t)bits / 8);
        return true;
    }
    return false;
}

/* -- the network's prefix ------------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;   /* of what follows */
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER; /* held while the resolver is asked */
static struct {
    bool there;
    time_t until; /* monotonic seconds: for so long that is believed */
    struct nat64_prefix prefix;
} network;

static time_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static void believe(const struct nat64_prefix *prefix, time_t seconds) {
    pthread_mutex_lock(&lock);
    network.there = prefix != NULL;
    network.until = now() + seconds;
    if (prefix)
        network.prefix = *prefix;
    pthread_mutex_unlock(&lock);
}

void nat64_use(const struct nat64_prefix *prefix) {
    believe(prefix, NAT64_KEEP_S);
}

void nat64_forget(void) {
    believe(NULL, 0);
}

bool nat64_prefix(struct nat64_prefix *prefix) {
    pthread_mutex_lock(&lock);
    bool there = network.there;
    *prefix = network.prefix;
    pthread_mutex_unlock(&lock);
    return there;
}

static bool is_fresh(void) {
    pthread_mutex_lock(&lock);
    bool fresh = now() < network.until;
    pthread_mutex_unlock(&lock);
    return fresh;
}

static bool has_route(const struct inet_addr *to) {
    struct inet_addr target = *to;
    inet_set_port(&target, ANY_PORT);
    int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool found = fd >= 0 && connect(fd, &target.any, target.len) == 0;
    if (fd >= 0)
        close(fd);
    return found;
}

/* Inner addresses are nobody's beyond the NAT64 (RFC 6052 §3.1). */
static bool is_outside(const struct inet_addr *addr) {
    return addr->any.sa_family == AF_INET && inet_classify(addr) == INET_GLOBAL;
}

bool nat64_is_wanted(const struct inet_addr *v4) {
    return is_outside(v4) && !is_fresh() && !has_route(v4);
}

static bool find_in(const struct addrinfo *list, struct nat64_prefix *prefix) {
    for (; list; list = list->ai_next) {
        struct inet_addr made = {.len = sizeof made.v6};
        memcpy(&made.any, list->ai_addr, sizeof made.v6);
        if (nat64_find(&made, prefix))
            return true;
    }
    return false;
}

/* A resolver that is out of reach for a while takes nothing back. */
static void ask(void) {
    struct addrinfo hints = {.ai_family = AF_INET6, .ai_socktype = SOCK_STREAM}, *list = NULL;
    struct nat64_prefix prefix;
    int err = getaddrinfo(NAME, NULL, &hints, &list);
    if (err == EAI_NONAME || err == EAI_NODATA)
        nat64_use(NULL);
    else if (err)
        believe(nat64_prefix(&prefix) ? &prefix : NULL, NAT64_RETRY_S);
    else
        nat64_use(find_in(list, &prefix) ? &prefix : NULL);
    if (!err)
        freeaddrinfo(list);
}

void nat64_discover(void) {
    pthread_mutex_lock(&asking);
    if (!is_fresh())
        ask();
    pthread_mutex_unlock(&asking);
}

bool nat64_stands_for(const struct inet_addr *v4, struct inet_addr *v6) {
    struct nat64_prefix prefix;
    if (!is_outside(v4) || !nat64_prefix(&prefix) || has_route(v4))
        return false;
    nat64_embed(&prefix, v4, v6);
    return true;
}

bool nat64_translate(struct inet_addr *addr, int family) {
    struct nat64_prefix prefix;
    if (family != AF_INET6 || !is_outside(addr) || !nat64_prefix(&prefix))
        return false;
    struct inet_addr v4 = *addr;
    nat64_embed(&prefix, &v4, addr);
    return true;
}

bool nat64_translate_back(struct inet_addr *addr) {
    struct nat64_prefix prefix;
    if (addr->any.sa_family != AF_INET6 || !nat64_prefix(&prefix))
        return false;
    struct inet_addr v6 = *addr;
    return nat64_extract(&prefix, &v6, addr);
}
