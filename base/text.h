/* Text that grows, and the few things that C's string.h lacks. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

/* A growing byte string in an arena; bytes[n] is always '\0' once something was added. */
struct text {
    struct arena *arena;
    char *bytes;
    size_t n, room;
};

struct text text_in(struct arena *a);
void text_add(struct text *t, const char *s);
void text_add_n(struct text *t, const void *bytes, size_t n);
void text_add_char(struct text *t, char c);
void text_add_int(struct text *t, int64_t n);
void text_printf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* s as a JSON string, quotes and escapes included; s must be UTF-8. */
void text_add_json(struct text *t, const char *s);

/* True if the n bytes are well-formed UTF-8 without NUL (Unicode 15, table 3-7). */
bool utf8_valid(const char *s, size_t n);
/* Characters (code points) in a valid UTF-8 string. */
size_t utf8_length(const char *s);

bool text_equal(const char *a, const char *b); /* NULL equals "" */
bool text_empty(const char *s);                /* NULL or "" */
/* A copy with ASCII letters in lower case: what e-mail addresses are compared by. */
char *text_lower(struct arena *a, const char *s);
bool text_starts(const char *s, const char *prefix);

/* A whole decimal integer with optional '-', nothing around it; false and *ret untouched otherwise. */
bool int_parse(const char *s, int64_t *ret);

/* RFC 4648, section 5, without padding.  base64url_decode gives NULL for malformed input. */
char *base64url_encode(struct arena *a, const void *bytes, size_t n);
void *base64url_decode(struct arena *a, const char *s, size_t n, size_t *ret_n);
char *hex_encode(struct arena *a, const void *bytes, size_t n);

/* Time in constant steps for secrets of equal length. */
bool secret_equal(const void *a, const void *b, size_t n);
