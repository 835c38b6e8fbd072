/* libFuzzer on PCP: what decodes reads the same when a request with its fields is made into a
 * response again, and epochs are compared without surprises. */
#include "host/pcp.h"
#include "spec/fuzz/fuzz.h"

#define RESPONSE_BIT 0x80

/* A request has the client's address where a response has its epoch. */
static void check_again(const struct pcp_response *r) {
    uint8_t bytes[PCP_MESSAGE_MAX];
    struct pcp_response again;
    struct pcp_request request = {.opcode = r->opcode, .lifetime = r->lifetime, .map = r->map};
    request.client = r->map.external;
    ssize_t n = pcp_encode(&request, bytes, sizeof bytes);
    require(n == PCP_HEADER_SIZE + (r->opcode == PCP_MAP ? PCP_MAP_SIZE : 0));
    require(pcp_decode(&again, bytes, (size_t)n) < 0 && again.reason[0]);
    bytes[1] |= RESPONSE_BIT;
    bytes[3] = r->result;
    require(pcp_decode(&again, bytes, (size_t)n) == 0);
    require(again.lifetime == r->lifetime && again.result == r->result);
    require(memcmp(again.map.nonce, r->map.nonce, PCP_NONCE_SIZE) == 0);
    require(again.map.internal_port == r->map.internal_port);
    require(inet_equal(&again.map.external, &r->map.external));
    require(pcp_encode(&request, bytes, (size_t)n - 1) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pcp_response r;
    uint8_t *exact = copy_exactly(data, size);
    int err = pcp_decode(&r, exact, size);
    require(!err == !r.reason[0]);
    require(!err || !r.has_map);
    if (!err) {
        require(size >= PCP_HEADER_SIZE && size <= PCP_MESSAGE_MAX);
        require(pcp_is_same_epoch(r.epoch, 0, r.epoch, 0));
        require(!r.epoch || pcp_is_same_epoch(r.epoch, 5, r.epoch - 1, 5));
        pcp_is_same_epoch(r.lifetime, 1, r.epoch, 1e9);
        pcp_result_name(r.result);
    }
    if (!err && (r.has_map || r.opcode == PCP_ANNOUNCE))
        check_again(&r);
    free(exact);
    return 0;
}
