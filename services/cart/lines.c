#include "cart/lines.h"

#include <assert.h>

#include "base/money.h"

size_t
lines_find(PricedLine *const *lines, size_t n, const char *sku)
{
    size_t i = 0;
    while (i < n && !text_equal(lines[i]->sku, sku))
        i++;
    return i;
}

const struct reason *
lines_refuse(PricedLine *const *lines, size_t n, const PricedLine *line)
{
    size_t at = lines_find(lines, n, line->sku);
    if (at == n && n >= CART_LINES_MAX)
        return &CART_TOO_MANY_LINES;
    if (line->quantity < 1 || line->quantity > CART_QUANTITY_MAX)
        return &CART_QUANTITY_TOO_LARGE;
    int64_t total, cost;
    if (!money_times(line->price->amount, line->quantity, &total))
        return &CART_TOTAL_TOO_LARGE;
    for (size_t i = 0; i < n; i++) {
        if (i == at)
            continue;
        if (!text_equal(lines[i]->price->currency, line->price->currency))
            return &CART_MIXED_CURRENCIES;
        if (!money_times(lines[i]->price->amount, lines[i]->quantity, &cost) ||
            !money_add(total, cost, &total))
            return &CART_TOTAL_TOO_LARGE;
    }
    return NULL;
}

Money *
lines_total(struct arena *a, PricedLine **lines, size_t n, const char *shop_currency)
{
    Money *sum = new_money(a);
    sum->currency = n ? lines[0]->price->currency : shop_currency;
    for (size_t i = 0; i < n; i++) {
        Money *total = lines[i]->total = new_money(a);
        total->currency = lines[i]->price->currency;
        bool fits = money_times(lines[i]->price->amount, lines[i]->quantity, &total->amount) &&
                    money_add(sum->amount, total->amount, &sum->amount);
        assert(fits);
        (void)fits;
    }
    return sum;
}
