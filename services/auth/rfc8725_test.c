/*
 * RFC 8725, item by item, through the gateway: tokens that break each of its rules are refused, and
 * the one that breaks none is let in.  All but those of section 3.3 carry a signature that holds.
 */
#include <cjose/cjose.h>
#include <stdlib.h>

#include "auth.api.h"
#include "auth/keyring.h"
#include "base/env.h"
#include "base/hash.h"
#include "test/world.h"

enum signer { OUR_KEY, ANOTHER_KEY, PUBLIC_KEY_AS_SECRET, RSA_KEY, NOBODY };

/* In header and claims %K is the key's id, %U the user, %S his session, %N now, %E a minute on. */
static const char header[] = "alg=ES256 typ=at+jwt kid=%K";
static const char claims[] =
    "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"%U\",\"sid\":\"%S\",\"iat\":%N,\"exp\":%E}";

static const struct {
    const char *item, *header, *claims;
    enum signer signer;
} cases[] = {
    {"3.1 the algorithm is ours to choose: none", "alg=none typ=at+jwt kid=%K", claims, NOBODY},
    {"3.1 a public key is no shared secret", "alg=HS256 typ=at+jwt kid=%K", claims,
     PUBLIC_KEY_AS_SECRET},
    {"3.1 one key, one algorithm", "alg=RS256 typ=at+jwt kid=%K", claims, RSA_KEY},
    {"3.2 no other algorithm, however good", "alg=PS256 typ=at+jwt kid=%K", claims, RSA_KEY},
    {"3.3 every signature is verified: none", header, claims, NOBODY},
    {"3.3 every signature is verified: another key's", header, claims, ANOTHER_KEY},
    {"3.6 nothing is decompressed", "alg=ES256 typ=at+jwt kid=%K zip=DEF", claims, OUR_KEY},
    {"3.7 text is UTF-8", header,
     "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"\xc3\x28\",\"sid\":\"%S\",\"iat\":%N,"
     "\"exp\":%E}",
     OUR_KEY},
    {"3.8 the issuer is ours", header,
     "{\"iss\":\"https://example.org\",\"aud\":\"souk\",\"sub\":\"%U\",\"sid\":\"%S\",\"iat\":%N,"
     "\"exp\":%E}",
     OUR_KEY},
    {"3.8 there is an issuer", header,
     "{\"aud\":\"souk\",\"sub\":\"%U\",\"sid\":\"%S\",\"iat\":%N,\"exp\":%E}", OUR_KEY},
    {"3.8 the subject is one of ours, and the session's own", header,
     "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"usr_1\",\"sid\":\"%S\",\"iat\":%N,\"exp\":%E}",
     OUR_KEY},
    {"3.8 there is a subject", header,
     "{\"iss\":\"souk\",\"aud\":\"souk\",\"sid\":\"%S\",\"iat\":%N,\"exp\":%E}", OUR_KEY},
    {"3.9 it is meant for us", header,
     "{\"iss\":\"souk\",\"aud\":\"shop\",\"sub\":\"%U\",\"sid\":\"%S\",\"iat\":%N,\"exp\":%E}",
     OUR_KEY},
    {"3.9 it is meant for somebody", header,
     "{\"iss\":\"souk\",\"sub\":\"%U\",\"sid\":\"%S\",\"iat\":%N,\"exp\":%E}", OUR_KEY},
    {"3.10 a key is looked up among ours alone", "alg=ES256 typ=at+jwt kid=../../etc/passwd",
     claims, OUR_KEY},
    {"3.10 and never by what SQL makes of it", "alg=ES256 typ=at+jwt kid='OR'1'='1", claims,
     OUR_KEY},
    {"3.10 no key is fetched: jku", "alg=ES256 typ=at+jwt kid=%K jku=http://127.0.0.1/jwks", claims,
     OUR_KEY},
    {"3.10 no key is fetched: x5u", "alg=ES256 typ=at+jwt kid=%K x5u=http://127.0.0.1/c", claims,
     OUR_KEY},
    {"3.10 no key comes along: x5c", "alg=ES256 typ=at+jwt kid=%K x5c=MIIB", claims, ANOTHER_KEY},
    {"3.11 the type is said", "alg=ES256 kid=%K", claims, OUR_KEY},
    {"3.11 the type is an access token's", "alg=ES256 typ=JWT kid=%K", claims, OUR_KEY},
    {"3.12 a guest's token is no user's", header,
     "{\"iss\":\"souk\",\"aud\":\"souk\",\"order\":\"ord_1\",\"iat\":%N,\"exp\":%E}", OUR_KEY},
    {"3.12 nor both at once", header,
     "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"%U\",\"sid\":\"%S\",\"order\":\"ord_1\",\"iat\":"
     "%N,"
     "\"exp\":%E}",
     OUR_KEY},
    {"RFC 7519, 4.1.4: it has not expired", header,
     "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"%U\",\"sid\":\"%S\",\"iat\":1,\"exp\":2}",
     OUR_KEY},
    {"RFC 7515, 4.1.11: nothing critical is passed over", "alg=ES256 typ=at+jwt kid=%K crit=b64",
     claims, OUR_KEY},
};
enum { CASES = sizeof cases / sizeof cases[0] };

