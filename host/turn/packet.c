#include "host/turn/packet.h"

#include <errno.h>
#include <string.h>

#include "host/bytes.h"

static size_t padded_length(size_t len) {
    return (len + 3) & ~(size_t)3;
}

bool turn_is_channel_data(uint8_t first) {
    return (first & 0xc0) == 0x40;
}

ssize_t turn_frame_length(const uint8_t head[TURN_HEADER_SIZE]) {
    size_t body = bytes_get16(head + 2);
    if (turn_is_channel_data(head[0]) && (head[0] & 0x30))
        return -EBADMSG; /* no channel is above 0x4fff, RFC 8656 §12 */
    if (turn_is_channel_data(head[0]))
        return TURN_HEADER_SIZE + (ssize_t)padded_length(body);
    if ((head[0] & 0xc0) || body % 4)
        return -EBADMSG;
    return STUN_HEADER_SIZE + (ssize_t)body;
}

ssize_t turn_read_channel(const uint8_t *bytes, size_t len, const uint8_t **data,
                          size_t *data_len) {
    size_t body = len < TURN_HEADER_SIZE ? 0 : bytes_get16(bytes + 2);
    if (len < TURN_HEADER_SIZE + body || len > TURN_HEADER_SIZE + padded_length(body))
        return -EBADMSG;
    *data = bytes + TURN_HEADER_SIZE;
    *data_len = body;
    return bytes_get16(bytes);
}

ssize_t turn_write_channel(uint16_t channel, bool padded, const void *data, size_t len,
                           uint8_t *buf, size_t cap) {
    size_t body = padded ? padded_length(len) : len;
    if (TURN_HEADER_SIZE + body > cap)
        return -ENOBUFS;
    bytes_put16(buf, channel);
    bytes_put16(buf + 2, (unsigned)len);
    memcpy(buf + TURN_HEADER_SIZE, data, len);
    memset(buf + TURN_HEADER_SIZE + len, 0, body - len);
    return TURN_HEADER_SIZE + (ssize_t)body;
}

/* Nobody answers an indication, so its id need not be hard to guess. */
ssize_t turn_write_indication(const struct inet_addr *peer, const void *data, size_t len,
                              uint8_t *buf, size_t cap) {
    static uint64_t serial;
    uint8_t id[STUN_ID_SIZE], bits[12] = {0};
    struct stun_writer w;
    serial++;
    memcpy(bits, &serial, sizeof serial);
    stun_make_id(id, bits);
    stun_begin(&w, buf, cap, STUN_INDICATION, STUN_SEND_DATA, id);
    stun_put_address(&w, STUN_XOR_PEER_ADDRESS, peer);
    stun_put(&w, STUN_DATA, data, len);
    return stun_finish(&w);
}
