/*
 * Socket addresses: text to bytes and back, and what kind of address one is. Numbers only; names
 * are resolve.c's. The classes come from two tables of prefixes, searched in order, so that a range
 * and its exceptions stand side by side.
 */
#include "host/inet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const CLASS_NAMES[] = {
    [INET_UNSPECIFIED] = "unspecified", [INET_LOOPBACK] = "loopback",
    [INET_LINK_LOCAL] = "link-local",   [INET_PRIVATE] = "private",
    [INET_SHARED] = "shared",           [INET_MULTICAST] = "multicast",
    [INET_BROADCAST] = "broadcast",     [INET_RESERVED] = "reserved",
    [INET_GLOBAL] = "global",
};

struct range {
    uint8_t bytes[16];
    uint8_t bits;
    uint8_t class;
};

/* The IANA special-purpose registry (RFC 6890 and its updates), narrower ranges first. */
static const struct range RANGES4[] = {
    {{255, 255, 255, 255}, 32, INET_BROADCAST},
    {{0}, 8, INET_UNSPECIFIED},
    {{10}, 8, INET_PRIVATE},
    {{100, 64}, 10, INET_SHARED},
    {{127}, 8, INET_LOOPBACK},
    {{169, 254}, 16, INET_LINK_LOCAL},
    {{172, 16}, 12, INET_PRIVATE},
    {{192, 0, 0}, 24, INET_RESERVED},
    {{192, 0, 2}, 24, INET_RESERVED},
    {{192, 88, 99}, 24, INET_RESERVED},
    {{192, 168}, 16, INET_PRIVATE},
    {{198, 18}, 15, INET_RESERVED},
    {{198, 51, 100}, 24, INET_RESERVED},
    {{203, 0, 113}, 24, INET_RESERVED},
    {{224}, 4, INET_MULTICAST},
    {{240}, 4, INET_RESERVED},
    {{0}, 0, INET_GLOBAL},
};

static const struct range RANGES6[] = {
    {{0}, 128, INET_UNSPECIFIED},
    {{[15] = 1}, 128, INET_LOOPBACK},
    {{0x00, 0x64, 0xff, 0x9b}, 96, INET_GLOBAL}, /* NAT64, RFC 6052; that of RFC 8215 is local */
    {{0x20, 0x01, 0x00, 0x00}, 32, INET_GLOBAL}, /* Teredo, RFC 4380 */
    {{0x20, 0x01, 0x00, 0x20}, 28, INET_GLOBAL}, /* ORCHIDv2, RFC 7343 */
    {{0x20, 0x01, 0x00}, 23, INET_RESERVED},
    {{0x20, 0x01, 0x0d, 0xb8}, 32, INET_RESERVED},
    {{0x3f, 0xff, 0x00}, 20, INET_RESERVED}, /* documentation, RFC 9637 */
    {{0x20}, 3, INET_GLOBAL},
    {{0xfc}, 7, INET_PRIVATE},
    {{0xfe, 0x80}, 10, INET_LINK_LOCAL},
    {{0xff}, 8, INET_MULTICAST},
    {{0}, 0, INET_RESERVED},
};

static bool has_prefix(const uint8_t *bytes, const uint8_t *prefix, int bits) {
    int whole = bits / 8, rest = bits % 8;
    if (memcmp(bytes, prefix, (size_t)whole) != 0)
        return false;
    return rest == 0 || (bytes[whole] ^ prefix[whole]) >> (8 - rest) == 0;
}

static enum inet_class find_class(const struct range *r, const uint8_t *bytes) {
    while (!has_prefix(bytes, r->bytes, r->bits))
        r++;
    return r->class;
}

static const uint8_t *address_bytes(const struct inet_addr *addr) {
    return addr->any.sa_family == AF_INET6 ? addr->v6.sin6_addr.s6_addr
                                           : (const uint8_t *)&addr->v4.sin_addr;
}

static bool takes_scope(const struct in6_addr *ip) {
    return IN6_IS_ADDR_LINKLOCAL(ip) || IN6_IS_ADDR_MC_LINKLOCAL(ip);
}

/* An interface's name or its number, or 0. */
static unsigned parse_scope(const char *text) {
    unsigned index = if_nametoindex(text);
    if (index || *text < '0' || *text > '9')
        return index;
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    return *end || errno || number > UINT_MAX ? 0 : (unsigned)number;
}

