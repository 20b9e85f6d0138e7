#include "catalog/price.h"

#include "base/money.h"

bool
price_line(struct arena *a, PricedLine *line, int64_t quantity)
{
    Money *total = new_money(a);
    total->currency = line->price->currency;
    if (!money_times(line->price->amount, quantity, &total->amount))
        return false;
    line->quantity = quantity;
    line->total = total;
    return true;
}

enum sum
price_sum(struct arena *a, PricedLine *const *lines, size_t n, const char *shop_currency,
          Money **ret)
{
    Money *sum = new_money(a);
    sum->currency = n ? lines[0]->total->currency : shop_currency;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(lines[i]->total->currency, sum->currency) != 0)
            return SUM_MIXED;
        if (!money_add(sum->amount, lines[i]->total->amount, &sum->amount))
            return SUM_TOO_LARGE;
    }
    *ret = sum;
    return SUM_FITS;
}
