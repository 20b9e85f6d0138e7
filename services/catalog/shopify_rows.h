/* The rows of a Shopify CSV, with the cells that we look at; for shopify.c. */
#pragma once
#include "catalog/shopify.h"

enum column {
    COLUMN_HANDLE,
    COLUMN_TITLE,
    COLUMN_BODY,
    COLUMN_VENDOR,
    COLUMN_TYPE,
    COLUMN_TAGS,
    COLUMN_PUBLISHED,
    COLUMN_STATUS,
    COLUMN_OPTION_1,
    COLUMN_OPTION_2,
    COLUMN_OPTION_3,
    COLUMN_SKU,
    COLUMN_QUANTITY,
    COLUMN_PRICE,
    COLUMN_COMPARE_AT,
    COLUMN_IMAGE,
    COLUMN_IMAGE_POSITION,
    COLUMN_IMAGE_ALT,
    COLUMNS,
};

/* Cells are on one line, without space around them, save the description. */
struct shopify_row {
    int64_t line;
    const char *handle; /* as a slug */
    const char *cells[COLUMNS];
};

struct shopify_rows {
    struct shopify_row *rows;
    size_t n, room;
};

/* All rows that have a handle; the others are named in file's skipped.  False if the file is no
 * Shopify CSV. */
bool shopify_rows(struct arena *a, const void *bytes, size_t n, struct shopify_file *file,
                  struct shopify_rows *ret, int64_t *ret_line, const char **ret_why);

/* cell on one line, without space around it. */
const char *shopify_plain(struct arena *a, const char *cell);
