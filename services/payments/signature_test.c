/* Signatures of callbacks: only what was signed with our secret, lately, is good. */
#include "payments/signature.h"

#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "test/test.h"

static const char body[] = "{\"key\":\"pay_1\"}";
static const int64_t now_us = 1764201600 * SECOND_US;

static bool
good(struct arena *a, const char *header)
{
    return signature_good(a, "s3cret", now_us, header, body, strlen(body));
}

/* openssl: printf '1764201600.{"key":"pay_1"}' | openssl dgst -sha256 -hmac s3cret */
TEST(it_is_hmac_sha_256_over_time_and_body)
{
    struct arena *a = arena_new();
    check_text(signature_make(a, "s3cret", now_us + 999999, body, strlen(body)),
               "t=1764201600,v1=bcff2f3ed5da8cf2449564c3f1f934b14221935c2144e776b58b9e4dbfb7b7ae");
    arena_free(a);
}

TEST(only_a_signature_of_ours_and_of_now_is_good)
{
    struct arena *a = arena_new();
    const char *ours = signature_make(a, "s3cret", now_us, body, strlen(body));
    const char *digest = strstr(ours, "v1=");
    const struct {
        const char *header;
        bool good;
    } cases[] = {
        {ours, true},
        {arena_printf(a, "t=1764201600,v0=abc,v1=%064d,%s", 0, digest), true},
        {arena_printf(a, "%s,t=1764201600", digest), true},
        {signature_make(a, "s3cret", now_us - 300 * SECOND_US, body, strlen(body)), true},
        {signature_make(a, "s3cret", now_us + 300 * SECOND_US, body, strlen(body)), true},
        {signature_make(a, "s3cret", now_us - 301 * SECOND_US, body, strlen(body)), false},
        {signature_make(a, "s3cret", now_us + 301 * SECOND_US, body, strlen(body)), false},
        {signature_make(a, "another", now_us, body, strlen(body)), false},
        {signature_make(a, "s3cret", now_us, body, strlen(body) - 1), false},
        {arena_printf(a, "t=1764201601,%s", digest), false}, /* its time is signed too */
        {arena_strndup(a, ours, strlen(ours) - 1), false},
        {arena_printf(a, "%s0", ours), false},
        {digest, false},
        {"t=1764201600", false},
        {"t=1764201600,v1=", false},
        {"t=99999999999999999999,v1=00", false},
        {"t=-1764201600,v1=00", false},
        {"t=9223372036854775807,v1=00", false},
        {",,,", false},
        {"", false},
        {NULL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_int(good(a, cases[i].header), cases[i].good);
    arena_free(a);
}
