#include "auth/token.h"

#include <assert.h>
#include <cjose/cjose.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "base/time.h"

enum { SIGNATURE_BYTES = 64 };

static const char algorithm[] = "ES256", type[] = "at+jwt", issuer[] = "souk";

static json_t *read_part(struct arena *a, const char *bytes, size_t n);
static bool header_is_ours(struct arena *a, const struct token_key *key, const char *token,
                           size_t n);
static bool signature_is_strict(struct arena *a, const char *signature);
static bool signature_holds(const struct token_key *key, const char *token, size_t n);
static bool is_pair(const struct token_key *key);
static bool read_claims(struct arena *a, json_t *payload, struct token_claims *ret);
static const char *text_of(json_t *object, const char *name);
static void release_json(void *json);

const char *
token_key_make(struct arena *a)
{
    cjose_err err;
    cjose_jwk_t *jwk = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &err);
    char *json = jwk ? cjose_jwk_to_json(jwk, true, &err) : NULL;
    if (!json)
        abort(); /* no memory or no randomness */
    char *copy = arena_strdup(a, json);
    cjose_get_dealloc()(json);
    cjose_jwk_release(jwk);
    return copy;
}

bool
token_key_read(const char *json, struct token_key *ret)
{
    struct token_key key = {0};
    struct arena *a = arena_new();
    json_t *jwk = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    const char *x = text_of(jwk, "x"), *y = text_of(jwk, "y"), *d = text_of(jwk, "d");
    cjose_err err;
    cjose_jwk_t *usable = cjose_jwk_import(json, strlen(json), &err);
    bool valid = usable && text_equal(text_of(jwk, "kty"), "EC") &&
                 text_equal(text_of(jwk, "crv"), "P-256") && !text_empty(x) && !text_empty(y) &&
                 !text_empty(d) && strlen(json) < KEY_BYTES_MAX;
    if (valid) {
        const char *thumb =
            arena_printf(a, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", x, y);
        uint8_t digest[SHA256_BYTES];
        sha256(thumb, strlen(thumb), digest);
        strcpy(key.id, base64url_encode(a, digest, sizeof digest));
        strcpy(key.private_jwk, json);
        strcpy(key.public_jwk, thumb);
        valid = is_pair(&key);
    }
    if (valid)
        *ret = key;
    cjose_jwk_release(usable);
    json_decref(jwk);
    arena_free(a);
    return valid;
}

const char *
token_key_set(struct arena *a, const struct token_key *keys, size_t n)
{
    struct text set = text_in(a);
    text_add(&set, "{\"keys\":[");
    for (size_t i = 0; i < n; i++) {
        const char *jwk = keys[i].public_jwk; /* its closing brace comes after what is added */
        text_printf(&set, "%s%.*s,\"alg\":\"%s\",\"use\":\"sig\",\"kid\":\"%s\"}", i > 0 ? "," : "",
                    (int)strlen(jwk) - 1, jwk, algorithm, keys[i].id);
    }
    text_add(&set, "]}");
    return set.bytes;
}

const char *
token_sign(struct arena *a, const struct token_key *key, const struct token_claims *claims)
{
    struct text payload = text_in(a);
    text_printf(&payload, "{\"iss\":\"%s\",\"aud\":\"%s\"", issuer, issuer);
    if (text_empty(claims->order_id)) {
        text_add(&payload, ",\"sub\":");
        text_add_json(&payload, claims->user_id);
        text_add(&payload, ",\"sid\":");
        text_add_json(&payload, claims->session_id);
    } else {
        text_add(&payload, ",\"order\":");
        text_add_json(&payload, claims->order_id);
    }
    text_printf(&payload, ",\"iat\":%lld,\"exp\":%lld}",
                (long long)(claims->issued_at_us / SECOND_US),
                (long long)(claims->expires_at_us / SECOND_US));

    cjose_err err;
    const char *token;
    cjose_header_t *header = cjose_header_new(&err);
    cjose_jwk_t *jwk = cjose_jwk_import(key->private_jwk, strlen(key->private_jwk), &err);
    bool named = header && cjose_header_set(header, "alg", algorithm, &err) &&
                 cjose_header_set(header, "typ", type, &err) &&
                 cjose_header_set(header, "kid", key->id, &err);
    cjose_jws_t *jws =
        named && jwk ? cjose_jws_sign(jwk, header, (const uint8_t *)payload.bytes, payload.n, &err)
                     : NULL;
    if (!jws || !cjose_jws_export(jws, &token, &err))
        abort(); /* no memory */
    token = arena_strdup(a, token);
    cjose_jws_release(jws);
    cjose_jwk_release(jwk);
    cjose_header_release(header);
    return token;
}

const char *
token_key_id(struct arena *a, const char *token)
{
    const char *dot = strchr(token, '.');
    if (!dot || strlen(token) > TOKEN_BYTES_MAX)
        return "";
    return text_of(read_part(a, token, (size_t)(dot - token)), "kid");
}

bool
token_verify(struct arena *a, const struct token_key *key, const char *token, int64_t now_us,
             struct token_claims *ret)
{
    size_t n = strlen(token);
    const char *first = strchr(token, '.'), *second = first ? strchr(first + 1, '.') : NULL;
    if (n > TOKEN_BYTES_MAX || !second || strchr(second + 1, '.'))
        return false;
    if (!header_is_ours(a, key, token, (size_t)(first - token)) ||
        !signature_is_strict(a, second + 1) || !signature_holds(key, token, n))
        return false;

    json_t *payload = read_part(a, first + 1, (size_t)(second - first - 1));
    struct token_claims claims;
    if (!read_claims(a, payload, &claims) || now_us >= claims.expires_at_us)
        return false;
    *ret = claims;
    return true;
}

/* The JSON object that n characters of base64url stand for, or NULL; it lives as long as the arena.
 */
static json_t *
read_part(struct arena *a, const char *bytes, size_t n)
{
    size_t length;
    const char *text = base64url_decode(a, bytes, n, &length);
    json_t *json = text ? json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!json)
        return NULL;
    arena_defer(a, release_json, json);
    return json_is_object(json) ? json : NULL;
}