static int parse_v6(struct inet_addr *addr, const char *ip) {
    char digits[INET6_ADDRSTRLEN];
    size_t len = strcspn(ip, "%");
    if (len >= sizeof digits)
        return -EINVAL;
    memcpy(digits, ip, len);
    digits[len] = '\0';
    struct sockaddr_in6 *v6 = &addr->v6;
    if (inet_pton(AF_INET6, digits, &v6->sin6_addr) != 1)
        return -EINVAL;
    v6->sin6_family = AF_INET6;
    addr->len = sizeof *v6;
    if (!ip[len])
        return 0;
    v6->sin6_scope_id = takes_scope(&v6->sin6_addr) ? parse_scope(ip + len + 1) : 0;
    return v6->sin6_scope_id ? 0 : -EINVAL;
}

int inet_parse(struct inet_addr *addr, const char *ip, int port) {
    memset(addr, 0, sizeof *addr);
    if (port < 0 || port > 65535)
        return -EINVAL;
    if (inet_pton(AF_INET, ip, &addr->v4.sin_addr) == 1) {
        addr->v4.sin_family = AF_INET;
        addr->len = sizeof addr->v4;
    } else if (parse_v6(addr, ip) < 0) {
        memset(addr, 0, sizeof *addr);
        return -EINVAL;
    }
    inet_set_port(addr, port);
    return 0;
}

static void append_scope(char *buf, unsigned index) {
    char name[IF_NAMESIZE];
    size_t len = strlen(buf);
    if (if_indextoname(index, name))
        snprintf(buf + len, INET_TEXT_MAX - len, "%%%s", name);
    else
        snprintf(buf + len, INET_TEXT_MAX - len, "%%%u", index);
}

char *inet_ip(const struct inet_addr *addr, char *buf) {
    buf[0] = '\0';
    if (addr->any.sa_family != AF_INET && addr->any.sa_family != AF_INET6)
        return buf;
    inet_ntop(addr->any.sa_family, address_bytes(addr), buf, INET_TEXT_MAX);
    if (addr->any.sa_family == AF_INET6 && addr->v6.sin6_scope_id)
        append_scope(buf, addr->v6.sin6_scope_id);
    return buf;
}

char *inet_format(const struct inet_addr *addr, char *buf) {
    char ip[INET_TEXT_MAX - sizeof "[]:65535"];
    char text[INET_TEXT_MAX];
    snprintf(ip, sizeof ip, "%.*s", (int)sizeof ip - 1, inet_ip(addr, text));
    const char *form = addr->any.sa_family == AF_INET6 ? "[%s]:%d" : "%s:%d";
    snprintf(buf, INET_TEXT_MAX, form, ip, inet_port(addr));
    return buf;
}

/* The port is at the same place in both. */
int inet_port(const struct inet_addr *addr) {
    return ntohs(addr->v4.sin_port);
}

void inet_set_port(struct inet_addr *addr, int port) {
    addr->v4.sin_port = htons((uint16_t)port);
}

bool inet_equal(const struct inet_addr *a, const struct inet_addr *b) {
    if (a->any.sa_family != b->any.sa_family || a->v4.sin_port != b->v4.sin_port)
        return false;
    if (a->any.sa_family == AF_INET6 && a->v6.sin6_scope_id != b->v6.sin6_scope_id)
        return false;
    size_t size = a->any.sa_family == AF_INET6 ? 16 : 4;
    return memcmp(address_bytes(a), address_bytes(b), size) == 0;
}

bool inet_same_subnet(const struct inet_addr *a, const struct inet_addr *b, int prefix) {
    int bits = a->any.sa_family == AF_INET6 ? 128 : 32;
    if (a->any.sa_family != b->any.sa_family || prefix < 0 || prefix > bits)
        return false;
    return has_prefix(address_bytes(a), address_bytes(b), prefix);
}

bool inet_is_subnet_broadcast(const struct inet_addr *addr, const struct inet_addr *member,
                              int prefix) {
    if (addr->any.sa_family != AF_INET || prefix > 30 || !inet_same_subnet(addr, member, prefix))
        return false;
    uint32_t hosts = UINT32_MAX >> prefix;
    uint32_t host = ntohl(addr->v4.sin_addr.s_addr) & hosts;
    return host == hosts || host == 0;
}

