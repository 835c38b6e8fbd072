/*
 * The STUN codec: no sockets, no time, no memory of its own.
 *
 * Decoding walks the message once and checks every length and every value this host understands;
 * what comes after may therefore read attributes without checking again. Sizes live in one table,
 * and only attributes with an inner structure have a check of their own.
 */
#include "host/stun.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host/bytes.h"

#define TEXT_MAX 763     /* 127 characters of UTF-8 (RFC 8489 §14.9 and others) */
#define USERNAME_MAX 513 /* RFC 5389 §15.3; RFC 8489 §14.3 has 508 */

static const struct known {
    uint16_t type, min, max; /* bytes of value */
    const char *name;
} KNOWN[] = {
    {STUN_MAPPED_ADDRESS, 8, 20, "MAPPED-ADDRESS"},
    {STUN_CHANGE_REQUEST, 4, 4, "CHANGE-REQUEST"},
    {STUN_SOURCE_ADDRESS, 8, 20, "SOURCE-ADDRESS"},
    {STUN_CHANGED_ADDRESS, 8, 20, "CHANGED-ADDRESS"},
    {STUN_USERNAME, 0, USERNAME_MAX, "USERNAME"},
    {STUN_MESSAGE_INTEGRITY, 20, 20, "MESSAGE-INTEGRITY"},
    {STUN_ERROR_CODE, 4, 4 + TEXT_MAX, "ERROR-CODE"},
    {STUN_UNKNOWN_ATTRIBUTES, 0, UINT16_MAX, "UNKNOWN-ATTRIBUTES"},
    {STUN_CHANNEL_NUMBER, 4, 4, "CHANNEL-NUMBER"},
    {STUN_LIFETIME, 4, 4, "LIFETIME"},
    {STUN_XOR_PEER_ADDRESS, 8, 20, "XOR-PEER-ADDRESS"},
    {STUN_DATA, 0, UINT16_MAX, "DATA"},
    {STUN_REALM, 0, TEXT_MAX, "REALM"},
    {STUN_NONCE, 0, TEXT_MAX, "NONCE"},
    {STUN_XOR_RELAYED_ADDRESS, 8, 20, "XOR-RELAYED-ADDRESS"},
    {STUN_REQUESTED_ADDRESS_FAMILY, 4, 4, "REQUESTED-ADDRESS-FAMILY"},
    {STUN_EVEN_PORT, 1, 1, "EVEN-PORT"},
    {STUN_REQUESTED_TRANSPORT, 4, 4, "REQUESTED-TRANSPORT"},
    {STUN_DONT_FRAGMENT, 0, 0, "DONT-FRAGMENT"},
    {STUN_MESSAGE_INTEGRITY_SHA256, 16, 32, "MESSAGE-INTEGRITY-SHA256"},
    {STUN_PASSWORD_ALGORITHM, 4, UINT16_MAX, "PASSWORD-ALGORITHM"},
    {STUN_USERHASH, 32, 32, "USERHASH"},
    {STUN_XOR_MAPPED_ADDRESS, 8, 20, "XOR-MAPPED-ADDRESS"},
    {STUN_RESERVATION_TOKEN, 8, 8, "RESERVATION-TOKEN"},
    {STUN_PADDING, 0, UINT16_MAX, "PADDING"},
    {STUN_RESPONSE_PORT, 2, 4, "RESPONSE-PORT"},
    {STUN_CONNECTION_ID, 4, 4, "CONNECTION-ID"},
    {STUN_ADDITIONAL_ADDRESS_FAMILY, 4, 4, "ADDITIONAL-ADDRESS-FAMILY"},
    {STUN_PASSWORD_ALGORITHMS, 0, UINT16_MAX, "PASSWORD-ALGORITHMS"},
    {STUN_SOFTWARE, 0, TEXT_MAX, "SOFTWARE"},
    {STUN_ALTERNATE_SERVER, 8, 20, "ALTERNATE-SERVER"},
    {STUN_FINGERPRINT, 4, 4, "FINGERPRINT"},
    {STUN_RESPONSE_ORIGIN, 8, 20, "RESPONSE-ORIGIN"},
    {STUN_OTHER_ADDRESS, 8, 20, "OTHER-ADDRESS"},
    {STUN_ADDITIONAL_FAMILY_DRAFT, 4, 4, "ADDITIONAL-ADDRESS-FAMILY"},
};

