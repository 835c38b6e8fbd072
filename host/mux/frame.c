#include "host/mux/frame.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

int mux_frame_decode(struct mux_frame *f, const uint8_t header[MUX_HEADER]) {
    uint16_t flags;
    uint32_t stream, length;
    memcpy(&flags, header + 2, sizeof flags);
    memcpy(&stream, header + 4, sizeof stream);
    memcpy(&length, header + 8, sizeof length);
    *f = (struct mux_frame){header[1], be16toh(flags), be32toh(stream), be32toh(length)};
    return header[0] == MUX_VERSION && f->type <= MUX_GO_AWAY ? 0 : -EBADMSG;
}

void mux_frame_encode(const struct mux_frame *f, uint8_t header[MUX_HEADER]) {
    uint16_t flags = htobe16(f->flags);
    uint32_t stream = htobe32(f->stream), length = htobe32(f->length);
    header[0] = MUX_VERSION;
    header[1] = f->type;
    memcpy(header + 2, &flags, sizeof flags);
    memcpy(header + 4, &stream, sizeof stream);
    memcpy(header + 8, &length, sizeof length);
}
