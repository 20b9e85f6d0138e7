/* Auth's parts without the house around them: tokens, the memory of verified ones, passwords, keys.
 */
#include <cjose/cjose.h>
#include <sodium.h>
#include <stdlib.h>

#include "auth/keyring.h"
#include "auth/password.h"
#include "auth/token.h"
#include "auth/verified.h"
#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "test/test.h"

#define count_of(array) (sizeof(array) / sizeof(array)[0])

static const int64_t now_us = INT64_C(1795348800000000);

static struct token_key
new_key(struct arena *a)
{
    struct token_key key;
    check(token_key_read(token_key_make(a), &key));
    return key;
}

static const struct token_claims users = {.user_id = "usr_1",
                                          .session_id = "ses_1",
                                          .issued_at_us = INT64_C(1795348800000000),
                                          .expires_at_us = INT64_C(1795349700000000)};
static const struct token_claims guests = {.order_id = "ord_1",
                                           .issued_at_us = INT64_C(1795348800000000),
                                           .expires_at_us = INT64_C(1795349700000000)};

/* A token with this header and payload, really signed with the key: header is "name=value …". */
static const char *
signed_with(struct arena *a, const struct token_key *key, const char *header, const char *payload)
{
    cjose_err err;
    cjose_header_t *h = cjose_header_new(&err);
    char *pairs = arena_strdup(a, header), *rest = pairs;
    for (char *pair; (pair = strtok_r(rest, " ", &rest));) {
        char *equals = strchr(pair, '=');
        *equals = '\0';
        check(cjose_header_set(h, pair, equals + 1, &err));
    }
    cjose_jwk_t *jwk = cjose_jwk_import(key->private_jwk, strlen(key->private_jwk), &err);
    cjose_jws_t *jws = cjose_jws_sign(jwk, h, (const uint8_t *)payload, strlen(payload), &err);
    const char *token = "";
    check(jws && cjose_jws_export(jws, &token, &err));
    token = arena_strdup(a, token);
    cjose_jws_release(jws);
    cjose_jwk_release(jwk);
    cjose_header_release(h);
    return token;
}

static const char *
part(struct arena *a, const char *json)
{
    return base64url_encode(a, json, strlen(json));
}

/* The token with one of the four bits set that its last character has to spare. */
static const char *
with_stray_bits(struct arena *a, const char *token)
{
    static const char next[] = {['A'] = 'B', ['Q'] = 'R', ['g'] = 'h', ['w'] = 'x'};
    char *stray = arena_strdup(a, token);
    char *last = stray + strlen(stray) - 1;
    check((size_t)*last < sizeof next && next[(size_t)*last]);
    *last = next[(size_t)*last];
    return stray;
}

static const char good_payload[] = "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"usr_1\","
                                   "\"sid\":\"ses_1\",\"iat\":1795348800,\"exp\":1795349700}";

TEST(a_token_says_whom_it_speaks_for)
{
    struct arena *a = arena_new();
    struct token_key key = new_key(a);
    struct token_claims claims;

    check(token_verify(a, &key, token_sign(a, &key, &users), now_us, &claims));
    check_text(claims.user_id, "usr_1");
    check_text(claims.session_id, "ses_1");
    check_text(claims.order_id, "");
    check_int(claims.expires_at_us, users.expires_at_us);

    check(token_verify(a, &key, token_sign(a, &key, &guests), now_us, &claims));
    check_text(claims.user_id, "");
    check_text(claims.session_id, "");
    check_text(claims.order_id, "ord_1");
    arena_free(a);
}

TEST(a_token_ends_with_the_second_it_expires)
{
    struct arena *a = arena_new();
    struct token_key key = new_key(a);
    const char *token = token_sign(a, &key, &users);
    struct token_claims claims;
    check(token_verify(a, &key, token, users.expires_at_us - 1, &claims));
    check(!token_verify(a, &key, token, users.expires_at_us, &claims));
    arena_free(a);
}

TEST(a_token_of_another_key_is_refused)
{
    struct arena *a = arena_new();
    struct token_key key = new_key(a), other = new_key(a);
    struct token_claims claims;
    check(!token_verify(a, &key, token_sign(a, &other, &users), now_us, &claims));
    strcpy(other.id, key.id); /* it claims to be ours */
    check(!token_verify(a, &key, token_sign(a, &other, &users), now_us, &claims));
    arena_free(a);
}