static size_t padded(size_t len) {
    return (len + 3) & ~(size_t)3;
}

static const struct known *find_known(uint16_t type) {
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (KNOWN[i].type == type)
            return &KNOWN[i];
    return NULL;
}

const char *stun_type_name(uint16_t type) {
    const struct known *known = find_known(type);
    return known ? known->name : NULL;
}

__attribute__((format(printf, 3, 4))) static int refuse(struct stun_message *m, int error,
                                                        const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(m->reason, sizeof m->reason, format, args);
    va_end(args);
    return error;
}

static int check_address(struct stun_message *m, const struct stun_attribute *a, const char *name) {
    int family = a->value[1];
    if (family != STUN_FAMILY_IPV4 && family != STUN_FAMILY_IPV6)
        return refuse(m, -EBADMSG, "%s: family %d is neither IPv4 nor IPv6", name, family);
    if (a->len != (family == STUN_FAMILY_IPV4 ? 8 : 20))
        return refuse(m, -EBADMSG, "%s: %d bytes do not fit its family", name, a->len);
    return 0;
}

static int check_error_code(struct stun_message *m, const struct stun_attribute *a) {
    int class = a->value[2] & 7, number = a->value[3];
    if (class < 3 || class > 6 || number > 99)
        return refuse(m, -EBADMSG, "ERROR-CODE: %d*100+%d is not 300 to 699", class, number);
    return 0;
}

/* One or more of: number, length of parameters, parameters padded to 32 bits (RFC 8489 §14.11). */
static int check_algorithms(struct stun_message *m, const struct stun_attribute *a,
                            const char *name) {
    size_t at = 0;
    while (at + 4 <= a->len)
        at += 4 + padded(bytes_get16(a->value + at + 2));
    if (at == a->len &&
        (a->type == STUN_PASSWORD_ALGORITHMS || at == 4 + padded(bytes_get16(a->value + 2))))
        return 0;
    return refuse(m, -EBADMSG, "%s: parameters do not fit its %d bytes", name, a->len);
}

static int check_multiple(struct stun_message *m, const struct stun_attribute *a, int unit,
                          const char *name) {
    if (a->len % unit == 0)
        return 0;
    return refuse(m, -EBADMSG, "%s: %d bytes, not a multiple of %d", name, a->len, unit);
}

static int check_value(struct stun_message *m, const struct stun_attribute *a,
                       const struct known *known) {
    if (a->len < known->min || a->len > known->max)
        return refuse(m, -EBADMSG, "%s: %d bytes, not %d to %d", known->name, a->len, known->min,
                      known->max);
    switch (a->type) {
    case STUN_MAPPED_ADDRESS:
    case STUN_XOR_MAPPED_ADDRESS:
    case STUN_XOR_PEER_ADDRESS:
    case STUN_XOR_RELAYED_ADDRESS:
    case STUN_SOURCE_ADDRESS:
    case STUN_CHANGED_ADDRESS:
    case STUN_RESPONSE_ORIGIN:
    case STUN_OTHER_ADDRESS:
    case STUN_ALTERNATE_SERVER:
        return check_address(m, a, known->name);
    case STUN_ERROR_CODE:
        return check_error_code(m, a);
    case STUN_PASSWORD_ALGORITHM:
    case STUN_PASSWORD_ALGORITHMS:
        return check_algorithms(m, a, known->name);
    case STUN_UNKNOWN_ATTRIBUTES:
    case STUN_RESPONSE_PORT:
        return check_multiple(m, a, 2, known->name);
    case STUN_MESSAGE_INTEGRITY_SHA256:
        return check_multiple(m, a, 4, known->name);
    default:
        return 0;
    }
}

