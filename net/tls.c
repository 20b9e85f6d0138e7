/* TLS over memory: OpenSSL never sees the socket. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "net/internal.h"

enum { RECORD_BYTES_MAX = 16 << 10 };

static bool shake_hands(struct conn *c);
static int choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_n,
                           const unsigned char *in, unsigned in_n, void *arg);

/* What OpenSSL last complained of, in the arena. */
static const char *
complaint(struct arena *a, const char *what)
{
    char text[160];
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
    return arena_printf(a, "%s: %s", what, text);
}

static SSL_CTX *
context_new(const SSL_METHOD *method)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (!ctx)
        return NULL;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    return ctx;
}

/* NULL if all is well. */
static const char *
use_files(SSL_CTX *ctx, const char *certificate, const char *key, struct arena *a)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        return complaint(a, certificate);
    if (!key)
        return "a certificate needs its key";
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return complaint(a, key);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return complaint(a, "key and certificate do not belong together");
    return NULL;
}

static SSL_CTX *
context_or_why(SSL_CTX *ctx, const char *wrong, const char **why)
{
    ERR_clear_error();
    if (!wrong)
        return ctx;
    *why = wrong;
    SSL_CTX_free(ctx);
    return NULL;
}

/* Why a handshake or a connection failed, in a few words. */
static const char *
ssl_complaint(const SSL *ssl)
{
    long verified = SSL_get_verify_result(ssl);
    const char *why = verified == X509_V_OK ? ERR_reason_error_string(ERR_peek_last_error())
                                            : X509_verify_cert_error_string(verified);
    return why ? why : "TLS has ended";
}

SSL_CTX *
tls_context(const char *certificate, const char *key, struct arena *a, const char **why)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    SSL_CTX *ctx = context_new(TLS_server_method());
    if (!ctx) {
        *why = complaint(a, "tls");
        return NULL;
    }
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, (void *)(uintptr_t)ours);
    return context_or_why(ctx, use_files(ctx, certificate, key, a), why);
}

/* Every connection shows its certificate anew: a session that is taken up again has no chain. */
SSL_CTX *
tls_context_mutual(bool client, const char *authorities, const char *certificate, const char *key,
                   struct arena *a, const char **why)
{
    static const unsigned char ours[] = "\x02h2";
    SSL_CTX *ctx = context_new(client ? TLS_client_method() : TLS_server_method());
    if (!ctx) {
        *why = complaint(a, "tls");
        return NULL;
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (client)
        SSL_CTX_set_alpn_protos(ctx, ours, sizeof ours - 1);
    else
        SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, (void *)(uintptr_t)ours);
    const char *wrong = NULL;
    if (!authorities || !certificate)
        wrong = "mutual TLS needs authorities, a certificate and its key";
    else if (SSL_CTX_load_verify_file(ctx, authorities) != 1)
        wrong = complaint(a, authorities);
    else
        wrong = use_files(ctx, certificate, key, a);
    return context_or_why(ctx, wrong, why);
}

/* A peer that names protocols, but none of ours, is refused (RFC 7301, 3.2). */
static int
choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_n, const unsigned char *in,
                unsigned in_n, void *arg)
{
    const char *ours = arg;
    unsigned char *chosen = NULL;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, ret_n, arg, (unsigned)strlen(ours), in, in_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

bool
tls_start(struct conn *c)
{
    SSL *ssl = SSL_new(c->home->tls);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (!ssl || !in || !out) {
        SSL_free(ssl);
        BIO_free(in);
        BIO_free(out);
        return false;
    }
    SSL_set_bio(ssl, in, out); /* which owns them now */
    if (c->home->client)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    c->ssl = ssl;
    return true;
}

bool
tls_connect(struct conn *c, const char *name)
{
    unsigned char address[sizeof(struct in6_addr)];
    if (!tls_start(c))
        return false;
    bool is_address =
        inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
    X509_VERIFY_PARAM *wanted = SSL_get0_param(c->ssl);
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (is_address ? X509_VERIFY_PARAM_set1_ip_asc(wanted, name) != 1
                   : X509_VERIFY_PARAM_set1_host(wanted, name, 0) != 1 ||
                         SSL_set_tlsext_host_name(c->ssl, name) != 1)
        return false;
    shake_hands(c);
    return c->phase != CONN_CLOSED;
}

/* The first DNS name in the peer's certificate, or NULL. */
static char *
identity_of(SSL *ssl)
{
    X509 *peer = SSL_get0_peer_certificate(ssl);
    GENERAL_NAMES *names = peer ? X509_get_ext_d2i(peer, NID_subject_alt_name, NULL, NULL) : NULL;
    char *found = NULL;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS)
            continue;
        size_t n = (size_t)ASN1_STRING_length(name->d.dNSName);
        const char *text = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
        if (n > 0 && !memchr(text, 0, n))
            found = strndup(text, n);
    }
    GENERAL_NAMES_free(names);
    return found;
}

