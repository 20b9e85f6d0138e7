/*
 * Writes products as CSV: what the formats share.  Pure.
 *
 * Nothing is put before what a spreadsheet may take for a formula, unless the format has a sign for
 * it: what is written must come back as it was.
 */
#pragma once
#include "catalog.api.h"

/* A row; a NULL cell is empty. */
void csv_write_row(struct text *t, const char *const *cells, size_t n);

enum { OPTIONS_MAX = 3 };

/* How many options the variants' titles are made of: "Small / Red" has two, if each variant that
 * has a title of its own has as many; else each title is one as a whole.  0 if none has a title. */
size_t options_count(const Product *product);

/* A variant's values: n of them, "" where it goes by the product's title. */
void options_of_variant(struct arena *a, const Product *product, const Variant *variant, size_t n,
                        const char *ret[OPTIONS_MAX]);