static void note_unknown(struct stun_message *m, uint16_t type) {
    for (size_t i = 0; i < m->unknown_count; i++)
        if (m->unknown[i] == type)
            return;
    if (m->unknown_count < STUN_UNKNOWN_MAX)
        m->unknown[m->unknown_count++] = type;
}

/* Attributes after MESSAGE-INTEGRITY are ignored but for SHA256 and FINGERPRINT; after SHA256, all
 * but FINGERPRINT (RFC 8489 §14.5, §14.6). */
static void note_place(struct stun_message *m, uint16_t type, size_t at) {
    if (type == STUN_MESSAGE_INTEGRITY && !m->integrity && !m->integrity_sha256)
        m->integrity = at;
    else if (type == STUN_MESSAGE_INTEGRITY_SHA256 && !m->integrity_sha256)
        m->integrity_sha256 = at;
    else if (type == STUN_FINGERPRINT)
        m->fingerprint = at;
    else
        return;
    if (m->end > at)
        m->end = at;
}

static int check_attribute(struct stun_message *m, const struct stun_attribute *a, size_t at) {
    if (m->fingerprint)
        return refuse(m, -EBADMSG, "FINGERPRINT: not the last attribute");
    note_place(m, a->type, at);
    bool counts =
        at < m->end || at == m->integrity || at == m->integrity_sha256 || at == m->fingerprint;
    const struct known *known = find_known(a->type);
    if (counts && known)
        return check_value(m, a, known);
    if (counts && a->type < 0x8000)
        note_unknown(m, a->type);
    return 0;
}

static int check_attributes(struct stun_message *m) {
    m->end = m->len;
    for (size_t at = STUN_HEADER_SIZE; at < m->len;) {
        struct stun_attribute a = {bytes_get16(m->data + at), bytes_get16(m->data + at + 2),
                                   m->data + at + STUN_ATTRIBUTE_HEADER_SIZE};
        size_t next = at + STUN_ATTRIBUTE_HEADER_SIZE + padded(a.len);
        if (next > m->len) {
            const char *name = stun_type_name(a.type);
            return refuse(m, -EBADMSG, "%s (0x%04x): %d bytes do not fit the message",
                          name ? name : "attribute", a.type, a.len);
        }
        int error = check_attribute(m, &a, at);
        if (error)
            return error;
        at = next;
    }
    return 0;
}

ssize_t stun_frame_length(const uint8_t head[STUN_HEADER_SIZE]) {
    unsigned body = bytes_get16(head + 2);
    if ((head[0] & 0xc0) || body % 4)
        return -EBADMSG;
    return STUN_HEADER_SIZE + (ssize_t)body;
}

static int check_header(struct stun_message *m) {
    if (m->len < STUN_HEADER_SIZE)
        return refuse(m, -EMSGSIZE, "header: %zu bytes, not 20", m->len);
    if (m->data[0] & 0xc0)
        return refuse(m, -EBADMSG, "header: the first two bits are not zero");
    unsigned body = bytes_get16(m->data + 2);
    if (body % 4)
        return refuse(m, -EBADMSG, "header: length %u is not a multiple of 4", body);
    if (m->len != STUN_HEADER_SIZE + body)
        return refuse(m, -EMSGSIZE, "header: length %u, but %zu bytes follow", body,
                      m->len - STUN_HEADER_SIZE);
    return 0;
}

/* The class bits lie amid those of the method (RFC 8489 §5). */
static void split_type(struct stun_message *m, uint16_t type) {
    m->class = (enum stun_class)((type >> 4 & 1) | (type >> 7 & 2));
    m->method = (uint16_t)((type & 0xf) | (type >> 1 & 0x70) | (type >> 2 & 0xf80));
}

