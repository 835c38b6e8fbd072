/*
 * The BIO takes all that OpenSSL writes, up to a limit that only a peer that makes us answer
 * without end can reach: OpenSSL must not have half a record on its hands when it has to answer a
 * key update. After a short read the transport below is not asked again in the same call.
 */
#include "host/tls/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OUT_MAX (64 * 1024)

static int take_early(struct tls_wire *wire, char *data, int len) {
    int n = wire->early.len < (size_t)len ? (int)wire->early.len : len;
    memcpy(data, buffer_head(&wire->early), (size_t)n);
    buffer_consume(&wire->early, (size_t)n);
    if (!wire->early.len)
        buffer_fini(&wire->early);
    return n;
}

static int bio_read(BIO *bio, char *data, int len) {
    struct tls_wire *wire = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (wire->early.len)
        return take_early(wire, data, len);
    struct transport *lower = wire->lower;
    ssize_t n = wire->drained ? -EAGAIN : lower->ops->read(lower, data, (size_t)len);
    wire->drained = n == -EAGAIN || (n > 0 && n < len);
    wire->ended = wire->ended || n == 0;
    if (n == -EAGAIN)
        BIO_set_retry_read(bio);
    else if (n < 0)
        wire->error = (int)n;
    return n < 0 ? -1 : (int)n;
}

/* How much is taken at once; -errno when nothing ever will be. */
static ssize_t send_some(struct tls_wire *wire, const void *data, size_t len) {
    ssize_t n = wire->lower->ops->write(wire->lower, data, len);
    if (n >= 0 || n == -EAGAIN)
        return n > 0 ? n : 0;
    buffer_fini(&wire->out);
    return wire->error = wire->write_error = (int)n;
}

static int bio_write(BIO *bio, const char *data, int len) {
    struct tls_wire *wire = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (wire->out.len >= OUT_MAX) {
        BIO_set_retry_write(bio);
        return -1;
    }
    ssize_t n = wire->out.len ? 0 : send_some(wire, data, (size_t)len);
    if (n < 0)
        return -1;
    if (n < len)
        buffer_append(&wire->out, data + n, (size_t)(len - n));
    return len;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)number, (void)pointer;
    struct tls_wire *wire = BIO_get_data(bio);
    if (command == BIO_CTRL_EOF)
        return wire->ended;
    return command == BIO_CTRL_FLUSH;
}

/* Lives as long as the process. */
static const BIO_METHOD *bio_method(void) {
    static BIO_METHOD *method;
    if (method)
        return method;
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "p2pd transport");
    if (!method)
        abort();
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    return method;
}

BIO *tls_wire_bio(struct tls_wire *wire) {
    BIO *bio = BIO_new(bio_method());
    if (!bio)
        abort();
    BIO_set_data(bio, wire);
    BIO_set_init(bio, 1);
    return bio;
}

void tls_wire_prepare(struct tls_wire *wire) {
    wire->drained = false;
    wire->error = 0;
}

int tls_wire_fill(struct tls_wire *wire, size_t size) {
    char data[2048];
    while (wire->early.len < size) {
        size_t missing = size - wire->early.len;
        ssize_t n = wire->lower->ops->read(wire->lower, data,
                                           missing < sizeof data ? missing : sizeof data);
        if (n <= 0)
            return n ? (int)n : -ECONNRESET;
        buffer_append(&wire->early, data, (size_t)n);
    }
    return 0;
}

int tls_wire_flush(struct tls_wire *wire) {
    while (wire->out.len) {
        ssize_t n = send_some(wire, buffer_head(&wire->out), wire->out.len);
        if (n <= 0)
            return n ? (int)n : -EAGAIN;
        buffer_consume(&wire->out, (size_t)n);
    }
    buffer_fini(&wire->out);
    return 0;
}

void tls_wire_fini(struct tls_wire *wire) {
    buffer_fini(&wire->early);
    buffer_fini(&wire->out);
}