TEST(a_header_that_is_not_ours_is_refused_though_the_signature_holds)
{
    static const struct {
        const char *header;
        bool good;
    } cases[] = {
        {"alg=ES256 typ=at+jwt kid=%s", true},
        {"alg=ES256 typ=JWT kid=%s", false},
        {"alg=ES256 kid=%s", false},
        {"alg=ES256 typ=at+jwt", false},
        {"alg=ES256 typ=at+jwt kid=other", false},
        {"alg=ES256 typ=at+jwt kid=%s crit=exp", false},
        {"alg=ES256 typ=at+jwt kid=%s jku=https://example.org", false},
        {"alg=ES256 typ=at+jwt kid=%s b64=false", false},
    };
    struct arena *a = arena_new();
    struct token_key key = new_key(a);
    for (size_t i = 0; i < count_of(cases); i++) {
        const char *at = strstr(cases[i].header, "%s");
        const char *header = cases[i].header;
        if (at)
            header = arena_printf(a, "%.*s%s%s", (int)(at - header), header, key.id, at + 2);
        struct token_claims claims;
        const char *token = signed_with(a, &key, header, good_payload);
        check(token_verify(a, &key, token, now_us, &claims) == cases[i].good);
    }
    arena_free(a);
}

TEST(a_token_without_a_signature_of_ours_is_refused)
{
    struct arena *a = arena_new();
    struct token_key key = new_key(a);
    const char *good = token_sign(a, &key, &users), *payload = part(a, good_payload);
    const char *first = strchr(good, '.'), *last = strrchr(good, '.');
    const char *none =
        part(a, arena_printf(a, "{\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", key.id));
    const char *hs256 =
        part(a, arena_printf(a, "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", key.id));
    uint8_t mac[SHA256_BYTES]; /* the public key as a shared secret: the classic confusion */
    const char *to_sign = arena_printf(a, "%s.%s", hs256, payload);
    hmac_sha256(key.public_jwk, strlen(key.public_jwk), to_sign, strlen(to_sign), mac);
    const char *forged[] = {
        "",
        ".",
        "..",
        "a.b.c",
        arena_printf(a, "%s.%s.", none, payload),
        arena_printf(a, "%s.%s%s", none, payload, last),
        arena_printf(a, "%s.%s", none, payload),
        arena_printf(a, "%s.%s", to_sign, base64url_encode(a, mac, sizeof mac)),
        arena_printf(a, "%.*s.%s%s", (int)(first - good), good,
                     part(a,
                          "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"usr_2\",\"sid\":\"ses_1\","
                          "\"iat\":1795348800,\"exp\":1795349700}"),
                     last),
        arena_printf(a, "%.*s.", (int)(last - good), good),
        arena_printf(a, "%.*s", (int)(last - good), good),
        arena_printf(a, "%s.%s", good, payload),
        arena_printf(a, "%s=", good),
        arena_printf(a, " %s", good),
        with_stray_bits(a, good),
        arena_printf(a, "%0*d", TOKEN_BYTES_MAX + 1, 0),
    };
    struct token_claims claims;
    check(token_verify(a, &key, good, now_us, &claims));
    for (size_t i = 0; i < count_of(forged); i++)
        if (token_verify(a, &key, forged[i], now_us, &claims))
            test_complain(__FILE__, __LINE__, forged[i]);

    /* Any one character of the signature. */
    for (size_t i = (size_t)(last - good) + 1; good[i]; i++) {
        char *changed = arena_strdup(a, good);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        check(!token_verify(a, &key, changed, now_us, &claims));
    }
    arena_free(a);
}

TEST(claims_that_we_would_not_write_are_refused_though_the_signature_holds)
{
    static const char *const payloads[] = {
        "[]",
        "{}",
        "null",
        "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"u\",\"sid\":\"s\",\"iat\":1}",
        "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"u\",\"sid\":\"s\",\"iat\":1,\"exp\":"
        "\"9999999999\"}",
        "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"u\",\"sid\":\"s\",\"iat\":1,\"exp\":"
        "9999999999.0}",
        "{\"iss\":\"other\",\"aud\":\"souk\",\"sub\":\"u\",\"sid\":\"s\",\"iat\":1,\"exp\":"
        "9999999999}",
        "{\"iss\":\"souk\",\"aud\":\"other\",\"sub\":\"u\",\"sid\":\"s\",\"iat\":1,\"exp\":"
        "9999999999}",
        "{\"iss\":\"souk\",\"aud\":[\"souk\"],\"sub\":\"u\",\"sid\":\"s\",\"iat\":1,\"exp\":"
        "9999999999}",
        "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"u\",\"iat\":1,\"exp\":9999999999}",
        "{\"iss\":\"souk\",\"aud\":\"souk\",\"sid\":\"s\",\"iat\":1,\"exp\":9999999999}",
        "{\"iss\":\"souk\",\"aud\":\"souk\",\"iat\":1,\"exp\":9999999999}",
        "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"u\",\"sid\":\"s\",\"order\":\"o\",\"iat\":1,"
        "\"exp\":9999999999}",
        "{\"iss\":\"souk\",\"aud\":\"souk\",\"sub\":\"u\",\"sub\":\"v\",\"sid\":\"s\",\"iat\":1,"
        "\"exp\":9999999999}",
    };
    struct arena *a = arena_new();
    struct token_key key = new_key(a);
    const char *header = arena_printf(a, "alg=ES256 typ=at+jwt kid=%s", key.id);
    struct token_claims claims;
    for (size_t i = 0; i < count_of(payloads); i++) {
        const char *token = signed_with(a, &key, header, payloads[i]);
        if (token_verify(a, &key, token, now_us, &claims))
            test_complain(__FILE__, __LINE__, payloads[i]);
    }
    arena_free(a);
}

