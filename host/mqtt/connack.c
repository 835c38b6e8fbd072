/* Pure: bytes in, numbers out. Properties that mean nothing to us are skipped by their type. */
#include "host/mqtt/connack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNACK 0x20
#define LENGTH_BYTES_MAX 4 /* MQTT 5 §1.5.5 */

enum { SERVER_KEEP_ALIVE = 0x13, SERVER_REFERENCE = 0x1c, MAXIMUM_PACKET_SIZE = 0x27 };

struct reader {
    const uint8_t *at, *end;
    bool failed;
};

static uint32_t read_number(struct reader *r, int bytes) {
    uint32_t n = 0;
    if (r->end - r->at < bytes) {
        r->failed = true;
        return 0;
    }
    while (bytes-- > 0)
        n = n << 8 | *r->at++;
    return n;
}

static uint32_t read_varint(struct reader *r) {
    uint32_t n = 0;
    for (int i = 0; i < LENGTH_BYTES_MAX; i++) {
        uint32_t byte = read_number(r, 1);
        n |= (byte & 0x7f) << (7 * i);
        if (byte < 0x80)
            return n;
    }
    r->failed = true;
    return 0;
}

/* A string or binary data: where it begins. */
static const char *read_text(struct reader *r, size_t *len) {
    *len = read_number(r, 2);
    if (r->failed || (size_t)(r->end - r->at) < *len) {
        r->failed = true;
        *len = 0;
    }
    const uint8_t *text = r->at;
    r->at += *len;
    return (const char *)text;
}

static void skip(struct reader *r, uint32_t property) {
    size_t len;
    switch (property) {
    case 0x24: /* Maximum QoS, Retain Available */
    case 0x25:
    case 0x28: /* Wildcard, Subscription Identifier, Shared Subscription Available */
    case 0x29:
    case 0x2a:
        read_number(r, 1);
        return;
    case 0x21: /* Receive Maximum, Topic Alias Maximum */
    case 0x22:
        read_number(r, 2);
        return;
    case 0x11: /* Session Expiry Interval */
        read_number(r, 4);
        return;
    case 0x26: /* User Property: two strings */
        read_text(r, &len);
        read_text(r, &len);
        return;
    case 0x12: /* Assigned Client Identifier, Reason String, Response Information, Authentication */
    case 0x15:
    case 0x16:
    case 0x1a:
    case 0x1f:
        read_text(r, &len);
        return;
    default:
        r->failed = true;
    }
}

static void read_reference(struct reader *r, char *out) {
    size_t len;
    const char *text = read_text(r, &len);
    if (len <= MQTT_REFERENCE_MAX && !memchr(text, 0, len))
        memcpy(out, text, len);
}

static void read_property(struct reader *r, struct mqtt_connack *out) {
    uint32_t property = read_varint(r);
    if (property == SERVER_KEEP_ALIVE)
        out->keepalive_s = (int)read_number(r, 2);
    else if (property == MAXIMUM_PACKET_SIZE)
        out->packet_max = read_number(r, 4);
    else if (property == SERVER_REFERENCE)
        read_reference(r, out->reference);
    else
        skip(r, property);
}

bool mqtt_connack_parse(const void *bytes, size_t len, struct mqtt_connack *out) {
    struct reader r = {.at = bytes, .end = (const uint8_t *)bytes + len};
    *out = (struct mqtt_connack){0};
    r.failed = read_number(&r, 1) != CONNACK;
    uint32_t left = read_varint(&r);
    if (r.failed || left > (size_t)(r.end - r.at))
        return false;
    r.end = r.at + left;
    read_number(&r, 2); /* flags and reason */
    left = read_varint(&r);
    r.failed = r.failed || left != (size_t)(r.end - r.at);
    while (!r.failed && r.at < r.end)
        read_property(&r, out);
    if (r.failed)
        *out = (struct mqtt_connack){0};
    return !r.failed;
}

static bool parse_port(const char *text, size_t len, int *port) {
    if (len == 0 || len > 5 || strspn(text, "0123456789") < len)
        return false;
    int n = atoi(text);
    if (n < 1 || n > UINT16_MAX)
        return false;
    *port = n;
    return true;
}

static bool is_host(const char *text, size_t len) {
    static const char LEGAL[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%";
    return len > 0 && len <= MQTT_REFERENCE_MAX && strspn(text, LEGAL) >= len;
}

bool mqtt_reference_parse(const char *reference, char *host, int *port) {
    size_t len = strcspn(reference, " ");
    const char *end = reference + len, *colon = memchr(reference, ':', len);
    const char *name = reference, *name_end = colon ? colon : end;
    if (*reference == '[') {
        name = reference + 1;
        name_end = memchr(reference, ']', len);
        if (!name_end)
            return false;
        colon = name_end + 1 < end ? name_end + 1 : NULL;
    } else if (colon && memchr(colon + 1, ':', (size_t)(end - colon - 1))) {
        name_end = end; /* an IPv6 address as it is */
        colon = NULL;
    }
    if (!is_host(name, (size_t)(name_end - name)))
        return false;
    if (colon && (*colon != ':' || !parse_port(colon + 1, (size_t)(end - colon - 1), port)))
        return false;
    snprintf(host, MQTT_REFERENCE_MAX + 1, "%.*s", (int)(name_end - name), name);
    return true;
}