int stun_decode(struct stun_message *m, const void *data, size_t len) {
    memset(m, 0, sizeof *m);
    m->data = data;
    m->len = len;
    int error = check_header(m);
    if (error)
        return error;
    split_type(m, bytes_get16(m->data));
    memcpy(m->id, m->data + 4, STUN_ID_SIZE);
    m->classic = bytes_get32(m->id) != STUN_COOKIE;
    return check_attributes(m);
}

bool stun_next(const struct stun_message *m, struct stun_attribute *a) {
    size_t at = a->value ? (size_t)(a->value - m->data) + padded(a->len) : STUN_HEADER_SIZE;
    if (at >= m->end)
        return false;
    a->type = bytes_get16(m->data + at);
    a->len = bytes_get16(m->data + at + 2);
    a->value = m->data + at + STUN_ATTRIBUTE_HEADER_SIZE;
    return true;
}

bool stun_find(const struct stun_message *m, uint16_t type, struct stun_attribute *a) {
    *a = (struct stun_attribute){0};
    while (stun_next(m, a))
        if (a->type == type)
            return true;
    return false;
}

static bool is_xored(uint16_t type) {
    return type == STUN_XOR_MAPPED_ADDRESS || type == STUN_XOR_PEER_ADDRESS ||
           type == STUN_XOR_RELAYED_ADDRESS;
}

/* Plain to xored and back (RFC 8489 §14.2): port and address against the cookie and the id. */
static void xor_address(uint8_t *value, size_t len, const uint8_t id[STUN_ID_SIZE]) {
    value[2] ^= id[0];
    value[3] ^= id[1];
    for (size_t i = 4; i < len; i++)
        value[i] ^= id[i - 4];
}

static void read_address(const uint8_t *value, struct inet_addr *addr) {
    memset(addr, 0, sizeof *addr);
    if (value[1] == STUN_FAMILY_IPV4) {
        addr->len = sizeof addr->v4;
        addr->v4.sin_family = AF_INET;
        memcpy(&addr->v4.sin_port, value + 2, 2);
        memcpy(&addr->v4.sin_addr, value + 4, 4);
    } else {
        addr->len = sizeof addr->v6;
        addr->v6.sin6_family = AF_INET6;
        memcpy(&addr->v6.sin6_port, value + 2, 2);
        memcpy(&addr->v6.sin6_addr, value + 4, 16);
    }
}

/* How many bytes of value it took; 0: neither IPv4 nor IPv6. */
static size_t write_address(uint8_t *value, const struct inet_addr *addr) {
    value[0] = 0;
    if (addr->any.sa_family == AF_INET) {
        value[1] = STUN_FAMILY_IPV4;
        memcpy(value + 2, &addr->v4.sin_port, 2);
        memcpy(value + 4, &addr->v4.sin_addr, 4);
        return 8;
    }
    if (addr->any.sa_family != AF_INET6)
        return 0;
    value[1] = STUN_FAMILY_IPV6;
    memcpy(value + 2, &addr->v6.sin6_port, 2);
    memcpy(value + 4, &addr->v6.sin6_addr, 16);
    return 20;
}

static int take_address(const struct stun_message *m, const struct stun_attribute *a,
                        struct inet_addr *addr) {
    uint8_t value[20];
    if (a->len > sizeof value || a->len < 8)
        return -ENOENT;
    memcpy(value, a->value, a->len);
    if (is_xored(a->type))
        xor_address(value, a->len, m->id);
    read_address(value, addr);
    return 0;
}

int stun_get_address(const struct stun_message *m, uint16_t type, struct inet_addr *addr) {
    struct stun_attribute a;
    return stun_find(m, type, &a) ? take_address(m, &a, addr) : -ENOENT;
}

int stun_get_address_of(const struct stun_message *m, uint16_t type, int family,
                        struct inet_addr *addr) {
    struct stun_attribute a = {0};
    while (stun_next(m, &a))
        if (a.type == type && take_address(m, &a, addr) == 0 && addr->any.sa_family == family)
            return 0;
    return -ENOENT;
}

