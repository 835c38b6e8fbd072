/*
 * libFuzzer on the NTP packet, one server's client and the vote.
 *
 * An input is a course of events: each is a byte of flags, a byte of time, and a packet (the last
 * one may be short).
 */
#include <math.h>

#include "host/ntp.h"
#include "spec/fuzz/fuzz.h"

enum {
    REPEAT_NONCE = 1, /* as an answer to our request would */
    ANSWER_MODE = 2,
    NEW_BURST = 4,
    LONG_AFTER = 8,
    OTHER_SERVER = 16,
};

#define SERVERS 3
#define NONCE 0x0123456789abcdefu

static void check_codec(const uint8_t *data, size_t size) {
    struct ntp_packet p, again;
    uint8_t bytes[NTP_PACKET_SIZE];
    int err = ntp_decode(&p, data, size);
    require(!err == (size >= NTP_PACKET_SIZE));
    if (err)
        return;
    ntp_encode(bytes, &p);
    require(memcmp(bytes, data, sizeof bytes) == 0);
    require(ntp_decode(&again, bytes, sizeof bytes) == 0);
    require(again.transmit == p.transmit && again.root_delay == p.root_delay);
    double seconds = ntp_seconds(p.transmit);
    require(seconds >= 1735689600. && seconds <= 1735689600. + 4294967296.);
    require(fabs(ntp_seconds(ntp_timestamp(seconds)) - seconds) < 1e-6 ||
            seconds >= 1735689600. + 4294967295.);
}

static void check_estimates(const struct ntp *servers, double now) {
    struct ntp_interval intervals[SERVERS], combined;
    bool agrees[SERVERS];
    size_t count = 0;
    for (int i = 0; i < SERVERS; i++) {
        double delay;
        int samples = ntp_estimate(&servers[i], now, &intervals[count], &delay);
        require(samples >= 0 && samples <= NTP_SAMPLES);
        if (samples == 0)
            continue;
        require(isfinite(intervals[count].offset) && isfinite(delay));
        require(intervals[count].bound > 0 && isfinite(intervals[count].bound) && delay >= 0);
        count++;
    }
    int inside = ntp_select(intervals, count, agrees, &combined);
    require(inside >= 0 && (size_t)inside <= count);
    if (inside == 0)
        return;
    require(2 * (size_t)inside > count);
    require(isfinite(combined.offset) && isfinite(combined.bound) && combined.bound > 0);
}

static void feed(struct ntp *n, const uint8_t *packet, size_t len, int flags, double now) {
    uint8_t *exact = copy_exactly(packet, len);
    check_codec(exact, len);
    if (len == NTP_PACKET_SIZE && flags & REPEAT_NONCE)
        for (int i = 0; i < 8; i++)
            exact[24 + i] = (uint8_t)(n->nonce >> (56 - 8 * i));
    if (len == NTP_PACKET_SIZE && flags & ANSWER_MODE)
        exact[0] = (uint8_t)((exact[0] & 0xc0) | 0x24);
    unsigned taken = n->taken;
    bool waiting = n->waiting;
    enum ntp_event event = ntp_feed(n, exact, len, now);
    require((event == NTP_SAMPLE) == (n->taken == taken + 1));
    require(event == NTP_SAMPLE || n->reason);
    require(event == NTP_IGNORED || (waiting && !n->waiting));
    require(event != NTP_KISS || (n->left == 0 && ntp_bar_end(n) > now));
    require(strlen(n->kiss) < NTP_KISS_MAX);
    free(exact);
}

static void poll(struct ntp *n, double now) {
    uint8_t packet[NTP_PACKET_SIZE];
    switch (ntp_poll(n, now, NONCE + n->taken, packet)) {
    case NTP_SEND:
        require(packet[0] == 0x23 && n->waiting && ntp_due(n) > now);
        break;
    case NTP_WAIT:
        require(ntp_due(n) > now && isfinite(ntp_due(n)));
        break;
    case NTP_DONE:
        require(ntp_due(n) == INFINITY);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct ntp_burst BURST = NTP_BURST_DEFAULT;
    struct ntp servers[SERVERS] = {0};
    double now = 1000;
    int current = 0;
    for (int i = 0; i < SERVERS; i++)
        require(ntp_begin(&servers[i], &BURST, now));
    while (size >= 2) {
        int flags = data[0];
        now += data[1] * (flags & LONG_AFTER ? 10. : 0.01);
        data += 2;
        size -= 2;
        size_t len = size < NTP_PACKET_SIZE ? size : NTP_PACKET_SIZE;
        if (flags & OTHER_SERVER)
            current = (current + 1) % SERVERS;
        if (flags & NEW_BURST)
            ntp_begin(&servers[current], &BURST, now);
        poll(&servers[current], now);
        feed(&servers[current], data, len, flags, now + 0.02);
        check_estimates(servers, now + 0.02);
        data += len;
        size -= len;
    }
    return 0;
}
