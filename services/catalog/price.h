/* What a buyer's lines cost: pure. */
#pragma once
#include <stdbool.h>

#include "catalog.api.h"

/* Sets the line's quantity and total.  False if that is more money than a number can hold. */
bool price_line(struct arena *a, PricedLine *line, int64_t quantity);

enum sum { SUM_FITS, SUM_TOO_LARGE, SUM_MIXED };

/* The sum of the lines' totals, in their currency; of no lines it is nothing, in the shop's. */
enum sum price_sum(struct arena *a, PricedLine *const *lines, size_t n, const char *shop_currency,
                   Money **ret);
