/*
 * WooCommerce's product CSV: pure, from bytes to messages and back.
 *
 * A product is a row, and a variable product a row with its variation rows, wherever they stand;
 * these name it in "Parent" by its sku, or by its ID as "id:12".
 */
#pragma once
#include "catalog/product_file.h"

bool woocommerce_read(struct file_reading *r, const void *bytes, size_t n, int64_t *ret_line,
                      const char **ret_why);

/* The file's first line, and a product's rows.  parent_sku is what the variations of a product call
 * it by; no variant of the shop may have it. */
void woocommerce_write_header(struct text *t);
void woocommerce_write(struct text *t, const Product *product, const char *parent_sku);
