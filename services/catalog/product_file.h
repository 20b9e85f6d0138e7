/*
 * A file of products, whatever its format: what its rows become before anything is written.  Pure.
 *
 * A format (shopify.c, woocommerce.c) says which rows are a product and what their cells mean; what
 * a cell must be to be taken, and how a bad one is named, is the same for all and stands here.
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

struct file_variant {
    Variant *variant; /* available is the file's quantity */
    int64_t line;
    bool made_sku; /* made from the handle and the options: the file gives none */
};

struct file_product {
    int64_t line;     /* of its first row */
    Product *product; /* without id, version and variants */
    bool made_handle; /* made from the title: the format has no handles */
    struct file_variant *variants;
    size_t n_variants;
};

struct file_skip {
    int64_t line;
    const char *reason;
};

struct product_file {
    struct file_product *products; /* in the order of their first rows */
    size_t n_products;
    struct file_skip *skipped;
    size_t n_skipped;
};

/* What a file is read with. */
struct file_reading {
    struct arena *arena;
    const char *currency; /* of its prices */
    const char *today;    /* "2026-11-23": which sales run */
    struct product_file *file;
};

/* Reads bytes into r->file.  False if the file as a whole is none: then *ret_line and *ret_why tell
 * where and why. */
typedef bool file_read_fn(struct file_reading *r, const void *bytes, size_t n, int64_t *ret_line,
                          const char **ret_why);

/* Adds a row to those that were passed over. */
void file_skip(struct arena *a, struct product_file *file, int64_t line, const char *reason);

/* Puts products and skipped rows in the order of the file. */
void file_sort(struct product_file *file);

/* cell on one line, without space around it. */
const char *file_plain(struct arena *a, const char *cell);

/* NULL, or what of the product is longer than it may be. */
const char *file_product_fault(struct arena *a, const Product *product);

/* A variant as its row has it. */
struct variant_cells {
    int64_t line;
    const char *options; /* "Small / Red"; "" goes by the product's title */
    const char *sku, *price, *compare_at, *quantity;
};

/* Adds it to the product, whose variants have room; NULL, or why it cannot be taken. */
const char *file_add_variant(struct file_reading *r, struct file_product *product,
                             const struct variant_cells *cells);

/* For the variants whose rows give none: from handle and options, numbered where that is taken. */
void file_make_skus(struct arena *a, struct file_product *product);

struct placed_image {
    Image *image;
    int64_t position;
};

struct image_list {
    struct placed_image *images; /* with room */
    size_t n;
};

/* position "" is behind the last.  NULL, or why the image cannot be taken. */
const char *file_add_image(struct arena *a, struct image_list *list, const char *url,
                           const char *alt, const char *position);
/* By position; equal ones as they stand in the file. */
void file_take_images(struct arena *a, Product *product, const struct image_list *list);
