/*
 * OpenSSL's reasons in the words of this program. Codes: EACCES for a node that is not the expected
 * one, or does not want us; EBUSY for one that has no room now; EPROTO for what is not our TLS;
 * EBADMSG for bytes that are not what the peer has sent; ECONNRESET for an end that TLS has not
 * announced.
 */
#include "host/tls/failure.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set(struct tls_failure *f, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int set(struct tls_failure *f, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    free(f->text);
    if (vasprintf(&f->text, format, args) < 0)
        abort();
    va_end(args);
    ERR_clear_error();
    return f->code = -code;
}

int tls_failure_set(struct tls_failure *failure, int code, const char *text) {
    return set(failure, code, "%s", text);
}

int tls_failure_below(struct tls_failure *failure, int error, const char *why, bool open) {
    bool hung_up = error == 0 || error == -ECONNRESET || error == -EPIPE;
    if (hung_up && !open)
        return set(failure, ECONNRESET, "the peer hung up in the TLS handshake");
    if (error == 0)
        return set(failure, ECONNRESET, "truncated: the stream ended without close_notify");
    return set(failure, -error, "%s", why ? why : strerror(-error));
}

int tls_failure_request(struct tls_failure *failure) {
    return set(failure, EACCES, "the server wants a client certificate");
}

int tls_failure_certificate(struct tls_failure *failure, const struct tls_pin *pin) {
    if (pin->host[0])
        return set(failure, EACCES, "the server's certificate is not good: %s",
                   X509_verify_cert_error_string(pin->fault));
    if (pin->peer[0])
        return set(failure, EACCES, "the peer's certificate is of another node: %s", pin->peer);
    return set(failure, EACCES, "the peer's certificate has no node key");
}

/* The alerts that say that the peer does not want us (RFC 8446 §6.2). */
static bool is_refusal(int alert) {
    switch (alert) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

static int set_by_alert(struct tls_failure *failure, int alert) {
    if (alert == SSL_AD_PROTOCOL_VERSION)
        return set(failure, EPROTO, "the peer does not speak TLS 1.3");
    if (alert == SSL_AD_CERTIFICATE_REQUIRED)
        return tls_failure_request(failure);
    if (alert == SSL_AD_INTERNAL_ERROR)
        return set(failure, EBUSY, "refused by the peer: it is too busy");
    return set(failure, is_refusal(alert) ? EACCES : EPROTO, "refused by the peer: %s",
               SSL_alert_desc_string_long(alert));
}

static int set_by_version(struct tls_failure *failure, SSL *ssl) {
    int version = SSL_is_server(ssl) ? SSL_client_version(ssl) : 0;
    if (version >= TLS1_VERSION && version <= TLS1_2_VERSION)
        return set(failure, EPROTO, "the peer offers TLS 1.%d, not 1.3", version - TLS1_VERSION);
    return set(failure, EPROTO, "the peer does not speak TLS 1.3");
}

static int set_by_handshake(struct tls_failure *failure, SSL *ssl, int reason, const char *text) {
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return tls_failure_certificate(failure, SSL_get_app_data(ssl));
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return set(failure, EACCES, "the peer has no certificate of a node");
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_WRONG_SSL_VERSION:
        return set_by_version(failure, ssl);
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return set(failure, EPROTO, "what the peer sends is not TLS");
    default:
        return set(failure, EPROTO, "TLS handshake: %s", text);
    }
}

int tls_failure_protocol(struct tls_failure *failure, SSL *ssl, bool open) {
    unsigned long error = ERR_peek_error();
    int reason = ERR_GET_REASON(error);
    const char *text = ERR_reason_error_string(error);
    text = text ? text : "unknown error";
    if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return tls_failure_below(failure, 0, NULL, open);
    if (reason >= SSL_AD_REASON_OFFSET)
        return set_by_alert(failure, reason - SSL_AD_REASON_OFFSET);
    if (open)
        return set(failure, EBADMSG, "not what the peer has sent: %s", text);
    return set_by_handshake(failure, ssl, reason, text);
}

void tls_failure_fini(struct tls_failure *failure) {
    free(failure->text);
    failure->text = NULL;
}