/* Sends what OpenSSL has written. */
static void
flush(struct conn *c)
{
    BIO *out = SSL_get_wbio(c->ssl);
    char *bytes;
    long n = BIO_get_mem_data(out, &bytes);
    if (n <= 0)
        return;
    uv_buf_t buf = uv_buf_init(bytes, (unsigned)n);
    conn_write_raw(c, &buf, 1);
    BIO_reset(out);
}

/* True once the handshake is done. */
static bool
shake_hands(struct conn *c)
{
    if (c->phase == CONN_IDLE)
        conn_phase(c, CONN_READING);
    int r = SSL_do_handshake(c->ssl);
    flush(c);
    if (r != 1) {
        if (SSL_get_error(c->ssl, r) != SSL_ERROR_WANT_READ)
            conn_close_why(c, ssl_complaint(c->ssl));
        return false;
    }
    if (c->phase == CONN_CLOSED)
        return false;
    c->tls_ready = true;
    conn_phase(c, CONN_IDLE);
    c->identity = identity_of(c->ssl);
    const unsigned char *name;
    unsigned n;
    SSL_get0_alpn_selected(c->ssl, &name, &n);
    if (n == 2 && memcmp(name, "h2", 2) == 0)
        return http2_start(c);
    if (c->home->client) {
        conn_close_why(c, "the peer does not speak HTTP/2");
        return false;
    }
    http1_start(c);
    return true;
}

void
tls_read(struct conn *c, const char *bytes, size_t n)
{
    ERR_clear_error();
    if (BIO_write(SSL_get_rbio(c->ssl), bytes, (int)n) != (int)n) {
        conn_close(c);
        return;
    }
    if (!c->tls_ready && !shake_hands(c))
        return;
    while (c->phase < CONN_LINGER) {
        int r = SSL_read(c->ssl, c->loop->plain, READ_BYTES);
        if (r > 0) {
            conn_take(c, c->loop->plain, (size_t)r);
            ERR_clear_error();
            continue;
        }
        int error = SSL_get_error(c->ssl, r);
        flush(c); /* an alert, or the answer to a key update */
        if (error != SSL_ERROR_WANT_READ)
            conn_close_why(c, ssl_complaint(c->ssl)); /* or it said goodbye */
        return;
    }
}

void
tls_write(struct conn *c, const uv_buf_t *bufs, unsigned n)
{
    ERR_clear_error();
    for (unsigned i = 0; i < n; i++) {
        for (size_t at = 0; at < bufs[i].len;) {
            size_t m = bufs[i].len - at;
            if (m > RECORD_BYTES_MAX)
                m = RECORD_BYTES_MAX;
            if (c->phase == CONN_CLOSED)
                return;
            if (SSL_write(c->ssl, bufs[i].base + at, (int)m) <= 0) {
                conn_close(c);
                return;
            }
            at += m;
        }
    }
    flush(c);
}

void
tls_finish(struct conn *c)
{
    ERR_clear_error();
    if (c->tls_ready)
        SSL_shutdown(c->ssl);
    flush(c);
}