TEST(a_key_is_known_by_its_thumbprint_and_only_its_public_half_is_told)
{
    struct arena *a = arena_new();
    const char *json = token_key_make(a);
    struct token_key key, again;
    check(token_key_read(json, &key) && token_key_read(json, &again));
    check_text(again.id, key.id);
    check_int((long long)strlen(key.id), KEY_ID_CHARS);
    const char *set = token_key_set(a, &key, 1);
    check(strstr(set, key.id) && strstr(set, "\"use\":\"sig\"") && !strstr(set, "\"d\""));
    static const char *const none[] = {"", "{}", "[]", "{\"kty\":\"oct\",\"k\":\"AAAA\"}"};
    for (size_t i = 0; i < count_of(none); i++)
        check(!token_key_read(none[i], &again));
    check(!token_key_read(key.public_jwk, &again));
    arena_free(a);
}

static struct verified *
new_memory(struct arena *a)
{
    return arena_alloc(a, sizeof(struct verified));
}

TEST(a_verified_token_is_remembered_until_it_expires)
{
    struct arena *a = arena_new();
    struct verified *v = new_memory(a);
    struct token_claims found;
    uint64_t generation;
    check(!verified_find(v, a, "t1", now_us, &found, &generation));
    verified_add(v, "t1", &(struct token_claims){"usr_1", "ses_1", "", 0, now_us + 5}, generation);
    check(verified_find(v, a, "t1", now_us, &found, &generation));
    check_text(found.user_id, "usr_1");
    check_text(found.session_id, "ses_1");
    check(!verified_find(v, a, "t1", now_us + 5, &found, &generation));
    check(!verified_find(v, a, "t2", now_us, &found, &generation));
    arena_free(a);
}

TEST(a_revoked_session_is_forgotten_and_no_other)
{
    struct arena *a = arena_new();
    struct verified *v = new_memory(a);
    struct token_claims found;
    verified_add(v, "t1", &(struct token_claims){"usr_1", "ses_1", "", 0, now_us + 5}, 0);
    verified_add(v, "t2", &(struct token_claims){"usr_1", "ses_2", "", 0, now_us + 5}, 0);
    verified_add(v, "t3", &(struct token_claims){"usr_2", "ses_3", "", 0, now_us + 5}, 0);
    verified_add(v, "t4", &(struct token_claims){"", "", "ord_1", 0, now_us + 5}, 0);
    uint64_t generation;

    verified_drop(v, "usr_1", "ses_1");
    check(!verified_find(v, a, "t1", now_us, &found, &generation));
    check(verified_find(v, a, "t2", now_us, &found, &generation));
    verified_drop(v, "usr_1", "");
    check(!verified_find(v, a, "t2", now_us, &found, &generation));
    check(verified_find(v, a, "t3", now_us, &found, &generation));
    check(verified_find(v, a, "t4", now_us, &found, &generation));
    arena_free(a);
}

TEST(what_was_looked_up_before_a_revocation_is_not_remembered_after_it)
{
    struct arena *a = arena_new();
    struct verified *v = new_memory(a);
    struct token_claims found;
    uint64_t generation;
    check(!verified_find(v, a, "t1", now_us, &found, &generation));
    verified_drop(v, "usr_1", "ses_1");
    verified_add(v, "t1", &(struct token_claims){"usr_1", "ses_1", "", 0, now_us + 5}, generation);
    check(!verified_find(v, a, "t1", now_us, &found, &generation));
    arena_free(a);
}

TEST(the_memory_of_tokens_is_bounded)
{
    struct arena *a = arena_new();
    struct verified *v = new_memory(a);
    struct token_claims found;
    uint64_t generation;
    int remembered = 0;
    for (int i = 0; i < 3 * VERIFIED_MAX; i++)
        verified_add(v, arena_printf(a, "t%d", i),
                     &(struct token_claims){"usr_1", "ses_1", "", 0, now_us + 5 + i}, 0);
    for (int i = 0; i < 3 * VERIFIED_MAX; i++)
        remembered += verified_find(v, a, arena_printf(a, "t%d", i), now_us, &found, &generation);
    check(remembered > VERIFIED_MAX / 2 && remembered <= VERIFIED_MAX);
    check(verified_find(v, a, arena_printf(a, "t%d", 3 * VERIFIED_MAX - 1), now_us, &found,
                        &generation));
    arena_free(a);
}

