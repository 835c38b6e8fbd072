/* The codec of TURN's data packets: ChannelData and Send indications. */
#ifndef P2PD_HOST_TURN_PACKET_H
#define P2PD_HOST_TURN_PACKET_H

#include "host/stun.h"

#define TURN_HEADER_SIZE 4  /* of ChannelData; enough for turn_frame_length() as well */
#define TURN_DATA_MAX 65467 /* bytes of one datagram to a peer */

/* How many bytes the frame has that begins so, on a stream; -EBADMSG: none does. */
ssize_t turn_frame_length(const uint8_t head[TURN_HEADER_SIZE]);

/* Whether a packet that begins with this byte is ChannelData (RFC 8656 §12.5). */
bool turn_is_channel_data(uint8_t first);

/* The channel's number, and what it carries (borrowed); -EBADMSG. */
ssize_t turn_read_channel(const uint8_t *bytes, size_t len, const uint8_t **data, size_t *data_len);

/* The packet's length in buf, or -ENOBUFS. `padded`: as a stream wants it. */
ssize_t turn_write_channel(uint16_t channel, bool padded, const void *data, size_t len,
                           uint8_t *buf, size_t cap);
ssize_t turn_write_indication(const struct inet_addr *peer, const void *data, size_t len,
                              uint8_t *buf, size_t cap);

#endif
