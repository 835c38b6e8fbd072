#include "host/pcp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host/bytes.h"

#define RESPONSE_BIT 0x80

/* Where the fields are: RFC 6887 §7.1, §7.2 and §11.1. */
enum {
    AT_VERSION = 0,
    AT_OPCODE = 1,
    AT_RESULT = 3,
    AT_LIFETIME = 4,
    AT_CLIENT = 8,
    AT_EPOCH = 8,
};

enum {
    MAP_AT_PROTOCOL = 12,
    MAP_AT_INTERNAL_PORT = 16,
    MAP_AT_EXTERNAL_PORT = 18,
    MAP_AT_EXTERNAL = 20,
};

/* -- addresses: 16 bytes, IPv4 ones as ::ffff:a.b.c.d (RFC 6887 §5) ------------------------ */

static const uint8_t MAPPED_PREFIX[12] = {[10] = 0xff, [11] = 0xff};

static void put_address(uint8_t p[16], const struct inet_addr *addr) {
    if (addr->any.sa_family == AF_INET6) {
        memcpy(p, &addr->v6.sin6_addr, 16);
        return;
    }
    memcpy(p, MAPPED_PREFIX, sizeof MAPPED_PREFIX);
    memcpy(p + 12, &addr->v4.sin_addr, 4);
}

static void get_address(struct inet_addr *addr, const uint8_t p[16], uint16_t port) {
    *addr = (struct inet_addr){0};
    if (memcmp(p, MAPPED_PREFIX, sizeof MAPPED_PREFIX) == 0) {
        addr->v4.sin_family = AF_INET;
        addr->len = sizeof addr->v4;
        memcpy(&addr->v4.sin_addr, p + 12, 4);
    } else {
        addr->v6.sin6_family = AF_INET6;
        addr->len = sizeof addr->v6;
        memcpy(&addr->v6.sin6_addr, p, 16);
    }
    inet_set_port(addr, port);
}

/* -- requests ------------------------------------------------------------------------------ */

static void put_map(uint8_t *p, const struct pcp_map *map) {
    memcpy(p, map->nonce, PCP_NONCE_SIZE);
    p[MAP_AT_PROTOCOL] = map->protocol;
    bytes_put16(p + MAP_AT_INTERNAL_PORT, map->internal_port);
    bytes_put16(p + MAP_AT_EXTERNAL_PORT, (unsigned)inet_port(&map->external));
    put_address(p + MAP_AT_EXTERNAL, &map->external);
}

ssize_t pcp_encode(const struct pcp_request *request, uint8_t *data, size_t cap) {
    bool is_map = request->opcode == PCP_MAP;
    size_t len = PCP_HEADER_SIZE + (is_map ? PCP_MAP_SIZE : 0);
    if (is_map && request->map.external.any.sa_family != request->client.any.sa_family)
        return -EINVAL;
    if (len > cap)
        return -ENOBUFS;
    memset(data, 0, len);
    data[AT_VERSION] = PCP_VERSION;
    data[AT_OPCODE] = (uint8_t)request->opcode;
    bytes_put32(data + AT_LIFETIME, request->lifetime);
    put_address(data + AT_CLIENT, &request->client);
    if (is_map)
        put_map(data + PCP_HEADER_SIZE, &request->map);
    return (ssize_t)len;
}

/* -- responses ----------------------------------------------------------------------------- */

static const char *const RESULTS[] = {
    [PCP_SUCCESS] = "SUCCESS",
    [PCP_UNSUPP_VERSION] = "UNSUPP_VERSION",
    [PCP_NOT_AUTHORIZED] = "NOT_AUTHORIZED",
    [PCP_MALFORMED_REQUEST] = "MALFORMED_REQUEST",
    [PCP_UNSUPP_OPCODE] = "UNSUPP_OPCODE",
    [PCP_UNSUPP_OPTION] = "UNSUPP_OPTION",
    [PCP_MALFORMED_OPTION] = "MALFORMED_OPTION",
    [PCP_NETWORK_FAILURE] = "NETWORK_FAILURE",
    [PCP_NO_RESOURCES] = "NO_RESOURCES",
    [PCP_UNSUPP_PROTOCOL] = "UNSUPP_PROTOCOL",
    [PCP_USER_EX_QUOTA] = "USER_EX_QUOTA",
    [PCP_CANNOT_PROVIDE_EXTERNAL] = "CANNOT_PROVIDE_EXTERNAL",
    [PCP_ADDRESS_MISMATCH] = "ADDRESS_MISMATCH",
    [PCP_EXCESSIVE_REMOTE_PEERS] = "EXCESSIVE_REMOTE_PEERS",
};