/* Exactly alg, typ and kid, as we write them: neither "none" nor a foreign key can be asked for. */
static bool
header_is_ours(struct arena *a, const struct token_key *key, const char *token, size_t n)
{
    json_t *header = read_part(a, token, n);
    return header && json_object_size(header) == 3 &&
           text_equal(text_of(header, "alg"), algorithm) &&
           text_equal(text_of(header, "typ"), type) && text_equal(text_of(header, "kid"), key->id);
}

/* cjose would also read it padded, or with stray bits at its end: one signature, one text. */
static bool
signature_is_strict(struct arena *a, const char *signature)
{
    size_t n;
    return base64url_decode(a, signature, strlen(signature), &n) && n == SIGNATURE_BYTES;
}

static bool
signature_holds(const struct token_key *key, const char *token, size_t n)
{
    cjose_err err;
    cjose_jwk_t *jwk = cjose_jwk_import(key->public_jwk, strlen(key->public_jwk), &err);
    cjose_jws_t *jws = cjose_jws_import(token, n, &err);
    bool holds = jwk && jws && cjose_jws_verify(jws, jwk, &err);
    cjose_jws_release(jws);
    cjose_jwk_release(jwk);
    return holds;
}

/* What the one half signs, the other verifies: so both are of the curve, and of one another. */
static bool
is_pair(const struct token_key *key)
{
    cjose_err err;
    const char *token = NULL;
    cjose_header_t *header = cjose_header_new(&err);
    cjose_jwk_t *jwk = cjose_jwk_import(key->private_jwk, strlen(key->private_jwk), &err);
    bool named = header && jwk && cjose_header_set(header, "alg", algorithm, &err);
    cjose_jws_t *jws =
        named ? cjose_jws_sign(jwk, header, (const uint8_t *)type, strlen(type), &err) : NULL;
    bool holds =
        jws && cjose_jws_export(jws, &token, &err) && signature_holds(key, token, strlen(token));
    cjose_jws_release(jws);
    cjose_jwk_release(jwk);
    cjose_header_release(header);
    return holds;
}

static bool
read_claims(struct arena *a, json_t *payload, struct token_claims *ret)
{
    json_t *issued_at = json_object_get(payload, "iat");
    json_t *expires_at = json_object_get(payload, "exp");
    if (!json_is_integer(issued_at) || !json_is_integer(expires_at) ||
        !text_equal(text_of(payload, "iss"), issuer) ||
        !text_equal(text_of(payload, "aud"), issuer))
        return false;
    *ret = (struct token_claims){
        .user_id = arena_strdup(a, text_of(payload, "sub")),
        .session_id = arena_strdup(a, text_of(payload, "sid")),
        .order_id = arena_strdup(a, text_of(payload, "order")),
        .issued_at_us = json_integer_value(issued_at) * SECOND_US,
        .expires_at_us = json_integer_value(expires_at) * SECOND_US,
    };
    bool users = !text_empty(ret->user_id) && !text_empty(ret->session_id);
    bool guests = text_empty(ret->user_id) && text_empty(ret->session_id);
    return text_empty(ret->order_id) ? users : guests;
}

/* "" if there is no such string. */
static const char *
text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static void
release_json(void *json)
{
    json_decref(json);
}
