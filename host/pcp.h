/*
 * PCP messages as bytes: the client's side of the Port Control Protocol (RFC 6887), the opcodes
 * ANNOUNCE and MAP. Pure: no sockets, no clock.
 */
#ifndef P2PD_HOST_PCP_H
#define P2PD_HOST_PCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/inet.h"

#define PCP_VERSION 2
#define PCP_HEADER_SIZE 24
#define PCP_MAP_SIZE 36
#define PCP_MESSAGE_MAX 1100 /* bytes, RFC 6887 §7 */
#define PCP_NONCE_SIZE 12
#define PCP_REASON_MAX 80

enum pcp_opcode { PCP_ANNOUNCE, PCP_MAP };

/* RFC 6887 §7.4 */
enum pcp_result {
    PCP_SUCCESS,
    PCP_UNSUPP_VERSION,
    PCP_NOT_AUTHORIZED,
    PCP_MALFORMED_REQUEST,
    PCP_UNSUPP_OPCODE,
    PCP_UNSUPP_OPTION,
    PCP_MALFORMED_OPTION,
    PCP_NETWORK_FAILURE,
    PCP_NO_RESOURCES,
    PCP_UNSUPP_PROTOCOL,
    PCP_USER_EX_QUOTA,
    PCP_CANNOT_PROVIDE_EXTERNAL,
    PCP_ADDRESS_MISMATCH,
    PCP_EXCESSIVE_REMOTE_PEERS,
};

struct pcp_map {
    uint8_t nonce[PCP_NONCE_SIZE];
    uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
    uint16_t internal_port;
    struct inet_addr external; /* suggested or assigned: address and port */
};

struct pcp_request {
    enum pcp_opcode opcode;
    uint32_t lifetime; /* seconds; 0 removes a mapping */
    struct inet_addr client;
    struct pcp_map map; /* when the opcode is MAP */
};

struct pcp_response {
    enum pcp_opcode opcode;
    uint8_t result;
    uint32_t lifetime; /* of the mapping, or of the error */
    uint32_t epoch;    /* seconds since the server lost its mappings */
    bool has_map;
    struct pcp_map map;
    char reason[PCP_REASON_MAX]; /* why it was not decoded; "" */
};

/* The length of the message, or -ENOBUFS, or -EINVAL for families that do not belong together. */
ssize_t pcp_encode(const struct pcp_request *request, uint8_t *data, size_t cap);

/* 0; -EBADMSG with a reason; -EPROTONOSUPPORT for an answer in another version (NAT-PMP's is 0,
 * RFC 6886), whose result is there when it has one. */
int pcp_decode(struct pcp_response *response, const void *data, size_t len);

/* Does an epoch say that the server has kept its mappings since an earlier one (RFC 6887 §8.5)?
 * Instants are seconds on one monotonic clock. */
bool pcp_is_same_epoch(uint32_t before, double before_at, uint32_t now, double now_at);

/* "NOT_AUTHORIZED" and so on; NULL for a result that RFC 6887 does not name. */
const char *pcp_result_name(int result);

#endif
