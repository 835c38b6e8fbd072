/*
 * STUN messages as bytes (RFC 8489, RFC 5780; RFC 3489's are read too).
 *
 * A decoded message borrows the bytes it came from, and attributes are reached by type, so a
 * protocol on top (TURN) needs no new fields here. A writer fills a buffer of the caller's and
 * remembers the first thing that went wrong, so only stun_finish() has to be checked.
 */
#ifndef P2PD_HOST_STUN_H
#define P2PD_HOST_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/inet.h"

#define STUN_HEADER_SIZE 20
#define STUN_ATTRIBUTE_HEADER_SIZE 4
#define STUN_ID_SIZE 16 /* the magic cookie and 96 bits, or the 128 bits of RFC 3489 */
#define STUN_COOKIE 0x2112a442u
#define STUN_MESSAGE_MAX (STUN_HEADER_SIZE + 65532)
#define STUN_UNKNOWN_MAX 32
#define STUN_REASON_MAX 112

enum stun_class { STUN_REQUEST, STUN_INDICATION, STUN_SUCCESS, STUN_ERROR };

enum stun_method {
    STUN_BINDING = 1,
    STUN_ALLOCATE = 3, /* from here: TURN, RFC 8656 §17 */
    STUN_REFRESH = 4,
    STUN_SEND_DATA = 6,
    STUN_DATA_ARRIVED = 7,
    STUN_CREATE_PERMISSION = 8,
    STUN_CHANNEL_BIND = 9,
    STUN_CONNECT = 10, /* RFC 6062 §6.1 */
    STUN_CONNECTION_BIND = 11,
    STUN_CONNECTION_ATTEMPT = 12,
};

enum stun_type {
    STUN_MAPPED_ADDRESS = 0x0001,
    STUN_CHANGE_REQUEST = 0x0003,
    STUN_SOURCE_ADDRESS = 0x0004,  /* RFC 3489 */
    STUN_CHANGED_ADDRESS = 0x0005, /* RFC 3489 */
    STUN_USERNAME = 0x0006,
    STUN_MESSAGE_INTEGRITY = 0x0008,
    STUN_ERROR_CODE = 0x0009,
    STUN_UNKNOWN_ATTRIBUTES = 0x000a,
    STUN_CHANNEL_NUMBER = 0x000c, /* TURN's: RFC 8656 §18 */
    STUN_LIFETIME = 0x000d,
    STUN_XOR_PEER_ADDRESS = 0x0012,
    STUN_DATA = 0x0013,
    STUN_REALM = 0x0014,
    STUN_NONCE = 0x0015,
    STUN_XOR_RELAYED_ADDRESS = 0x0016,
    STUN_REQUESTED_ADDRESS_FAMILY = 0x0017,
    STUN_EVEN_PORT = 0x0018,
    STUN_REQUESTED_TRANSPORT = 0x0019,
    STUN_DONT_FRAGMENT = 0x001a,
    STUN_MESSAGE_INTEGRITY_SHA256 = 0x001c,
    STUN_PASSWORD_ALGORITHM = 0x001d,
    STUN_USERHASH = 0x001e,
    STUN_XOR_MAPPED_ADDRESS = 0x0020,
    STUN_RESERVATION_TOKEN = 0x0022,
    STUN_PADDING = 0x0026,
    STUN_RESPONSE_PORT = 0x0027,
    STUN_CONNECTION_ID = 0x002a,             /* RFC 6062 §6.2 */
    STUN_ADDITIONAL_ADDRESS_FAMILY = 0x8000, /* RFC 8656 §18.11 */
    STUN_PASSWORD_ALGORITHMS = 0x8002,
    STUN_SOFTWARE = 0x8022,
    STUN_ALTERNATE_SERVER = 0x8023,
    STUN_FINGERPRINT = 0x8028,
    STUN_RESPONSE_ORIGIN = 0x802b,
    STUN_OTHER_ADDRESS = 0x802c,
    STUN_ADDITIONAL_FAMILY_DRAFT = 0x8032, /* draft-ietf-tram-turnbis-00; coturn has that */
};

enum { STUN_FAMILY_IPV4 = 1, STUN_FAMILY_IPV6 = 2 }; /* RFC 8489 §14.1 */

enum { STUN_CHANGE_IP = 4, STUN_CHANGE_PORT = 2 }; /* RFC 5780 §7.2 */

struct stun_attribute {
    uint16_t type, len;
    const uint8_t *value;
};

struct stun_message {
    enum stun_class class;
    uint16_t method;
    bool classic; /* without the magic cookie: RFC 3489 */
    uint8_t id[STUN_ID_SIZE];
    const uint8_t *data; /* borrowed */
    size_t len;
    size_t end; /* where the attributes end that count: at the first integrity attribute or
                   fingerprint */
    size_t integrity, integrity_sha256, fingerprint; /* where each begins; 0: there is none */
    uint16_t unknown[STUN_UNKNOWN_MAX];              /* comprehension-required ones, each once */
    size_t unknown_count;
    char reason[STUN_REASON_MAX]; /* what is wrong, naming the attribute; "" */
};

/* Exactly one message. 0, -EMSGSIZE (not as long as it says) or -EBADMSG, with m->reason. The bytes
 * must outlive m. */
int stun_decode(struct stun_message *m, const void *data, size_t len);

/* How long the message is that begins so, for framing in a byte stream; -EBADMSG: no STUN begins
 * so. */
ssize_t stun_frame_length(const uint8_t head[STUN_HEADER_SIZE]);

/* The next attribute that counts; the first one when *a is zeroed. Integrity and fingerprint are no
 * part of this, nor is what follows an integrity attribute (RFC 8489 §14.5). */
bool stun_next(const struct stun_message *m, struct stun_attribute *a);

/* The first attribute of that type. */
bool stun_find(const struct stun_message *m, uint16_t type, struct stun_attribute *a);

/* 0 or -ENOENT; decoding has checked the values. An XOR- type comes out plain. */
int stun_get_address(const struct stun_message *m, uint16_t type, struct inet_addr *addr);
int stun_get_address_of(const struct stun_message *m, uint16_t type, int family,
                        struct inet_addr *addr); /* the first one of that family */
int stun_get_u32(const struct stun_message *m, uint16_t type, uint32_t *value);
int stun_get_error(const struct stun_message *m, int *code, const char **reason, size_t *len);

/* XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS. 0 or -ENOENT. */
int stun_mapped_address(const struct stun_message *m, struct inet_addr *addr);

/* "SOFTWARE" and so on; NULL for a type that this host does not know. */
const char *stun_type_name(uint16_t type);

struct stun_writer {
    uint8_t *data; /* the caller's */
    size_t cap, len;
    int error; /* the first one: -ENOBUFS (cap is too small), -EMSGSIZE, -EINVAL, -EIO */
};

void stun_begin(struct stun_writer *w, void *buf, size_t cap, enum stun_class class,
                uint16_t method, const uint8_t id[STUN_ID_SIZE]);
void stun_put(struct stun_writer *w, uint16_t type, const void *value, size_t len);
void stun_put_address(struct stun_writer *w, uint16_t type, const struct inet_addr *addr);
void stun_put_u32(struct stun_writer *w, uint16_t type, uint32_t value);
void stun_put_error(struct stun_writer *w, int code, const char *reason, size_t len);

/* The length of the whole message, or the error. */
ssize_t stun_finish(struct stun_writer *w);

/* The cookie and the 96 bits of an id. */
void stun_make_id(uint8_t id[STUN_ID_SIZE], const uint8_t bits[12]);

#endif
