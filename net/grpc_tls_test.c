/* gRPC with mutual TLS. */
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "net/grpc_test.h"

/* An authority, or what it has signed. */
struct papers {
    EVP_PKEY *key;
    X509 *certificate;
    char certificate_file[160], key_file[160];
};

static void
write_papers(struct papers *w, const char *name)
{
    snprintf(w->certificate_file, sizeof w->certificate_file, "%s/%s.pem", test_dir(), name);
    snprintf(w->key_file, sizeof w->key_file, "%s/%s.key", test_dir(), name);
    FILE *f = fopen(w->certificate_file, "w");
    PEM_write_X509(f, w->certificate);
    fclose(f);
    f = fopen(w->key_file, "w");
    PEM_write_PrivateKey(f, w->key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
}

static void
add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

/* Names as in "DNS:orders"; NULL: an authority.  It is good from then on, for seconds. */
static struct papers
make_papers(const struct papers *authority, const char *name, const char *names, long from,
            long seconds)
{
    struct papers w = {.key = EVP_EC_gen("P-256"), .certificate = X509_new()};
    static long serial;
    X509 *x = w.certificate;
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), from);
    X509_gmtime_adj(X509_getm_notAfter(x), from + seconds);
    X509_set_pubkey(x, w.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(authority ? authority->certificate : x));
    add_extension(x, NID_basic_constraints, names ? "CA:FALSE" : "critical,CA:TRUE");
    if (names)
        add_extension(x, NID_subject_alt_name, names);
    X509_sign(x, authority ? authority->key : w.key, EVP_sha256());
    write_papers(&w, name);
    return w;
}

static void
burn(struct papers *w)
{
    X509_free(w->certificate);
    EVP_PKEY_free(w->key);
}

static struct grpc_tls
show(const struct papers *authority, const struct papers *own)
{
    return (struct grpc_tls){authority->certificate_file, own->certificate_file, own->key_file};
}

/* What a call over such a channel ends with; its identity as the server sees it. */
static enum status
call_with(struct place *p, const struct grpc_tls *tls, const char *server_name, const char **ret)
{
    struct grpc_channel *c =
        grpc_channel_new(p->loop, &(struct grpc_channel_options){
                                      .target = p->target, .tls = tls, .server_name = server_name});
    struct grpc_ask in = ask_of("/t.T/Who", "");
    in.deadline_us = env.mono_us() + (tls ? 10 * SECOND_US : SECOND_US);
    struct grpc_reply out;
    enum status st = grpc_unary(c, p->arena, &in, &out);
    *ret = st ? out.why : reply_text(p, &out);
    grpc_channel_free(c);
    return st;
}

TEST(both_sides_show_certificates)
{
    struct papers ours = make_papers(NULL, "ours", NULL, 0, 3600);
    struct papers theirs = make_papers(NULL, "theirs", NULL, 0, 3600);
    struct papers server =
        make_papers(&ours, "server", "DNS:orders,DNS:other,IP:127.0.0.1", 0, 3600);
    struct papers client =
        make_papers(&ours, "client", "URI:spiffe://x,DNS:gateway,DNS:second", 0, 3600);
    struct papers nameless = make_papers(&ours, "nameless", "IP:127.0.0.1", 0, 3600);
    struct papers foreign = make_papers(&theirs, "foreign", "DNS:gateway", 0, 3600);
    struct papers old = make_papers(&ours, "old", "DNS:gateway", -7200, 3600);
    const struct grpc_tls at_server = show(&ours, &server);
    struct {
        const char *what;
        struct grpc_tls tls;
        const char *server_name;
        enum status wanted;
        const char *identity;
    } rows[] = {
        {"good", show(&ours, &client), "orders", OK, "127.0.0.1 gateway"},
        {"second name", show(&ours, &client), "other", OK, "127.0.0.1 gateway"},
        {"by address", show(&ours, &client), NULL, OK, "127.0.0.1 gateway"},
        {"no name", show(&ours, &nameless), "orders", OK, "127.0.0.1 "},
        {"wrong server", show(&ours, &client), "payments", UNAVAILABLE, NULL},
        {"foreign client", show(&ours, &foreign), "orders", UNAVAILABLE, NULL},
        {"foreign server", show(&theirs, &client), "orders", UNAVAILABLE, NULL},
        {"old client", show(&ours, &old), "orders", UNAVAILABLE, NULL},
        {"no certificate", {ours.certificate_file, NULL, NULL}, "orders", UNAVAILABLE, NULL},
        {"no such file", {"/nowhere", "/nowhere", "/nowhere"}, "orders", UNAVAILABLE, NULL},
        {"another's key",
         {ours.certificate_file, client.certificate_file, old.key_file},
         "orders",
         UNAVAILABLE,
         NULL},
    };
    struct place p;
    place_begin(&p, (struct grpc_server_options){.tls = &at_server},
                (struct grpc_channel_options){0});
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *said;
        enum status st = call_with(&p, &rows[i].tls, rows[i].server_name, &said);
        test_check_int(rows[i].what, (int)i, said, st, rows[i].wanted);
        if (rows[i].identity)
            check_text(said, rows[i].identity);
    }
    int seen = atomic_load(&p.seen);
    const char *said;
    check_int(call_with(&p, NULL, NULL, &said), UNAVAILABLE); /* without TLS at all */
    check_int(atomic_load(&p.seen), seen);
    place_end(&p);
    struct papers *all[] = {&ours, &theirs, &server, &client, &nameless, &foreign, &old};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        burn(all[i]);
}

TEST(large_messages_go_through_tls)
{
    struct papers ours = make_papers(NULL, "ours", NULL, 0, 3600);
    struct papers both = make_papers(&ours, "both", "DNS:souk", 0, 3600);
    const struct grpc_tls tls = show(&ours, &both);
    struct place p;
    place_begin(&p, (struct grpc_server_options){.tls = &tls},
                (struct grpc_channel_options){.tls = &tls, .server_name = "souk"});
    uint8_t *bytes = arena_alloc(p.arena, 4 << 20);
    for (size_t i = 0; i < 4 << 20; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 13));
    struct grpc_ask in = ask_of("/t.T/Thread", "");
    in.message = bytes;
    in.n = 4 << 20;
    struct grpc_reply out;
    check_int(grpc_unary(p.channel, p.arena, &in, &out), OK);
    check(out.n == in.n && memcmp(out.message, bytes, in.n) == 0);
    place_end(&p);
    burn(&ours);
    burn(&both);
}
