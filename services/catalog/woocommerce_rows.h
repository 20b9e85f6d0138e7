/* The rows of a WooCommerce CSV, each with its product's own row; for woocommerce.c. */
#pragma once
#include "catalog/csv_table.h"

enum { ATTRIBUTES_MAX = 20 };
enum column {
    COLUMN_ID,
    COLUMN_TYPE,
    COLUMN_SKU,
    COLUMN_NAME,
    COLUMN_PUBLISHED,
    COLUMN_VISIBILITY,
    COLUMN_SHORT_TEXT,
    COLUMN_TEXT,
    COLUMN_SALE_STARTS,
    COLUMN_SALE_ENDS,
    COLUMN_STOCK,
    COLUMN_SALE_PRICE,
    COLUMN_PRICE,
    COLUMN_CATEGORIES,
    COLUMN_TAGS,
    COLUMN_IMAGES,
    COLUMN_PARENT,
    COLUMN_BRANDS,
    COLUMN_HANDLE,
    COLUMN_ALTS,
    COLUMN_ATTRIBUTE_1,
    COLUMNS = COLUMN_ATTRIBUTE_1 + ATTRIBUTES_MAX,
};

/* A row, and the product it belongs to. */
struct woo_row {
    const struct table_row *row;
    const char *key;              /* what it is found by, or looks for */
    const struct table_row *head; /* the product's own row */
    const char *fault;            /* why it cannot be taken, or NULL */
};

/* All rows in the order of the file, and the skus that repeat an earlier one named.  False if the
 * file is none of WooCommerce's. */
bool woo_rows(struct file_reading *r, const void *bytes, size_t n, struct woo_row **ret,
              size_t *ret_n, int64_t *ret_line, const char **ret_why);

/* "simple, virtual": the kind is the word that says how it is sold. */
bool woo_is_kind(const struct table_row *row, const char *kind);
