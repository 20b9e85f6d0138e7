/*
 * Shopify's product CSV as products: pure, from bytes to messages.
 *
 * A product is a handle; its rows may stand anywhere.  A row with a title, options, a sku or a
 * price is a variant; one with nothing but an image adds the image.
 */
#pragma once
#include "catalog.api.h"

enum {
    FILE_ROWS_MAX = 100000,
    VARIANTS_MAX = 250, /* of one product; the proto says the same of lists in a body */
    IMAGES_MAX = 250,
    TAGS_MAX = 250,
    STOCK_MAX = 1000000000,
};

struct shopify_variant {
    Variant *variant; /* available is the file's quantity */
    int64_t line;
    bool made_sku; /* made from the handle and the options: the file gives none */
};

struct shopify_product {
    int64_t line;     /* of its first row */
    Product *product; /* without id, version and variants */
    struct shopify_variant *variants;
    size_t n_variants;
};

struct shopify_skip {
    int64_t line;
    const char *reason;
};

struct shopify_file {
    struct shopify_product *products; /* in the order of their first rows */
    size_t n_products;
    struct shopify_skip *skipped;
    size_t n_skipped;
};

/* Prices are in currency.  False if the file as a whole is none: then *ret_line and *ret_why tell
 * where and why. */
bool shopify_read(struct arena *a, const void *bytes, size_t n, const char *currency,
                  struct shopify_file *ret, int64_t *ret_line, const char **ret_why);

/* Adds a row to those that were passed over. */
void shopify_skip(struct arena *a, struct shopify_file *file, int64_t line, const char *reason);