TEST(a_password_matches_its_own_hash_alone)
{
    struct arena *a = arena_new();
    const char *hash = password_hash(a, "correct horse");
    check(text_starts(hash, "$argon2id$v=19$m=19456,t=2,p=1$"));
    check(password_matches(hash, "correct horse"));
    check(!password_matches(hash, "correct horsf"));
    check(!password_matches(hash, ""));
    check(strcmp(hash, password_hash(a, "correct horse")) != 0);
    arena_free(a);
}

TEST(where_there_is_no_account_a_hash_of_the_same_cost_is_compared)
{
    check(!password_matches(NULL, "correct horse"));
    check_int(crypto_pwhash_str_needs_rehash(password_nobodys_hash, 2, 19 << 20), 0);
}

enum { CROWD = 12 };

struct crowd {
    struct hashers hashers;
    int inside, most, came, sent_away;
    int order[CROWD], n;
    int64_t deadline_us;
};

struct member {
    struct crowd *crowd;
    int number;
};

static void
visit(void *arg)
{
    struct member *m = arg;
    struct crowd *c = m->crowd;
    if (hashers_enter(&c->hashers, c->deadline_us)) {
        c->sent_away++;
        return;
    }
    c->order[c->n++] = m->number;
    c->inside++;
    if (c->inside > c->most)
        c->most = c->inside;
    fiber_sleep_us(2000);
    c->inside--;
    hashers_leave(&c->hashers);
}

static void
visit_all(struct crowd *c)
{
    struct member members[CROWD];
    struct sched *s = sched_new("crowd", CROWD);
    for (int i = 0; i < CROWD; i++) {
        members[i] = (struct member){c, i};
        check(sched_spawn(s, visit, &members[i]));
    }
    sched_free(s);
}

TEST(few_hash_at_once_and_the_others_wait_in_turn)
{
    struct crowd c = {.deadline_us = env.mono_us() + MINUTE_US};
    visit_all(&c);
    check_int(c.most, HASHERS_MAX);
    check_int(c.n, CROWD);
    for (int i = 1; i < c.n; i++)
        check(c.order[i - 1] < c.order[i]);
    check_int(c.hashers.busy, 0);
    check_int(c.hashers.waiting, 0);
}

TEST(whoever_finds_no_turn_before_his_deadline_is_sent_away)
{
    struct crowd c = {.deadline_us = env.mono_us() - 1};
    check_int(hashers_enter(&c.hashers, 0), OK);
    check_int(hashers_enter(&c.hashers, 0), OK);
    visit_all(&c);
    check_int(c.sent_away, CROWD);
    check_int(c.hashers.waiting, 0);
    check(c.hashers.first == NULL && c.hashers.last == NULL);
    hashers_leave(&c.hashers);
    check_int(hashers_enter(&c.hashers, 0), OK);
    hashers_leave(&c.hashers);
    hashers_leave(&c.hashers);
    check_int(c.hashers.busy, 0);
}

TEST(an_old_key_gets_a_successor_and_verifies_until_its_tokens_have_expired)
{
    struct arena *a = arena_new();
    const char *why = "";
    const struct vault vault = {.dir = test_dir()};
    struct keyring ring = {.n = 0};
    struct token_key first, newest, found;
    check_int(keyring_tend(&ring, a, &vault, now_us, 90 * DAY_US, &why), OK);
    keyring_signer(&ring, &first);
    check_int(keyring_tend(&ring, a, &vault, now_us + KEY_AGE_MAX_US, 90 * DAY_US, &why), OK);
    keyring_signer(&ring, &newest);
    check_text(newest.id, first.id);

    int64_t later_us = now_us + KEY_AGE_MAX_US + SECOND_US;
    check_int(keyring_tend(&ring, a, &vault, later_us, 90 * DAY_US, &why), OK);
    keyring_signer(&ring, &newest);
    check(strcmp(newest.id, first.id) != 0);
    check(keyring_find(&ring, first.id, &found) && keyring_find(&ring, newest.id, &found));
    check(strstr(keyring_set(&ring, a), first.id) && strstr(keyring_set(&ring, a), newest.id));

    struct keyring again = {.n = 0}; /* as after a restart */
    check_int(keyring_tend(&again, a, &vault, later_us + 90 * DAY_US, 90 * DAY_US, &why), OK);
    check_int((long long)again.n, 2);
    keyring_signer(&again, &found);
    check_text(found.id, newest.id);
    check_int(keyring_tend(&again, a, &vault, later_us + 90 * DAY_US + SECOND_US, 90 * DAY_US, &why),
              OK);
    check(!keyring_find(&again, first.id, &found)); /* and the third signs */
    check_int((long long)again.n, 2);
    arena_free(a);
}
