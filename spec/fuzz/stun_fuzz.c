/*
 * libFuzzer on the STUN decoder, its getters, the integrity checks and the transaction.
 */
#include "host/stun/integrity.h"
#include "host/stun/transaction.h"
#include "spec/fuzz/fuzz.h"

static void read_everything(const struct stun_message *m) {
    struct stun_attribute a = {0};
    struct inet_addr addr;
    const char *reason;
    uint32_t big;
    size_t len;
    int code;
    while (stun_next(m, &a)) {
        touch(a.value, a.len);
        require(a.value + a.len <= m->data + m->len);
        stun_get_u32(m, a.type, &big);
        stun_get_address(m, a.type, &addr);
    }
    if (stun_get_error(m, &code, &reason, &len) == 0) {
        require(code >= 300 && code <= 699);
        touch(reason, len);
    }
    stun_mapped_address(m, &addr);
    require(m->unknown_count <= STUN_UNKNOWN_MAX);
    stun_check_integrity(m, "key", 3);
    stun_check_fingerprint(m);
}

/* What was decoded can be written again, and reads the same. */
static void write_again(const struct stun_message *m) {
    static uint8_t buf[STUN_MESSAGE_MAX];
    struct stun_message copy;
    struct stun_attribute a = {0}, b = {0};
    struct stun_writer w;
    stun_begin(&w, buf, sizeof buf, m->class, m->method, m->id);
    while (stun_next(m, &a))
        stun_put(&w, a.type, a.value, a.len);
    ssize_t len = stun_finish(&w);
    require(len >= STUN_HEADER_SIZE && (size_t)len == m->end);
    require(stun_decode(&copy, buf, (size_t)len) == 0);
    require(copy.class == m->class && copy.method == m->method);
    a = (struct stun_attribute){0};
    while (stun_next(m, &a))
        require(stun_next(&copy, &b) && a.type == b.type && a.len == b.len &&
                memcmp(a.value, b.value, a.len) == 0);
    require(!stun_next(&copy, &b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct stun_message m;
    struct stun_transaction t;
    struct stun_timer timer = STUN_TIMER_DEFAULT;
    uint8_t *exact = copy_exactly(data, size);
    if (size >= STUN_HEADER_SIZE)
        stun_frame_length(exact);
    int error = stun_decode(&m, exact, size);
    require(!error == !m.reason[0]);
    if (!error) {
        read_everything(&m);
        write_again(&m);
        if (stun_transaction_init(&t, &timer, exact, size) == 0) {
            stun_transaction_poll(&t, 1);
            stun_transaction_feed(&t, &m, exact, size);
        }
    }
    free(exact);
    return 0;
}