struct stage {
    struct world *w;
    struct arena *arena;
    struct token_key key, other;
    const char *user_id, *session_id;
};

static struct stage set_up(void);
static const char *forge(const struct stage *s, const char *header_form, const char *claims_form,
                         enum signer signer);
static int ask_with(const struct stage *s, const char *token);

TEST(a_token_that_breaks_a_rule_of_rfc_8725_is_refused)
{
    struct stage s = set_up();
    check_int(ask_with(&s, forge(&s, header, claims, OUR_KEY)), 200);
    for (size_t i = 0; i < CASES; i++) {
        int status = ask_with(&s, forge(&s, cases[i].header, cases[i].claims, cases[i].signer));
        if (status != 401)
            test_complain(__FILE__, status, cases[i].item);
    }
    check_int(ask_with(&s, forge(&s, header, claims, OUR_KEY)), 200);
    world_free(s.w);
}

/* 3.4: a point that is on no curve is no key; 3.5: a key has all the randomness of its curve. */
TEST(a_key_that_is_weak_or_none_is_not_taken)
{
    static const char *const keys[] = {
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\","
        "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\","
        "\"d\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}",
        "{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AA\",\"y\":\"AA\",\"d\":\"AA\"}",
    };
    struct token_key key;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        check(!token_key_read(keys[i], &key));
    struct arena *a = arena_new();
    check(strcmp(token_key_make(a), token_key_make(a)) != 0);
    arena_free(a);
}

/* 3.6, 3.12: what is encrypted, compressed or of another form is no token of ours. */
TEST(what_has_another_form_than_a_signed_token_is_refused)
{
    struct stage s = set_up();
    const char *good = forge(&s, header, claims, OUR_KEY);
    const char *const forms[] = {
        arena_printf(s.arena, "%s.%s", good, "AAAA.AAAA"), /* five parts: JWE */
        arena_printf(s.arena, "%s.AAAA", good),
        arena_printf(s.arena, "%s==", good),
        "{\"payload\":\"e30\",\"signatures\":[]}",
        "eyJhbGciOiJub25lIn0.e30.",
    };
    check_int(ask_with(&s, good), 200);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (ask_with(&s, forms[i]) != 401)
            test_complain(__FILE__, __LINE__, forms[i]);
    world_free(s.w);
}

