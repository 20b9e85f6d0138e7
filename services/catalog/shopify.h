/*
 * Shopify's product CSV: pure, from bytes to messages and back.
 *
 * A product is a handle; its rows may stand anywhere.  A row with a title, options, a sku or a
 * price is a variant; one with nothing but an image adds the image.
 */
#pragma once
#include "catalog/product_file.h"

bool shopify_read(struct file_reading *r, const void *bytes, size_t n, int64_t *ret_line,
                  const char **ret_why);

/* The file's first line, and a product's rows.  parent_sku is not used. */
void shopify_write_header(struct text *t);
void shopify_write(struct text *t, const Product *product, const char *parent_sku);
