#include "catalog/words.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"

enum { DIGEST_BYTES = 4, DIGEST_CHARS = 2 * DIGEST_BYTES };

/* U+00C0 to U+00DF in ASCII; the lower case from U+00E0 on is the same but for the last. */
static const char *const latin_1[32] = {
    "a", "a", "a", "a", "a", "a", "ae", "c", "e", "e", "e", "e", "i", "i", "i",  "i",
    "d", "n", "o", "o", "o", "o", "o",  "-", "o", "u", "u", "u", "u", "y", "th", "y",
};

static uint32_t next_point(const char **p);
static void add_point(struct text *t, uint32_t point);
static const char *ascii_of(uint32_t point, char room[2]);
static void slug_add(struct text *t, const char *ascii);
static const char *with_digest(struct arena *a, const char *slug, const char *text, size_t max);
static uint32_t fold_point(uint32_t point);

const char *
slug_make(struct arena *a, const char *text, size_t max)
{
    if (text_empty(text))
        return "";
    struct text slug = text_in(a);
    text_add(&slug, "");
    bool lost = false;
    char room[2];
    for (const char *p = text; *p;) {
        const char *ascii = ascii_of(next_point(&p), room);
        lost = lost || !ascii;
        slug_add(&slug, ascii ? ascii : "-");
    }
    if (slug.n && slug.bytes[slug.n - 1] == '-')
        slug.bytes[--slug.n] = '\0';
    if (lost || slug.n == 0 || slug.n > max)
        return with_digest(a, slug.bytes, text, max);
    return slug.bytes;
}

const char *
slug_keep(struct arena *a, const char *text, size_t max)
{
    size_t n = strlen(text);
    bool is_slug = n <= max && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
    return is_slug ? text : slug_make(a, text, max);
}

const char *
sku_make(struct arena *a, const char *handle, const char *options)
{
    if (text_empty(options))
        return slug_make(a, handle, SKU_CHARS_MAX);
    return slug_make(a, arena_printf(a, "%s-%s", handle, options), SKU_CHARS_MAX);
}

const char *
slug_numbered(struct arena *a, const char *slug, int number, size_t max)
{
    const char *tail = arena_printf(a, "-%d", number);
    size_t room = max - strlen(tail), n = strlen(slug);
    return arena_printf(a, "%.*s%s", (int)(n < room ? n : room), slug, tail);
}

const char *
text_fold(struct arena *a, const char *text)
{
    struct text folded = text_in(a);
    text_add(&folded, "");
    for (const char *p = text; *p;)
        add_point(&folded, fold_point(next_point(&p)));
    return folded.bytes;
}

void
search_patterns(struct arena *a, const char *question, const char *ret[SEARCH_WORDS_MAX])
{
    size_t n = 0;
    const char *p = text_fold(a, question);
    while (n < SEARCH_WORDS_MAX) {
        p += strspn(p, " \t\r\n");
        size_t length = strcspn(p, " \t\r\n");
        if (length == 0)
            break;
        struct text pattern = text_in(a);
        text_add_char(&pattern, '%');
        for (; length; length--, p++) {
            if (strchr("%_\\", *p))
                text_add_char(&pattern, '\\');
            text_add_char(&pattern, *p);
        }
        text_add_char(&pattern, '%');
        ret[n++] = pattern.bytes;
    }
    while (n < SEARCH_WORDS_MAX)
        ret[n++] = "%";
}

/* The code point at *p, which must be valid UTF-8; *p then stands behind it. */
static uint32_t
next_point(const char **p)
{
    unsigned char first = (unsigned char)*(*p)++;
    int more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    uint32_t point = more == 0 ? first : first & (0x3fu >> more);
    for (; more && **p; more--)
        point = point << 6 | ((unsigned char)*(*p)++ & 0x3fu);
    return point;
}

static void
add_point(struct text *t, uint32_t point)
{
    int more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const unsigned char marks[] = {0, 0xc0, 0xe0, 0xf0};
    text_add_char(t, (char)(marks[more] | point >> 6 * more));
    for (int i = more - 1; i >= 0; i--)
        text_add_char(t, (char)(0x80 | (point >> 6 * i & 0x3f)));
}

/* How a slug spells the character: "-" for what parts words, NULL where it has no spelling. */
static const char *
ascii_of(uint32_t point, char room[2])
{
    bool letter = (point >= 'a' && point <= 'z') || (point >= '0' && point <= '9');
    bool capital = point >= 'A' && point <= 'Z';
    if (letter || capital) {
        room[0] = (char)(capital ? point + ('a' - 'A') : point);
        room[1] = '\0';
        return room;
    }
    if (point == '\'' || point == 0x2019)
        return ""; /* men's → mens */
    if (point < 0xc0 || (point >= 0x2000 && point < 0x2070))
        return "-";
    if (point == 0xdf)
        return "ss";
    return point <= 0xff ? latin_1[(point - 0xc0) % 32] : NULL;
}

/* Words are parted by one '-', and none stands in front. */
static void
slug_add(struct text *t, const char *ascii)
{
    if (ascii[0] == '-' && (t->n == 0 || t->bytes[t->n - 1] == '-'))
        return;
    text_add(t, ascii);
}

static const char *
with_digest(struct arena *a, const char *slug, const char *text, size_t max)
{
    uint8_t digest[SHA256_BYTES];
    sha256(text, strlen(text), digest);
    const char *hex = hex_encode(a, digest, DIGEST_BYTES);
    size_t room = max - DIGEST_CHARS - 1, n = strlen(slug);
    n = n < room ? n : room;
    while (n && slug[n - 1] == '-')
        n--;
    return n ? arena_printf(a, "%.*s-%s", (int)n, slug, hex) : hex;
}

/* Unicode's simple lower case, for the letters of two bytes that European names use. */
static uint32_t
fold_point(uint32_t point)
{
    if (point < 0x80)
        return point >= 'A' && point <= 'Z' ? point + 32 : point;
    if (point >= 0xc0 && point <= 0xde && point != 0xd7)
        return point + 32;
    if (point == 0x178)
        return 0xff;
    bool odd_capitals = (point >= 0x139 && point <= 0x148) || (point >= 0x179 && point <= 0x17e);
    if (odd_capitals)
        return point % 2 ? point + 1 : point;
    if (point >= 0x100 && point <= 0x177 && point != 0x130 && point != 0x131 && point != 0x138)
        return point | 1;
    if ((point >= 0x391 && point <= 0x3a9) || (point >= 0x410 && point <= 0x42f))
        return point + 32;
    return point >= 0x400 && point <= 0x40f ? point + 80 : point;
}