static struct stage
set_up(void)
{
    struct stage s = {.w = world_new()};
    s.arena = world_arena(s.w);
    s.user_id = world_staff(s.w, "ada@example.org", "admin");
    LoginRequest *in = new_login_request(s.arena);
    LoginResponse *told;
    in->email = "ada@example.org";
    in->password = "correct horse battery";
    check_text(world_ask(s.w, "", "auth", "Login", &in->base, &told), "");
    VerifyTokenRequest *ask = new_verify_token_request(s.arena);
    VerifiedToken *who;
    ask->token = told->access_token;
    check_text(world_ask(s.w, "operator", "auth", "VerifyToken", &ask->base, &who), "");
    s.session_id = who->session_id;

    struct keyring ring = {.n = 0};
    const char *why = "";
    const struct vault vault = {.dir = world_dir(s.w)};
    check_int(keyring_tend(&ring, s.arena, &vault, env.now_us(), 90 * DAY_US, &why), OK);
    keyring_signer(&ring, &s.key);
    check(token_key_read(token_key_make(s.arena), &s.other));
    return s;
}

static const char *
filled(const struct stage *s, const char *form)
{
    struct text t = text_in(s->arena);
    int64_t now_s = env.now_us() / SECOND_US;
    for (const char *p = form; *p; p++) {
        if (*p != '%') {
            text_add_char(&t, *p);
            continue;
        }
        p++;
        if (*p == 'K')
            text_add(&t, s->key.id);
        else if (*p == 'U')
            text_add(&t, s->user_id);
        else if (*p == 'S')
            text_add(&t, s->session_id);
        else
            text_add_int(&t, *p == 'N' ? now_s : now_s + 60);
    }
    return t.bytes;
}

static cjose_jwk_t *
key_of(const struct stage *s, enum signer signer)
{
    cjose_err err;
    const char *jwk = signer == ANOTHER_KEY ? s->other.private_jwk : s->key.private_jwk;
    if (signer == RSA_KEY)
        return cjose_jwk_create_RSA_random(2048, NULL, 0, &err);
    if (signer == PUBLIC_KEY_AS_SECRET)
        return cjose_jwk_create_oct_spec((const uint8_t *)s->key.public_jwk,
                                         strlen(s->key.public_jwk), &err);
    return cjose_jwk_import(jwk, strlen(jwk), &err);
}

/* Without a signature, header and claims as they are and an empty last part. */
static const char *
unsigned_token(const struct stage *s, const char *pairs, const char *payload)
{
    struct text t = text_in(s->arena);
    char *copy = arena_strdup(s->arena, pairs), *rest = copy;
    for (char *pair; (pair = strtok_r(rest, " ", &rest));) {
        char *equals = strchr(pair, '=');
        text_printf(&t, "%s\"%.*s\":\"%s\"", t.n ? "," : "{", (int)(equals - pair), pair,
                    equals + 1);
    }
    text_add(&t, "}");
    return arena_printf(s->arena, "%s.%s.", base64url_encode(s->arena, t.bytes, t.n),
                        base64url_encode(s->arena, payload, strlen(payload)));
}

static const char *
forge(const struct stage *s, const char *header_form, const char *claims_form, enum signer signer)
{
    const char *pairs = filled(s, header_form), *payload = filled(s, claims_form);
    if (signer == NOBODY)
        return unsigned_token(s, pairs, payload);
    cjose_err err;
    cjose_header_t *h = cjose_header_new(&err);
    char *copy = arena_strdup(s->arena, pairs), *rest = copy;
    for (char *pair; (pair = strtok_r(rest, " ", &rest));) {
        char *equals = strchr(pair, '=');
        *equals = '\0';
        check(cjose_header_set(h, pair, equals + 1, &err));
    }
    cjose_jwk_t *jwk = key_of(s, signer);
    cjose_jws_t *jws = cjose_jws_sign(jwk, h, (const uint8_t *)payload, strlen(payload), &err);
    const char *token = "";
    check(jws && cjose_jws_export(jws, &token, &err));
    token = arena_strdup(s->arena, token);
    cjose_jws_release(jws);
    cjose_jwk_release(jwk);
    cjose_header_release(h);
    return token;
}

static int
ask_with(const struct stage *s, const char *token)
{
    const char *const headers[] = {arena_printf(s->arena, "authorization: Bearer %s", token), NULL};
    return world_http(s->w, "GET", "/v1/users/me", headers, NULL).status;
}
