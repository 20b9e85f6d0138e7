/* Pure functions over names: addresses and skus made of them, and words to search by. */
#pragma once
#include <stddef.h>

#include "base/arena.h"

enum {
    SKU_CHARS_MAX = 64,
    HANDLE_CHARS_MAX = 100,
    SEARCH_WORDS_MAX = 8, /* further words of a question are not looked at */
};

/*
 * text as [a-z0-9-]{1,max}: "Größe: XL" → "grosse-xl".  Where letters had to be dropped or the end
 * cut off, a digest of the text stands behind it, so that two names that differ keep two slugs.
 * "" only for "".
 */
const char *slug_make(struct arena *a, const char *text, size_t max);

/* A text that is such a slug already stays as it is ("a--b"); any other becomes one. */
const char *slug_keep(struct arena *a, const char *text, size_t max);

/* A sku from a product's handle and a variant's options ("" or "Small / Red"). */
const char *sku_make(struct arena *a, const char *handle, const char *options);

/* The same slug again, as its number-th: "shirt", 2 → "shirt-2". */
const char *slug_numbered(struct arena *a, const char *slug, int number, size_t max);

/* UTF-8 in lower case, for Latin, Greek and Cyrillic. */
const char *text_fold(struct arena *a, const char *text);

/* The words of a question as patterns for LIKE … ESCAPE '\'; "%" for those not given. */
void search_patterns(struct arena *a, const char *question, const char *ret[SEARCH_WORDS_MAX]);
