/* TLS over memory: OpenSSL never sees the socket. */
#include <openssl/err.h>
#include <string.h>

#include "net/internal.h"

enum { RECORD_BYTES_MAX = 16 << 10 };

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

SSL_CTX *
tls_context(const char *certificate, const char *key, struct arena *a, const char **why)
{
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        *why = complaint(a, "tls");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    const char *wrong = NULL;
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        wrong = complaint(a, certificate);
    else if (!key)
        wrong = "a certificate needs its key";
    else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        wrong = complaint(a, key);
    else if (SSL_CTX_check_private_key(ctx) != 1)
        wrong = complaint(a, "key and certificate do not belong together");
    ERR_clear_error();
    if (!wrong)
        return ctx;
    *why = wrong;
    SSL_CTX_free(ctx);
    return NULL;
}

/* A peer that names protocols, but none of ours, is refused (RFC 7301, 3.2). */
static int
choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_n, const unsigned char *in,
                unsigned in_n, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *chosen = NULL;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, ret_n, ours, sizeof ours - 1, in, in_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

bool
tls_start(struct conn *c)
{
    SSL *ssl = SSL_new(c->server->tls);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (!ssl || !in || !out) {
        SSL_free(ssl);
        BIO_free(in);
        BIO_free(out);
        return false;
    }
    SSL_set_bio(ssl, in, out); /* which owns them now */
    SSL_set_accept_state(ssl);
    c->ssl = ssl;
    return true;
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
            conn_close(c);
        return false;
    }
    if (c->phase == CONN_CLOSED)
        return false;
    c->tls_ready = true;
    conn_phase(c, CONN_IDLE);
    const unsigned char *name;
    unsigned n;
    SSL_get0_alpn_selected(c->ssl, &name, &n);
    if (n == 2 && memcmp(name, "h2", 2) == 0)
        return http2_start(c);
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
            conn_close(c); /* it said goodbye, or spoke nonsense */
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