/* -- IPv4 inside IPv6 ---------------------------------------------------------------------- */

/* `invert`: the bits are stored inverted. `at`: where the IPv4 address begins. */
struct embedding {
    uint8_t prefix[12];
    uint8_t bits, at;
    bool invert;
};

static const struct embedding EMBEDDINGS[] = {
    {{[10] = 0xff, 0xff}, 96, 12, false},            /* IPv4-mapped */
    {{0}, 96, 12, false},                            /* IPv4-compatible */
    {{0x00, 0x64, 0xff, 0x9b}, 96, 12, false},       /* NAT64 */
    {{0x00, 0x64, 0xff, 0x9b, 0, 1}, 48, 12, false}, /* NAT64 of a site */
    {{0x20, 0x02}, 16, 2, false},                    /* 6to4 */
    {{0x20, 0x01, 0x00, 0x00}, 32, 12, true},        /* Teredo: the client */
};

static const struct embedding *find_embedding(const struct in6_addr *ip) {
    for (size_t i = 0; i < sizeof EMBEDDINGS / sizeof *EMBEDDINGS; i++)
        if (has_prefix(ip->s6_addr, EMBEDDINGS[i].prefix, EMBEDDINGS[i].bits))
            return &EMBEDDINGS[i];
    return NULL;
}

/* The universal/local bit may be set. */
static bool is_isatap(const struct in6_addr *ip) {
    static const uint8_t IDENTIFIER[] = {0x00, 0x00, 0x5e, 0xfe};
    const uint8_t *bytes = ip->s6_addr + 8;
    return (bytes[0] & ~0x02) == 0 && memcmp(bytes + 1, IDENTIFIER + 1, 3) == 0;
}

static void set_v4(struct inet_addr *v4, const uint8_t *bytes, bool invert) {
    memset(v4, 0, sizeof *v4);
    v4->v4.sin_family = AF_INET;
    v4->len = sizeof v4->v4;
    uint8_t *to = (uint8_t *)&v4->v4.sin_addr;
    for (int i = 0; i < 4; i++)
        to[i] = invert ? (uint8_t)~bytes[i] : bytes[i];
}

bool inet_embedded(const struct inet_addr *addr, struct inet_addr *v4) {
    if (addr->any.sa_family != AF_INET6)
        return false;
    const struct in6_addr *ip = &addr->v6.sin6_addr;
    if (IN6_IS_ADDR_UNSPECIFIED(ip) || IN6_IS_ADDR_LOOPBACK(ip))
        return false;
    const struct embedding *e = find_embedding(ip);
    if (!e && !is_isatap(ip))
        return false;
    set_v4(v4, ip->s6_addr + (e ? e->at : 12), e && e->invert);
    return true;
}

/* -- classes ------------------------------------------------------------------------------- */

static bool is_teredo(const uint8_t *bytes) {
    static const uint8_t PREFIX[] = {0x20, 0x01, 0x00, 0x00};
    return has_prefix(bytes, PREFIX, 32);
}

static enum inet_class classify_v6(const struct inet_addr *addr) {
    const uint8_t *bytes = address_bytes(addr);
    enum inet_class outer = find_class(RANGES6, bytes), inner;
    struct inet_addr v4;
    if (!inet_embedded(addr, &v4))
        return outer;
    inner = find_class(RANGES4, address_bytes(&v4));
    if (inner == INET_GLOBAL && is_teredo(bytes)) /* its server is written to as well */
        inner = find_class(RANGES4, bytes + 4);
    if (IN6_IS_ADDR_V4MAPPED(&addr->v6.sin6_addr))
        return inner;
    bool outer_may_lead = outer == INET_GLOBAL || outer == INET_RESERVED;
    return outer_may_lead && inner != INET_GLOBAL ? inner : outer;
}

enum inet_class inet_classify(const struct inet_addr *addr) {
    if (addr->any.sa_family == AF_INET)
        return find_class(RANGES4, address_bytes(addr));
    return addr->any.sa_family == AF_INET6 ? classify_v6(addr) : INET_UNSPECIFIED;
}

const char *inet_class_name(enum inet_class class) {
    return CLASS_NAMES[class];
}

const char *inet_family_name(int family) {
    return family == AF_INET6 ? "ipv6" : "ipv4";
}
