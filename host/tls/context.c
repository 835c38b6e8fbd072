/*
 * One SSL_CTX a node, and one for each set of authorities. Nothing is resumed: a session is worth
 * less than what it says about us.
 */
#include "host/tls/context.h"

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef __aarch64__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#define CERTIFICATE_CHAIN_MAX 4096        /* bytes of the peer's; ours has some 300 */
#define READ_AHEAD (2 * 16 * 1024 + 1024) /* two full records and their overhead */

struct tls_context {
    SSL_CTX *ssl;
    bool trusting; /* authorities, for servers with names */
    uint8_t proof_key[TLS_PROOF_KEY];
    uint64_t key_records;
    int references;
};

/* -- the certificate ----------------------------------------------------------------------- */

static bool set_name(X509 *certificate) {
    X509_NAME *name = X509_get_subject_name(certificate);
    const unsigned char text[] = "node";
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, text, -1, -1, 0) &&
           X509_set_issuer_name(certificate, name);
}

/* All of time, so that a wrong clock does no harm (RFC 5280 §4.1.2.5 names the last date). */
static bool set_validity(X509 *certificate) {
    return ASN1_TIME_set_string(X509_getm_notBefore(certificate), "19700101000000Z") &&
           ASN1_TIME_set_string(X509_getm_notAfter(certificate), "99991231235959Z");
}

static bool fill_in(X509 *certificate, EVP_PKEY *pkey) {
    return X509_set_version(certificate, X509_VERSION_3) &&
           ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) && set_name(certificate) &&
           set_validity(certificate) && X509_set_pubkey(certificate, pkey) &&
           X509_sign(certificate, pkey, NULL) > 0;
}

static bool use_key(SSL_CTX *ssl, EVP_PKEY *pkey) {
    X509 *certificate = X509_new();
    bool ok = certificate && fill_in(certificate, pkey) &&
              SSL_CTX_use_certificate(ssl, certificate) == 1 &&
              SSL_CTX_use_PrivateKey(ssl, pkey) == 1;
    X509_free(certificate);
    return ok;
}

/* -- a named server's ------------------------------------------------------------------------ */

static bool expect_host(SSL *ssl, const char *host) {
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host))
        return true;
    return X509_VERIFY_PARAM_set1_host(param, host, 0) && SSL_set_tlsext_host_name(ssl, host);
}

/* "0a775a30.0": the hash of a subject's name and a number, as OpenSSL looks for it. */
static int is_hashed(const struct dirent *entry) {
    return strspn(entry->d_name, "0123456789abcdef") == 8 && entry->d_name[8] == '.';
}

static bool has_hashed(const char *folder) {
    struct dirent **names;
    int count = scandir(folder, &names, is_hashed, NULL);
    for (int i = 0; i < count; i++)
        free(names[i]);
    if (count >= 0)
        free(names);
    return count > 0;
}

/* The system has its authorities in one file, which takes a megabyte and 40 ms to read, and often
 * also in a folder, where the one that is needed is found by its name. */
static bool load_system_authorities(SSL_CTX *ssl) {
    const char *folder = getenv(X509_get_default_cert_dir_env());
    folder = folder ? folder : X509_get_default_cert_dir();
    if (!getenv(X509_get_default_cert_file_env()) && has_hashed(folder))
        return SSL_CTX_load_verify_dir(ssl, folder);
    return SSL_CTX_set_default_verify_paths(ssl);
}

static bool load_authorities(SSL_CTX *ssl, const char *ca) {
    if (!ca)
        return load_system_authorities(ssl);
    struct stat st;
    if (stat(ca, &st) == 0 && S_ISDIR(st.st_mode))
        return SSL_CTX_load_verify_dir(ssl, ca);
    return SSL_CTX_load_verify_file(ssl, ca);
}

static bool trust(SSL_CTX *ssl, const char *ca) {
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, tls_pin_on_chain);
    SSL_CTX_set_client_cert_cb(ssl, tls_pin_on_request);
    return SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) && load_authorities(ssl, ca);
}

/* -- the settings -------------------------------------------------------------------------- */

