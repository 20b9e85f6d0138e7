/* Several items in one cell, parted by commas: how WooCommerce writes them, and Shopify its tags.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

/* "a, b\, c" → {"a", "b, c"}; empty items only where keep_empty says so. */
size_t csv_list_split(struct arena *a, const char *cell, bool keep_empty, const char ***ret);
/* Adds an item to a list of count items. */
void csv_list_add(struct text *list, size_t count, const char *item);
