/*
 * The NTP client (RFC 5905): packets and instants in, packets and estimates out.
 *
 * Instants are seconds on any one scale that never jumps; an offset is what has to be added to that
 * scale to get seconds since 1970. Nothing here has a socket or a clock.
 */
#ifndef P2PD_HOST_NTP_H
#define P2PD_HOST_NTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NTP_PACKET_SIZE 48
#define NTP_SAMPLES 8       /* RFC 5905 §10: stages of the clock filter */
#define NTP_SERVERS_MAX 16  /* that one selection takes */
#define NTP_DRIFT 50e-6     /* seconds per second that a clock nobody corrects may go wrong */
#define NTP_DISTANCE_MAX 1. /* seconds, MAXDIST of RFC 5905 §11.1 */
#define NTP_KISS_MAX 5      /* four letters, and a NUL */

enum { NTP_CLIENT = 3, NTP_SERVER = 4 }; /* modes, RFC 5905 figure 10 */

struct ntp_packet {
    uint8_t leap, version, mode, stratum;
    int8_t poll, precision;             /* powers of 2, seconds */
    double root_delay, root_dispersion; /* seconds */
    uint32_t reference_id;
    uint64_t reference, origin, receive, transmit; /* seconds since an era began, times 2^32 */
};

/* 0, or -EMSGSIZE. Whatever follows the header (extensions, a MAC) is not looked at. */
int ntp_decode(struct ntp_packet *p, const void *data, size_t len);
void ntp_encode(uint8_t data[NTP_PACKET_SIZE], const struct ntp_packet *p);

/* A timestamp as seconds since 1970. It says no era: it is taken to lie in the 136 years from 2025
 * on, whatever the host believes the year to be. */
double ntp_seconds(uint64_t timestamp);
uint64_t ntp_timestamp(double seconds);

struct ntp_interval {
    double offset, bound; /* the truth is in offset - bound to offset + bound */
};

struct ntp_sample {
    double at;           /* when the answer came */
    double lower, upper; /* what the server's offset can be */
    double distance;     /* of the server from the true time, and the precision of its answer */
};

/* How often a server is asked. */
struct ntp_burst {
    int count; /* samples wanted */
    double spacing,
        spacing_max; /* seconds between two requests: doubled each time, up to a limit */
    double timeout;  /* seconds after which an answer is lost */
};

#define NTP_BURST_DEFAULT                                                                          \
    (struct ntp_burst) {                                                                           \
        .count = NTP_SAMPLES, .spacing = 0.1, .spacing_max = 2, .timeout = 1                       \
    }

enum ntp_action {
    NTP_WAIT, /* until ntp_due() */
    NTP_SEND, /* the packet, now */
    NTP_DONE, /* the burst is over */
};

enum ntp_event {
    NTP_SAMPLE,  /* a good answer */
    NTP_KISS,    /* the server wants us to stay away; ntp_bar_end() says for how long */
    NTP_REFUSED, /* the server's answer, but a useless one: see reason */
    NTP_IGNORED, /* no answer to our request at all: see reason */
};

/* One server. Zeroed is valid: nothing asked, nothing known. */
struct ntp {
    struct ntp_burst burst;
    int left;       /* samples still wanted */
    int faults;     /* requests without a sample, in a row */
    int rates;      /* RATE kisses so far */
    bool waiting;   /* a request is out */
    uint64_t nonce; /* what that request gave as its transmit timestamp */
    uint64_t last;  /* the transmit timestamp of the last answer */
    double sent, next, spacing;
    double barred; /* not to be asked before; 0: no */
    struct ntp_sample samples[NTP_SAMPLES];
    unsigned taken;          /* samples ever; the last NTP_SAMPLES are kept */
    char kiss[NTP_KISS_MAX]; /* the last one; "" */
    const char *reason;      /* what was wrong with the last packet */
};

/* Starts a burst; what is known from earlier ones stays. False: the server barred us, see
 * ntp_bar_end(). */
bool ntp_begin(struct ntp *n, const struct ntp_burst *burst, double now);

/* `nonce` is random: it goes into the request and has to come back. A packet is written when it is
 * to be sent, right now. */
enum ntp_action ntp_poll(struct ntp *n, double now, uint64_t nonce,
                         uint8_t packet[NTP_PACKET_SIZE]);

/* The instant to poll at; INFINITY: the burst is over. */
double ntp_due(const struct ntp *n);

/* A packet that came from the server's address at this instant. */
enum ntp_event ntp_feed(struct ntp *n, const void *data, size_t len, double now);

/* The instant from which on the server may be asked again; INFINITY: never. */
double ntp_bar_end(const struct ntp *n);

/* How many samples the estimate rests on; 0: none, and *estimate is untouched. delay (may be NULL):
 * the shortest round trip among them, seconds. */
int ntp_estimate(const struct ntp *n, double now, struct ntp_interval *estimate, double *delay);

/* Outvotes the servers that are wrong (RFC 5905 §11.2.1) and combines the others. `agrees` tells
 * for each whether it is among them. How many are; 0: no majority agrees on anything. */
int ntp_select(const struct ntp_interval *servers, size_t count, bool *agrees,
               struct ntp_interval *combined);

#endif
