#include "payments/signature.h"

#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "base/time.h"

enum { HEX_CHARS = 2 * SHA256_BYTES };

static const char *digest(struct arena *a, const char *secret, const char *seconds,
                          const char *body, size_t n);
static const char *first_value(struct arena *a, const char *header, const char *name);

const char *
signature_make(struct arena *a, const char *secret, int64_t now_us, const char *body, size_t n)
{
    const char *seconds = arena_printf(a, "%lld", (long long)(now_us / SECOND_US));
    return arena_printf(a, "t=%s,v1=%s", seconds, digest(a, secret, seconds, body, n));
}

bool
signature_good(struct arena *a, const char *secret, int64_t now_us, const char *header,
               const char *body, size_t n)
{
    int64_t sent_s;
    const char *seconds = text_empty(header) ? NULL : first_value(a, header, "t=");
    if (!seconds || !int_parse(seconds, &sent_s) || sent_s < 0 || sent_s > INT64_MAX / SECOND_US)
        return false;
    int64_t age_us = now_us - sent_s * SECOND_US;
    if (age_us > SIGNATURE_TOLERANCE_US || age_us < -SIGNATURE_TOLERANCE_US)
        return false;
    const char *wanted = digest(a, secret, seconds, body, n);
    bool good = false;
    for (const char *at = header; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (text_starts(at, "v1=") && strcspn(at + 3, ",") == HEX_CHARS)
            good |= secret_equal(at + 3, wanted, HEX_CHARS);
    }
    return good;
}

static const char *
digest(struct arena *a, const char *secret, const char *seconds, const char *body, size_t n)
{
    struct text signed_text = text_in(a);
    text_add(&signed_text, seconds);
    text_add_char(&signed_text, '.');
    text_add_n(&signed_text, body, n);
    uint8_t hmac[SHA256_BYTES];
    hmac_sha256(secret, strlen(secret), signed_text.bytes, signed_text.n, hmac);
    return hex_encode(a, hmac, sizeof hmac);
}

/* What stands behind name in the header's list, or NULL. */
static const char *
first_value(struct arena *a, const char *header, const char *name)
{
    for (const char *at = header; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (text_starts(at, name))
            return arena_strndup(a, at + strlen(name), strcspn(at + strlen(name), ","));
    }
    return NULL;
}
