/*
 * libFuzzer on the TURN client: what a server may send at any moment of an allocation's life.
 *
 * The input is a list of steps: a byte that says what, a byte for its argument, and for packets two
 * bytes of length and the packet. An answer gets the id of the packet that the client has sent
 * last, else the fuzzer would never guess one.
 */
#include <math.h>

#include "host/turn.h"
#include "spec/fuzz/fuzz.h"

#define STEPS_MAX 64

struct run {
    struct turn *turn;
    double now;
    uint8_t id[STUN_ID_SIZE];
    uint32_t connection; /* of the last packet out */
};

static void drain(struct run *r) {
    struct turn_packet packet;
    struct turn_event event;
    while (turn_poll(r->turn, r->now, &packet)) {
        touch(packet.data, packet.len);
        struct stun_message m;
        require(stun_decode(&m, packet.data, packet.len) == 0);
        memcpy(r->id, m.id, sizeof r->id);
        r->connection = packet.connection;
    }
    require(turn_due(r->turn) > r->now);
    while (turn_event(r->turn, &event)) {
        require(memchr(event.reason, 0, sizeof event.reason) != NULL);
        if (event.kind == TURN_ATTEMPT)
            turn_join(r->turn, event.connection);
    }
}

static void feed(struct run *r, uint8_t how, const uint8_t *packet, size_t len) {
    struct turn_data data;
    uint8_t *exact = copy_exactly(packet, len);
    if ((how & 1) && len >= STUN_HEADER_SIZE)
        memcpy(exact + 4, r->id, sizeof r->id);
    if (len >= TURN_HEADER_SIZE) {
        ssize_t frame = turn_frame_length(exact);
        require(frame < 0 || (frame >= 4 && frame % 4 == 0));
    }
    if (turn_feed(r->turn, r->now, how & 2 ? r->connection : 0, exact, len, &data) == 1) {
        require(data.data >= exact && data.data + data.len <= exact + len);
        touch(data.data, data.len);
        touch(&data.peer.v6, data.peer.len);
    }
    free(exact);
}

static void wish(struct run *r, uint8_t what) {
    static uint8_t packet[256];
    struct inet_addr peer;
    inet_parse(&peer, what & 1 ? "192.0.2.9" : "2001:db8::9", 7000 + (what & 2));
    switch (what >> 2 & 3) {
    case 0:
        turn_permit(r->turn, &peer);
        break;
    case 1:
        turn_bind(r->turn, &peer);
        break;
    case 2:
        turn_connect(r->turn, &peer);
        break;
    case 3:
        turn_wrap(r->turn, &peer, "data", 4, packet, sizeof packet);
        if (what & 16)
            turn_close(r->turn);
        break;
    }
}

/* How many bytes the step took; 0: the input is over. */
static size_t step(struct run *r, const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    if (data[0] == 0) {
        r->now += data[1];
        return 2;
    }
    if (data[0] == 1) {
        wish(r, data[1]);
        return 2;
    }
    if (size < 4)
        return 0;
    size_t len = (size_t)data[2] << 8 | data[3];
    len = len < size - 4 ? len : size - 4;
    feed(r, data[1], data + 4, len);
    return 4 + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    struct turn_options options = {.timer = STUN_TIMER_DEFAULT,
                                   .tcp = data[0] & 1,
                                   .user = {"user", 4},
                                   .password = {"secret", 6}};
    options.timer.reliable = options.tcp || (data[0] & 2);
    struct run r = {.turn = turn_new(&options)};
    require(r.turn != NULL);
    size_t at = 1;
    for (int i = 0; i < STEPS_MAX; i++) {
        drain(&r);
        size_t n = step(&r, data + at, size - at);
        if (!n)
            break;
        at += n;
    }
    drain(&r);
    turn_free(r.turn);
    return 0;
}
