/* For the tests of net/: a certificate of our own, and a TLS client. */
#pragma once
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "net/net_test.h"

static inline void
make_certificate(const char *certificate, const char *key)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, pair);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(x, name);
    X509_sign(x, pair, EVP_sha256());
    FILE *f = fopen(certificate, "w");
    PEM_write_X509(f, x);
    fclose(f);
    f = fopen(key, "w");
    PEM_write_PrivateKey(f, pair, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(pair);
}

static inline void
world_begin_tls(struct world *w, char (*paths)[100])
{
    const char *dir = test_dir();
    snprintf(paths[0], 100, "%s/certificate.pem", dir);
    snprintf(paths[1], 100, "%s/key.pem", dir);
    make_certificate(paths[0], paths[1]);
    world_begin(w, (struct http_server_options){.tls_certificate = paths[0], .tls_key = paths[1]});
}

/* A TLS client.  NULL if the handshake fails. */
static inline SSL *
dial_tls(const struct world *w, int max_version, const char *alpn)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(ctx, max_version);
    SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0");
    if (alpn)
        SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    SSL_set_fd(ssl, dial(w));
    if (SSL_connect(ssl) == 1)
        return ssl;
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
    return NULL;
}

static inline void
hang_up_tls(SSL *ssl)
{
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

static inline struct text
hear_all_tls(struct arena *a, SSL *ssl)
{
    struct text t = text_in(a);
    text_add(&t, "");
    char some[4096];
    int n;
    while ((n = SSL_read(ssl, some, sizeof some)) > 0)
        text_add_n(&t, some, (size_t)n);
    return t;
}