int stun_mapped_address(const struct stun_message *m, struct inet_addr *addr) {
    int error = stun_get_address(m, STUN_XOR_MAPPED_ADDRESS, addr);
    return error ? stun_get_address(m, STUN_MAPPED_ADDRESS, addr) : 0;
}

int stun_get_u32(const struct stun_message *m, uint16_t type, uint32_t *value) {
    struct stun_attribute a;
    if (!stun_find(m, type, &a) || a.len < 4)
        return -ENOENT;
    *value = bytes_get32(a.value);
    return 0;
}

int stun_get_error(const struct stun_message *m, int *code, const char **reason, size_t *len) {
    struct stun_attribute a;
    if (!stun_find(m, STUN_ERROR_CODE, &a))
        return -ENOENT;
    *code = (a.value[2] & 7) * 100 + a.value[3];
    *reason = (const char *)a.value + 4;
    *len = a.len - 4u;
    return 0;
}

void stun_make_id(uint8_t id[STUN_ID_SIZE], const uint8_t bits[12]) {
    bytes_put32(id, STUN_COOKIE);
    memcpy(id + 4, bits, 12);
}

void stun_begin(struct stun_writer *w, void *buf, size_t cap, enum stun_class class,
                uint16_t method, const uint8_t id[STUN_ID_SIZE]) {
    *w = (struct stun_writer){.data = buf, .cap = cap, .len = STUN_HEADER_SIZE};
    if (method > 0xfff)
        w->error = -EINVAL;
    else if (cap < STUN_HEADER_SIZE)
        w->error = -ENOBUFS;
    if (w->error)
        return;
    unsigned bits = (method & 0xfu) | (method & 0x70u) << 1 | (method & 0xf80u) << 2;
    bytes_put16(w->data, bits | (class & 1u) << 4 | (class & 2u) << 7);
    bytes_put16(w->data + 2, 0);
    memcpy(w->data + 4, id, STUN_ID_SIZE);
}

void stun_put(struct stun_writer *w, uint16_t type, const void *value, size_t len) {
    size_t size = STUN_ATTRIBUTE_HEADER_SIZE + padded(len);
    if (w->error)
        return;
    if (len > UINT16_MAX || w->len + size > STUN_MESSAGE_MAX)
        w->error = -EMSGSIZE;
    else if (size > w->cap - w->len)
        w->error = -ENOBUFS;
    if (w->error)
        return;
    uint8_t *at = w->data + w->len;
    memset(at, 0, size);
    bytes_put16(at, type);
    bytes_put16(at + 2, (unsigned)len);
    if (len)
        memcpy(at + STUN_ATTRIBUTE_HEADER_SIZE, value, len);
    w->len += size;
    bytes_put16(w->data + 2, (unsigned)(w->len - STUN_HEADER_SIZE));
}

void stun_put_address(struct stun_writer *w, uint16_t type, const struct inet_addr *addr) {
    uint8_t value[20];
    size_t len = write_address(value, addr);
    if (w->error)
        return;
    if (!len) {
        w->error = -EINVAL;
        return;
    }
    if (is_xored(type))
        xor_address(value, len, w->data + 4);
    stun_put(w, type, value, len);
}

void stun_put_u32(struct stun_writer *w, uint16_t type, uint32_t value) {
    uint8_t bytes[4];
    bytes_put32(bytes, value);
    stun_put(w, type, bytes, sizeof bytes);
}

void stun_put_error(struct stun_writer *w, int code, const char *reason, size_t len) {
    uint8_t value[4 + TEXT_MAX] = {0, 0, (uint8_t)(code / 100), (uint8_t)(code % 100)};
    if (!w->error && (code < 300 || code > 699 || len > TEXT_MAX))
        w->error = -EINVAL;
    if (w->error)
        return;
    memcpy(value + 4, reason, len);
    stun_put(w, STUN_ERROR_CODE, value, 4 + len);
}

ssize_t stun_finish(struct stun_writer *w) {
    return w->error ? w->error : (ssize_t)w->len;
}
