#include "search/plain.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

enum { NAME_CHARS_MAX = 16, ENTITY_CHARS_MAX = 10 };

static const char *skip_markup(const char *p, bool *ret_parts);
static const char *skip_past(const char *p, const char *end);
static size_t tag_name(const char *p, char ret[NAME_CHARS_MAX]);
static bool parts_words(const char *name);
static size_t read_entity(const char *p, char ret[8]);
static size_t put_utf8(unsigned long c, char ret[8]);
static void put(struct text *t, const char *bytes, size_t n, bool *gap);

const char *
plain_text(struct arena *a, const char *html)
{
    struct text out = text_in(a);
    text_add(&out, "");
    bool gap = false;
    for (const char *p = html; *p;) {
        char read[8];
        size_t n;
        bool letter = isalpha((unsigned char)p[1]) || p[1] == '/' || p[1] == '!' || p[1] == '?';
        if (*p == '<' && letter) {
            bool parts = false;
            p = skip_markup(p, &parts);
            gap = gap || parts;
        } else if (*p == '&' && (n = read_entity(p, read)) > 0) {
            put(&out, read, strlen(read), &gap);
            p += n;
        } else {
            put(&out, p++, 1, &gap);
        }
    }
    return out.bytes;
}

/* Behind the tag or comment at p; of a script or style, behind its end. */
static const char *
skip_markup(const char *p, bool *ret_parts)
{
    if (strncmp(p, "<!--", 4) == 0)
        return skip_past(p + 4, "-->");
    char name[NAME_CHARS_MAX];
    tag_name(p + 1, name);
    *ret_parts = parts_words(name);
    if (strcasecmp(name, "script") == 0)
        return skip_past(skip_past(p, "</script"), ">");
    if (strcasecmp(name, "style") == 0)
        return skip_past(skip_past(p, "</style"), ">");
    char quote = '\0';
    for (p++; *p && (quote || *p != '>'); p++)
        if (quote)
            quote = *p == quote ? '\0' : quote;
        else if ((*p == '"' || *p == '\'') && p[-1] == '=')
            quote = *p;
    return *p ? p + 1 : p;
}

static const char *
skip_past(const char *p, const char *end)
{
    const char *at = strcasestr(p, end);
    return at ? at + strlen(end) : p + strlen(p);
}

static size_t
tag_name(const char *p, char ret[NAME_CHARS_MAX])
{
    size_t n = 0;
    for (p += *p == '/'; isalnum((unsigned char)*p) && n + 1 < NAME_CHARS_MAX; p++)
        ret[n++] = *p;
    ret[n] = '\0';
    return n;
}

/* Those that stand within words do not. */
static bool
parts_words(const char *name)
{
    static const char *const within[] = {"a",   "b",   "i",   "u",    "em",   "strong", "span",
                                         "sub", "sup", "wbr", "mark", "font", "small"};
    for (size_t i = 0; i < sizeof within / sizeof within[0]; i++)
        if (strcasecmp(name, within[i]) == 0)
            return false;
    return true;
}

/* How long the entity at p is, and its character; 0 if it is none that we know. */
static size_t
read_entity(const char *p, char ret[8])
{
    static const struct {
        const char *name, *is;
    } known[] = {{"&amp;", "&"},   {"&lt;", "<"},   {"&gt;", ">"},
                 {"&quot;", "\""}, {"&apos;", "'"}, {"&nbsp;", " "}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(p, known[i].name, strlen(known[i].name)) == 0) {
            strcpy(ret, known[i].is);
            return strlen(known[i].name);
        }
    size_t n = 2;
    if (p[1] != '#')
        return 0;
    int base = p[2] == 'x' || p[2] == 'X' ? 16 : 10;
    n += base == 16;
    char *end;
    if (!isxdigit((unsigned char)p[n]))
        return 0;
    unsigned long c = strtoul(p + n, &end, base);
    if (*end != ';' || end - p > ENTITY_CHARS_MAX || put_utf8(c, ret) == 0)
        return 0;
    return (size_t)(end - p) + 1;
}

/* 0 for what is no character, or one of control. */
static size_t
put_utf8(unsigned long c, char ret[8])
{
    size_t n = 0;
    if (c == 0xa0)
        c = ' ';
    if (c < ' ' || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
        return 0;
    if (c < 0x80) {
        ret[n++] = (char)c;
    } else if (c < 0x800) {
        ret[n++] = (char)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        ret[n++] = (char)(0xe0 | c >> 12);
        ret[n++] = (char)(0x80 | (c >> 6 & 0x3f));
    } else {
        ret[n++] = (char)(0xf0 | c >> 18);
        ret[n++] = (char)(0x80 | (c >> 12 & 0x3f));
        ret[n++] = (char)(0x80 | (c >> 6 & 0x3f));
    }
    if (c >= 0x80)
        ret[n++] = (char)(0x80 | (c & 0x3f));
    ret[n] = '\0';
    return n;
}

static void
put(struct text *t, const char *bytes, size_t n, bool *gap)
{
    if (isspace((unsigned char)bytes[0])) {
        *gap = true;
        return;
    }
    if (*gap && t->n)
        text_add_char(t, ' ');
    *gap = false;
    text_add_n(t, bytes, n);
}

/* What is neither a letter, a digit nor beyond ASCII parts words; beyond it FTS5 itself does. */
static bool
in_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

const char *
plain_query(struct arena *a, const char *question)
{
    struct text out = text_in(a);
    text_add(&out, "");
    int words = 0;
    for (const char *p = question; *p && words < QUERY_WORDS_MAX; words++) {
        while (*p && !in_word(*p))
            p++;
        size_t n = 0;
        while (in_word(p[n]))
            n++;
        if (n == 0)
            break;
        text_add(&out, words ? " \"" : "\"");
        text_add_n(&out, p, n);
        text_add_char(&out, '"');
        p += n;
    }
    if (out.n)
        text_add_char(&out, '*');
    return out.bytes;
}