static bool has_aes(void) {
#if defined __x86_64__ || defined __i386__
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined __aarch64__
    return getauxval(AT_HWCAP) & HWCAP_AES;
#else
    return false;
#endif
}

/* The server chooses, and takes ChaCha20 when the client is the one without AES in hardware. */
static bool set_suites(SSL_CTX *ssl) {
    SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    return SSL_CTX_set_ciphersuites(
        ssl, has_aes()
                 ? "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
                 : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384");
}

/* One version, one group, one signature: whoever speaks first has guessed right, so the handshake
 * is always one round trip. */
static bool set_protocol(SSL_CTX *ssl) {
    return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) &&
           SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) &&
           SSL_CTX_set1_groups_list(ssl, "X25519") && SSL_CTX_set1_sigalgs_list(ssl, "ed25519") &&
           SSL_CTX_set1_client_sigalgs_list(ssl, "ed25519") && set_suites(ssl);
}

static void set_behaviour(SSL_CTX *ssl) {
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_clear_options(ssl, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_max_cert_list(ssl, CERTIFICATE_CHAIN_MAX);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_default_read_buffer_len(ssl, READ_AHEAD);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ssl, tls_pin_verify, NULL);
}

static SSL_CTX *new_ssl(const struct keys *keys) {
    SSL_CTX *ssl = SSL_CTX_new(TLS_method());
    if (!ssl)
        return NULL;
    set_behaviour(ssl);
    if (set_protocol(ssl) && use_key(ssl, keys_pkey(keys)))
        return ssl;
    SSL_CTX_free(ssl);
    return NULL;
}

static struct tls_context *new_context(SSL_CTX *ssl, bool trusting) {
    struct tls_context *context = calloc(1, sizeof *context);
    if (!context)
        abort();
    context->ssl = ssl;
    context->trusting = trusting;
    context->references = 1;
    context->key_records = TLS_KEY_RECORDS_MAX;
    return context;
}

struct tls_context *tls_context_new(const struct keys *keys) {
    SSL_CTX *ssl = new_ssl(keys);
    if (!ssl)
        return NULL;
    struct tls_context *context = new_context(ssl, false);
    if (tls_proof_key(keys_public(keys), context->proof_key))
        return context;
    tls_context_unref(context);
    return NULL;
}

struct tls_context *tls_context_trusting(const char *ca) {
    SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());
    if (ssl && trust(ssl, ca))
        return new_context(ssl, true);
    SSL_CTX_free(ssl);
    ERR_clear_error();
    return NULL;
}

bool tls_context_identify(struct tls_context *context, const char *cert, const char *key) {
    bool ok = SSL_CTX_use_certificate_chain_file(context->ssl, cert) == 1 &&
              SSL_CTX_use_PrivateKey_file(context->ssl, key, SSL_FILETYPE_PEM) == 1 &&
              SSL_CTX_check_private_key(context->ssl) == 1;
    ERR_clear_error();
    return ok;
}

struct tls_context *tls_context_ref(struct tls_context *context) {
    context->references++;
    return context;
}

void tls_context_unref(struct tls_context *context) {
    if (!context || --context->references)
        return;
    SSL_CTX_free(context->ssl);
    free(context);
}

void tls_context_limit(struct tls_context *context, uint64_t key_records) {
    context->key_records = key_records;
}

uint64_t tls_context_key_records(const struct tls_context *context) {
    return context->key_records;
}

const uint8_t *tls_context_proof_key(const struct tls_context *context) {
    return context->trusting ? NULL : context->proof_key;
}

SSL *tls_context_connection(struct tls_context *context, enum tls_role role, struct tls_pin *pin) {
    SSL *ssl = SSL_new(context->ssl);
    if (!ssl || context->trusting != (pin->host[0] != 0) ||
        (context->trusting && !expect_host(ssl, pin->host))) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_app_data(ssl, pin);
    if (role == TLS_CLIENT && !context->trusting)
        SSL_set_psk_use_session_callback(ssl, tls_proof_offer);
    if (role == TLS_CLIENT)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    return ssl;
}