const char *pcp_result_name(int result) {
    return result >= 0 && (size_t)result < sizeof RESULTS / sizeof *RESULTS ? RESULTS[result]
                                                                            : NULL;
}

__attribute__((format(printf, 3, 4))) static int refuse(struct pcp_response *r, int error,
                                                        const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(r->reason, sizeof r->reason, format, args);
    va_end(args);
    return error;
}

/* NAT-PMP's answers are shorter, and another version's may have any length that it likes. */
static int check_version(struct pcp_response *r, const uint8_t *data, size_t len) {
    if (len < 4 || !(data[AT_OPCODE] & RESPONSE_BIT))
        return refuse(r, -EBADMSG, "not a response");
    if (data[AT_VERSION] == PCP_VERSION)
        return 0;
    r->result = data[AT_RESULT];
    return refuse(r, -EPROTONOSUPPORT, "version %d, not %d", data[AT_VERSION], PCP_VERSION);
}

static int check_header(struct pcp_response *r, const uint8_t *data, size_t len) {
    if (len < PCP_HEADER_SIZE || len > PCP_MESSAGE_MAX || len % 4)
        return refuse(r, -EBADMSG, "%zu bytes: not a multiple of 4 from %d to %d", len,
                      PCP_HEADER_SIZE, PCP_MESSAGE_MAX);
    int opcode = data[AT_OPCODE] & ~RESPONSE_BIT;
    if (opcode != PCP_ANNOUNCE && opcode != PCP_MAP)
        return refuse(r, -EBADMSG, "opcode %d is neither ANNOUNCE nor MAP", opcode);
    r->opcode = (enum pcp_opcode)opcode;
    r->result = data[AT_RESULT];
    r->lifetime = bytes_get32(data + AT_LIFETIME);
    r->epoch = bytes_get32(data + AT_EPOCH);
    return 0;
}

/* Options are a code, a reserved byte, a length and its bytes, padded (RFC 6887 §7.3). Ours ask for
 * none, so what they say does not matter, but they have to end where the message does. */
static int check_options(struct pcp_response *r, const uint8_t *data, size_t at, size_t len) {
    while (at < len) {
        size_t value = bytes_get16(data + at + 2);
        at += 4 + ((value + 3) & ~(size_t)3);
    }
    return at == len ? 0 : refuse(r, -EBADMSG, "an option does not fit the message");
}

static int read_map(struct pcp_response *r, const uint8_t *data, size_t len) {
    if (len < PCP_HEADER_SIZE + PCP_MAP_SIZE) {
        if (r->result != PCP_SUCCESS) /* a server may cut off what it did not understand */
            return 0;
        return refuse(r, -EBADMSG, "%zu bytes are no answer to MAP", len);
    }
    const uint8_t *p = data + PCP_HEADER_SIZE;
    memcpy(r->map.nonce, p, PCP_NONCE_SIZE);
    r->map.protocol = p[MAP_AT_PROTOCOL];
    r->map.internal_port = bytes_get16(p + MAP_AT_INTERNAL_PORT);
    get_address(&r->map.external, p + MAP_AT_EXTERNAL, bytes_get16(p + MAP_AT_EXTERNAL_PORT));
    r->has_map = true;
    return 0;
}

int pcp_decode(struct pcp_response *response, const void *data, size_t len) {
    const uint8_t *p = data;
    *response = (struct pcp_response){0};
    int err = check_version(response, p, len);
    if (!err)
        err = check_header(response, p, len);
    if (!err && response->opcode == PCP_MAP)
        err = read_map(response, p, len);
    if (!err && response->result == PCP_SUCCESS)
        err = check_options(response, p, PCP_HEADER_SIZE + (response->has_map ? PCP_MAP_SIZE : 0),
                            len);
    if (err)
        response->has_map = false;
    return err;
}

/* -- epochs -------------------------------------------------------------------------------- */

bool pcp_is_same_epoch(uint32_t before, double before_at, uint32_t now, double now_at) {
    double server = (double)now - before, client = now_at - before_at;
    if (server < -1)
        return false;
    return client + 2 >= server - server / 16 && server + 2 >= client - client / 16;
}
