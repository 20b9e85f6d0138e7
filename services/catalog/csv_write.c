#include "catalog/csv_write.h"

#include <string.h>

static const char between[] = " / ";

static void write_cell(struct text *t, const char *cell);
static size_t parts_of(const char *title);
static bool is_plain(const char *part, size_t n);

void
csv_write_row(struct text *t, const char *const *cells, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i)
            text_add_char(t, ',');
        write_cell(t, cells[i] ? cells[i] : "");
    }
    text_add_char(t, '\n');
}

size_t
options_count(const Product *product)
{
    size_t n = 0;
    for (size_t i = 0; i < product->n_variants; i++) {
        const char *title = product->variants[i]->title;
        if (text_equal(title, product->title))
            continue;
        size_t parts = parts_of(title);
        if (n && n != parts)
            return 1;
        n = parts;
    }
    return n;
}

void
options_of_variant(struct arena *a, const Product *product, const Variant *variant, size_t n,
                   const char *ret[OPTIONS_MAX])
{
    for (size_t i = 0; i < OPTIONS_MAX; i++)
        ret[i] = "";
    const char *rest = variant->title;
    if (n == 0 || text_equal(rest, product->title))
        return;
    for (size_t i = 0; i + 1 < n; i++) {
        const char *end = strstr(rest, between);
        ret[i] = arena_strndup(a, rest, (size_t)(end - rest));
        rest = end + strlen(between);
    }
    ret[n - 1] = rest;
}

/* Spaces around a cell are kept by quotes alone. */
static void
write_cell(struct text *t, const char *cell)
{
    size_t n = strlen(cell);
    bool bare = n == 0 || (!strpbrk(cell, "\",\r\n\t") && cell[0] != ' ' && cell[n - 1] != ' ');
    if (bare) {
        text_add(t, cell);
        return;
    }
    text_add_char(t, '"');
    for (const char *p = cell; *p; p++) {
        if (*p == '"')
            text_add_char(t, '"');
        text_add_char(t, *p);
    }
    text_add_char(t, '"');
}

/* 1 to OPTIONS_MAX; 1 where a part would not come back as it is. */
static size_t
parts_of(const char *title)
{
    size_t n = 1;
    const char *rest = title, *end;
    while (n < OPTIONS_MAX && (end = strstr(rest, between))) {
        if (!is_plain(rest, (size_t)(end - rest)))
            return 1;
        rest = end + strlen(between);
        n++;
    }
    return is_plain(rest, strlen(rest)) ? n : 1;
}

static bool
is_plain(const char *part, size_t n)
{
    return n > 0 && part[0] != ' ' && part[n - 1] != ' ';
}
