/* What lines a cart holds, and what they cost: pure. */
#pragma once
#include "cart.api.h"

enum { CART_LINES_MAX = 50, CART_QUANTITY_MAX = 1000 };

/* Its place, or n. */
size_t lines_find(PricedLine *const *lines, size_t n, const char *sku);

/* Why a cart with these lines cannot hold line (in the place of its sku's, where there is one), or
 * NULL: TOO_MANY_LINES, QUANTITY_TOO_LARGE, MIXED_CURRENCIES, TOTAL_TOO_LARGE. */
const struct reason *lines_refuse(PricedLine *const *lines, size_t n, const PricedLine *line);

/* Sets each line's total; gives theirs, which is nothing in the shop's currency for no lines.  The
 * lines must fit. */
Money *lines_total(struct arena *a, PricedLine **lines, size_t n, const char *shop_currency);
