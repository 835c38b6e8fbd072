/*
 * One server's side of the NTP client: the packet, the checks, the burst, the filter.
 *
 * A request says nothing about us: all is zero but the version, the mode and 64 random bits in
 * place of the transmit timestamp, which the answer has to repeat. So nobody who does not see the
 * request can answer it, and the instant of sending stays here.
 *
 * The filter keeps what each answer proves: it left the server before it came here, and the request
 * came there after it had left, so the offset lies between two limits. The truth lies within the
 * limits of every sample; where they overlap is the shortest way there joined with the shortest way
 * back, which under jitter errs about half as much as the sample of least delay does.
 */
#include "host/ntp.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define ERA_SECONDS 4294967296.
#define UNIX_EPOCH 2208988800. /* 1970 in the first era, RFC 5905 figure 4 */
#define FLOOR 1735689600.      /* 2025, since 1970 */
#define VERSION 4
#define OLDEST_VERSION 3 /* some servers answer so; the packet is the same */
#define STRATUM_MAX 15
#define LEAP_ALARM 3
#define FAULTS_MAX 3
#define RATE_WAIT_S 64. /* and twice as long each time; MINPOLL of RFC 5905 */
#define RATE_DOUBLINGS 10
#define OWN_PRECISION 1e-6 /* of a double that counts seconds since 1970, and of our clock */

/* -- bytes --------------------------------------------------------------------------------- */

static uint64_t get(const uint8_t *p, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return value;
}

static void put(uint8_t *p, int bytes, uint64_t value) {
    for (int i = bytes; i-- > 0; value >>= 8)
        p[i] = (uint8_t)value;
}

