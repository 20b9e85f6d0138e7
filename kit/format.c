#include "kit/format.h"

#include <assert.h>
#include <ctype.h>
#include <regex.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/money.h"
#include "fiber/fiber.h"

enum {
    PATTERNS_MAX = 256,
    PATTERN_CHARS_MAX = 300,
    EMAIL_LOCAL_MAX = 64,
    LABEL_CHARS_MAX = 63,
    PHONE_DIGITS_MIN = 4,
    PHONE_DIGITS_MAX = 15, /* E.164 */
};

/* Compiled expressions by the address of their text; entries are never removed. */
static struct {
    struct spin lock;
    size_t n;
    const char *patterns[PATTERNS_MAX];
    regex_t compiled[PATTERNS_MAX];
} known;

static const regex_t *compiled(const char *pattern);
static bool is_email(const char *s);
static bool is_host(const char *s, size_t n);
static bool is_url(const char *s);
static bool is_phone(const char *s);

bool
pattern_matches(const char *pattern, const char *s)
{
    return regexec(compiled(pattern), s, 0, NULL, 0) == 0;
}

bool
format_matches(const char *format, const char *s)
{
    switch (format[0]) {
    case 'e':
        return is_email(s);
    case 'c':
        return currency_exponent(s) >= 0;
    case 'u':
        return is_url(s);
    default:
        assert(format[0] == 'p');
        return is_phone(s);
    }
}

const char *
format_noun(const char *format)
{
    switch (format[0]) {
    case 'e':
        return "e-mail address";
    case 'c':
        return "currency code of ISO 4217";
    case 'u':
        return "http or https address";
    default:
        return "phone number";
    }
}

/* A slot is written before its pattern's address is, so that a reader finds it whole. */
static const regex_t *
compiled(const char *pattern)
{
    spin_lock(&known.lock);
    size_t at = hash64(&pattern, sizeof pattern) % PATTERNS_MAX;
    while (known.patterns[at] && known.patterns[at] != pattern)
        at = (at + 1) % PATTERNS_MAX;
    if (!known.patterns[at]) {
        assert(known.n < PATTERNS_MAX - 1);
        assert(strlen(pattern) < PATTERN_CHARS_MAX);
        char whole[PATTERN_CHARS_MAX + 8];
        snprintf(whole, sizeof whole, "^(%s)$", pattern);
        int failure = regcomp(&known.compiled[at], whole, REG_EXTENDED | REG_NOSUB);
        assert(!failure);
        (void)failure;
        known.patterns[at] = pattern;
        known.n++;
    }
    spin_unlock(&known.lock);
    return &known.compiled[at];
}

/* As HTML's input type=email: what mail programs accept, without comments and quoted parts. */
static bool
is_email(const char *s)
{
    const char *at = strchr(s, '@');
    if (!at || at == s || at - s > EMAIL_LOCAL_MAX)
        return false;
    for (const char *p = s; p < at; p++)
        if (!isascii((unsigned char)*p) ||
            (!isalnum((unsigned char)*p) && !strchr(".!#$%&'*+/=?^_`{|}~-", *p)))
            return false;
    return is_host(at + 1, strlen(at + 1));
}

/* Labels of letters, digits and inner hyphens, divided by dots. */
static bool
is_host(const char *s, size_t n)
{
    size_t label = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '.') {
            if (label == 0 || s[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        bool alnum = isascii(c) && isalnum(c);
        if ((!alnum && c != '-') || (c == '-' && label == 0) || ++label > LABEL_CHARS_MAX)
            return false;
    }
    return label > 0 && s[n - 1] != '-';
}

static bool
is_url(const char *s)
{
    const char *host = NULL;
    if (strncmp(s, "https://", 8) == 0)
        host = s + 8;
    else if (strncmp(s, "http://", 7) == 0)
        host = s + 7;
    if (!host)
        return false;
    for (const char *p = host; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 127 || strchr("<>\"\\^`{|}", *p))
            return false;
    size_t n = strcspn(host, ":/?#");
    if (!is_host(host, n))
        return false;
    size_t port = host[n] == ':' ? strspn(host + n + 1, "0123456789") : 0;
    if (host[n] == ':' && (port == 0 || port > 5))
        return false;
    const char *rest = host[n] == ':' ? host + n + 1 + port : host + n;
    return *rest == '\0' || strchr("/?#", *rest);
}

/* Digits with a leading + and what people put between them. */
static bool
is_phone(const char *s)
{
    size_t digits = 0;
    for (const char *p = s + (*s == '+'); *p; p++) {
        if (*p >= '0' && *p <= '9')
            digits++;
        else if (!strchr(" -.()/", *p))
            return false;
    }
    return digits >= PHONE_DIGITS_MIN && digits <= PHONE_DIGITS_MAX;
}
