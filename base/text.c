#include "base/text.h"

#include <assert.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_ROOM_BYTES = 128 };

static void make_room(struct text *t, size_t n);
static void add_escaped(struct text *t, unsigned char c);
static size_t ascii_length(const char *s, size_t n);
static size_t sequence_length(const unsigned char *s, size_t n);
static int base64url_digit(char c);

struct text
text_in(struct arena *a)
{
    static char nothing[1];
    return (struct text){.arena = a, .bytes = nothing};
}

void
text_add(struct text *t, const char *s)
{
    if (s)
        text_add_n(t, s, strlen(s));
}

void
text_add_n(struct text *t, const void *bytes, size_t n)
{
    make_room(t, n);
    if (n > 0)
        memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
    t->bytes[t->n] = '\0';
}

void
text_add_char(struct text *t, char c)
{
    make_room(t, 1);
    t->bytes[t->n++] = c;
    t->bytes[t->n] = '\0';
}

void
text_add_int(struct text *t, int64_t n)
{
    char digits[24], *p = digits + sizeof digits;
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (n < 0)
        *--p = '-';
    text_add_n(t, p, (size_t)(digits + sizeof digits - p));
}

void
text_printf(struct text *t, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    make_room(t, 0);
    int n = vsnprintf(t->bytes + t->n, t->room - t->n, fmt, args);
    assert(n >= 0);
    if ((size_t)n >= t->room - t->n) {
        make_room(t, (size_t)n);
        vsnprintf(t->bytes + t->n, (size_t)n + 1, fmt, again);
    }
    t->n += (size_t)n;
    va_end(again);
    va_end(args);
}

void
text_add_json(struct text *t, const char *s)
{
    text_add_char(t, '"');
    const char *plain = s ? s : "";
    const char *p = plain;
    for (; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        text_add_n(t, plain, (size_t)(p - plain));
        add_escaped(t, c);
        plain = p + 1;
    }
    text_add_n(t, plain, (size_t)(p - plain));
    text_add_char(t, '"');
}

bool
utf8_valid(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        i += ascii_length(s + i, n - i);
        if (i == n)
            break;
        size_t length = sequence_length((const unsigned char *)s + i, n - i);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

size_t
utf8_length(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

bool
text_equal(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

bool
text_empty(const char *s)
{
    return !s || !*s;
}

bool
text_starts(const char *s, const char *prefix)
{
    return strncmp(s ? s : "", prefix, strlen(prefix)) == 0;
}

char *
text_lower(struct arena *a, const char *s)
{
    char *lower = arena_strdup(a, s);
    for (char *p = lower; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return lower;
}

bool
int_parse(const char *s, int64_t *ret)
{
    if (!s)
        return false;
    bool negative = *s == '-';
    if (negative)
        s++;
    if (!*s)
        return false;

    int64_t n = 0; /* kept negative: there is one more of those */
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_sub_overflow(n, *s - '0', &n))
            return false;
    }
    if (!negative && n == INT64_MIN)
        return false;
    *ret = negative ? n : -n;
    return true;
}

char *
base64url_encode(struct arena *a, const void *bytes, size_t n)
{
    size_t room = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    char *s = arena_alloc(a, room);
    return sodium_bin2base64(s, room, bytes, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

void *
base64url_decode(struct arena *a, const char *s, size_t n, size_t *ret_n)
{
    if (n % 4 == 1)
        return NULL;
    unsigned char *bytes = arena_alloc(a, n / 4 * 3 + 3);
    size_t made = 0;
    uint32_t bits = 0;
    unsigned held = 0; /* bits that no byte has taken yet */
    for (size_t i = 0; i < n; i++) {
        int digit = base64url_digit(s[i]);
        if (digit < 0)
            return NULL;
        bits = bits << 6 | (uint32_t)digit;
        held += 6;
        if (held >= 8) {
            held -= 8;
            bytes[made++] = (unsigned char)(bits >> held);
        }
    }
    /* What is left over must be zero, so that only one text stands for the bytes. */
    if (bits & ((1U << held) - 1))
        return NULL;
    *ret_n = made;
    return bytes;
}

char *
hex_encode(struct arena *a, const void *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *s = arena_alloc(a, 2 * n + 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = ((const unsigned char *)bytes)[i];
        s[2 * i] = digits[byte >> 4];
        s[2 * i + 1] = digits[byte & 15];
    }
    return s;
}

bool
secret_equal(const void *a, const void *b, size_t n)
{
    return sodium_memcmp(a, b, n) == 0;
}

/* Room for n more bytes and a NUL. */
static void
make_room(struct text *t, size_t n)
{
    size_t needed = t->n + n + 1;
    if (needed <= t->room)
        return;
    size_t room = t->room > 0 ? 2 * t->room : FIRST_ROOM_BYTES;
    if (room < needed)
        room = needed;
    t->bytes = arena_grow(t->arena, t->room > 0 ? t->bytes : NULL, t->room, room);
    t->room = room;
}

static void
add_escaped(struct text *t, unsigned char c)
{
    static const char letters[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n',  ['\f'] = 'f',
        ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\',
    };
    if (letters[c]) {
        text_add_char(t, '\\');
        text_add_char(t, letters[c]);
    } else {
        text_printf(t, "\\u%04x", (unsigned)c);
    }
}

/* How many of the first bytes are ASCII and not NUL; eight at a time. */
static size_t
ascii_length(const char *s, size_t n)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    size_t i = 0;
    for (uint64_t word; i + sizeof word <= n; i += sizeof word) {
        memcpy(&word, s + i, sizeof word);
        if (((word - ones) | word) & tops)
            break;
    }
    while (i < n && (signed char)s[i] > 0)
        i++;
    return i;
}

/* Length of the well-formed sequence of two to four bytes at s; 0 if there is none. */
static size_t
sequence_length(const unsigned char *s, size_t n)
{
    unsigned char lowest = 0x80, highest = 0xbf; /* of the second byte */
    size_t length;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        length = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        length = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        length = 4;
    else
        return 0;

    if (s[0] == 0xe0)
        lowest = 0xa0;
    else if (s[0] == 0xed)
        highest = 0x9f;
    else if (s[0] == 0xf0)
        lowest = 0x90;
    else if (s[0] == 0xf4)
        highest = 0x8f;

    if (n < length || s[1] < lowest || s[1] > highest)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

static int
base64url_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}