static uint32_t to_short(double seconds) {
    double value = round(seconds * 65536);
    return value <= 0 ? 0 : value >= UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

int ntp_decode(struct ntp_packet *p, const void *data, size_t len) {
    const uint8_t *b = data;
    if (len < NTP_PACKET_SIZE)
        return -EMSGSIZE;
    *p = (struct ntp_packet){
        .leap = b[0] >> 6,
        .version = b[0] >> 3 & 7,
        .mode = b[0] & 7,
        .stratum = b[1],
        .poll = (int8_t)b[2],
        .precision = (int8_t)b[3],
        .root_delay = (double)get(b + 4, 4) / 65536,
        .root_dispersion = (double)get(b + 8, 4) / 65536,
        .reference_id = (uint32_t)get(b + 12, 4),
        .reference = get(b + 16, 8),
        .origin = get(b + 24, 8),
        .receive = get(b + 32, 8),
        .transmit = get(b + 40, 8),
    };
    return 0;
}

void ntp_encode(uint8_t data[NTP_PACKET_SIZE], const struct ntp_packet *p) {
    data[0] = (uint8_t)(p->leap << 6 | (p->version & 7) << 3 | (p->mode & 7));
    data[1] = p->stratum;
    data[2] = (uint8_t)p->poll;
    data[3] = (uint8_t)p->precision;
    put(data + 4, 4, to_short(p->root_delay));
    put(data + 8, 4, to_short(p->root_dispersion));
    put(data + 12, 4, p->reference_id);
    put(data + 16, 8, p->reference);
    put(data + 24, 8, p->origin);
    put(data + 32, 8, p->receive);
    put(data + 40, 8, p->transmit);
}

double ntp_seconds(uint64_t timestamp) {
    double seconds = (double)(timestamp >> 32) - UNIX_EPOCH;
    while (seconds < FLOOR)
        seconds += ERA_SECONDS;
    return seconds + (double)(timestamp & UINT32_MAX) / ERA_SECONDS;
}

uint64_t ntp_timestamp(double seconds) {
    double whole = floor(seconds);
    double in_era = fmod(whole + UNIX_EPOCH, ERA_SECONDS);
    if (in_era < 0)
        in_era += ERA_SECONDS;
    return (uint64_t)in_era << 32 | (uint64_t)((seconds - whole) * ERA_SECONDS);
}

/* -- the burst ----------------------------------------------------------------------------- */

bool ntp_begin(struct ntp *n, const struct ntp_burst *burst, double now) {
    n->waiting = false;
    n->faults = 0;
    n->left = now < n->barred ? 0 : burst->count;
    n->burst = *burst;
    n->spacing = burst->spacing;
    n->next = now;
    return n->left > 0;
}

static void note_fault(struct ntp *n, const char *reason) {
    n->reason = reason;
    n->waiting = false;
    if (++n->faults >= FAULTS_MAX)
        n->left = 0;
}

static enum ntp_action send(struct ntp *n, double now, uint64_t nonce, uint8_t *packet) {
    struct ntp_packet request = {.version = VERSION, .mode = NTP_CLIENT, .transmit = nonce};
    ntp_encode(packet, &request);
    n->waiting = true;
    n->nonce = nonce;
    n->sent = now;
    n->next = now + n->spacing;
    n->spacing = fmin(n->spacing * 2, n->burst.spacing_max);
    return NTP_SEND;
}

enum ntp_action ntp_poll(struct ntp *n, double now, uint64_t nonce,
                         uint8_t packet[NTP_PACKET_SIZE]) {
    if (n->waiting && now >= n->sent + n->burst.timeout)
        note_fault(n, "timed out");
    if (n->left == 0)
        return NTP_DONE;
    if (n->waiting || now < n->next)
        return NTP_WAIT;
    return send(n, now, nonce, packet);
}

double ntp_due(const struct ntp *n) {
    if (n->left == 0)
        return INFINITY;
    return n->waiting ? n->sent + n->burst.timeout : n->next;
}

double ntp_bar_end(const struct ntp *n) {
    return n->barred;
}

/* -- answers ------------------------------------------------------------------------------- */

/* What shows that it is no answer to the request that is out; the request goes on waiting. */
static const char *find_stranger(const struct ntp *n, const struct ntp_packet *p) {
    if (p->mode != NTP_SERVER)
        return "not from a server";
    if (p->version < OLDEST_VERSION || p->version > VERSION)
        return "an unknown version";
    if (!n->waiting)
        return "nothing was asked";
    if (p->origin != n->nonce)
        return "an answer to something else";
    return NULL;
}

static bool is_later(uint64_t a, uint64_t b) {
    return (int64_t)(a - b) > 0;
}

static double distance_of(const struct ntp_packet *p) {
    return p->root_delay / 2 + p->root_dispersion;
}

static const char *find_fault(const struct ntp *n, const struct ntp_packet *p) {
    if (p->leap == LEAP_ALARM)
        return "the server is not synchronised";
    if (p->stratum > STRATUM_MAX)
        return "no such stratum";
    if (!p->receive || !p->transmit)
        return "no timestamp";
    if (n->taken && p->transmit == n->last)
        return "a timestamp that was seen before";
    if (is_later(p->receive, p->transmit))
        return "sent before it was asked";
    if (p->reference && is_later(p->reference, p->transmit))
        return "synchronised in the future";
    if (distance_of(p) >= NTP_DISTANCE_MAX)
        return "the server is too far from the true time";
    return NULL;
}

/* RFC 5905 §7.4. */
static enum ntp_event take_kiss(struct ntp *n, const struct ntp_packet *p, double now) {
    put((uint8_t *)n->kiss, 4, p->reference_id);
    for (int i = 0; i < 4; i++)
        if (n->kiss[i] < ' ' || n->kiss[i] > '~')
            n->kiss[i] = '?';
    if (strcmp(n->kiss, "DENY") == 0 || strcmp(n->kiss, "RSTR") == 0) {
        n->barred = INFINITY;
    } else if (strcmp(n->kiss, "RATE") == 0) {
        n->barred = now + ldexp(RATE_WAIT_S, n->rates);
        n->rates += n->rates < RATE_DOUBLINGS;
    } else {
        note_fault(n, "the server has no time to give");
        return NTP_REFUSED;
    }
    n->reason = "the server does not want to be asked";
    n->waiting = false;
    n->left = 0;
    return NTP_KISS;
}

/* False: the round trip took less than no time, beyond what the clocks can err. */
static bool keep_sample(struct ntp *n, const struct ntp_packet *p, double now) {
    double precision = ldexp(1, p->precision < 0 ? p->precision : 0);
    struct ntp_sample sample = {
        .at = now,
        .lower = ntp_seconds(p->transmit) - now,
        .upper = ntp_seconds(p->receive) - n->sent,
        .distance = distance_of(p) + precision + OWN_PRECISION,
    };
    if (sample.upper - sample.lower < -2 * (precision + OWN_PRECISION))
        return false;
    if (sample.upper < sample.lower)
        sample.upper = sample.lower = (sample.upper + sample.lower) / 2;
    n->samples[n->taken++ % NTP_SAMPLES] = sample;
    return true;
}

enum ntp_event ntp_feed(struct ntp *n, const void *data, size_t len, double now) {
    struct ntp_packet p;
    if (ntp_decode(&p, data, len) != 0) {
        n->reason = "too short";
        return NTP_IGNORED;
    }
    if ((n->reason = find_stranger(n, &p)))
        return NTP_IGNORED;
    if (p.stratum == 0)
        return take_kiss(n, &p, now);
    const char *fault = find_fault(n, &p);
    if (!fault && !keep_sample(n, &p, now))
        fault = "more time has passed there than here";
    if (fault) {
        note_fault(n, fault);
        return NTP_REFUSED;
    }
    n->waiting = false;
    n->last = p.transmit;
    n->faults = 0;
    n->left--;
    return NTP_SAMPLE;
}

/* -- the filter ---------------------------------------------------------------------------- */

/* The i-th last sample. */
static const struct ntp_sample *recall(const struct ntp *n, unsigned i) {
    return &n->samples[(n->taken - 1 - i) % NTP_SAMPLES];
}

/* Newest first: where an older sample contradicts the newer ones, a clock has been set since. */
int ntp_estimate(const struct ntp *n, double now, struct ntp_interval *estimate, double *delay) {
    unsigned kept = n->taken < NTP_SAMPLES ? n->taken : NTP_SAMPLES, used = 0;
    double lower = -INFINITY, upper = INFINITY, shortest = INFINITY;
    for (; used < kept; used++) {
        const struct ntp_sample *s = recall(n, used);
        double drift = NTP_DRIFT * fabs(now - s->at);
        double low = fmax(lower, s->lower - drift), high = fmin(upper, s->upper + drift);
        if (low > high)
            break;
        lower = low;
        upper = high;
        shortest = fmin(shortest, s->upper - s->lower);
    }
    if (used == 0)
        return 0;
    estimate->offset = lower + (upper - lower) / 2;
    estimate->bound = (upper - lower) / 2 + recall(n, 0)->distance;
    if (delay)
        *delay = shortest;
    return (int)used;
}
