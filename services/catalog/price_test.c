#include "catalog/price.h"

#include "base/money.h"
#include "test/test.h"

static PricedLine *
line_of(struct arena *a, int64_t price_minor, const char *currency, int64_t quantity)
{
    PricedLine *line = new_priced_line(a);
    line->price = new_money(a);
    line->price->amount = price_minor;
    line->price->currency = currency;
    return price_line(a, line, quantity) ? line : NULL;
}

TEST(a_line_costs_its_price_so_many_times)
{
    struct arena *a = arena_new();
    PricedLine *line = line_of(a, 4299, "EUR", 3);
    check_int(line->total->amount, 12897);
    check_text(line->total->currency, "EUR");
    check_int(line->quantity, 3);
    check(line_of(a, MONEY_MINOR_MAX, "EUR", 1));
    check(!line_of(a, MONEY_MINOR_MAX, "EUR", 2));
    check(!line_of(a, INT64_C(1) << 52, "EUR", 1000));
    arena_free(a);
}

TEST(a_sum_is_in_one_currency_and_never_overflows)
{
    struct arena *a = arena_new();
    Money *sum = NULL;
    PricedLine *lines[] = {line_of(a, 1000, "EUR", 2), line_of(a, 1, "EUR", 1)};
    check_int(price_sum(a, lines, 2, "USD", &sum), SUM_FITS);
    check_int(sum->amount, 2001);
    check_text(sum->currency, "EUR");

    check_int(price_sum(a, NULL, 0, "USD", &sum), SUM_FITS);
    check_int(sum->amount, 0);
    check_text(sum->currency, "USD");

    PricedLine *mixed[] = {line_of(a, 1000, "EUR", 2), line_of(a, 1, "JPY", 1)};
    check_int(price_sum(a, mixed, 2, "EUR", &sum), SUM_MIXED);
    PricedLine *large[] = {line_of(a, MONEY_MINOR_MAX, "EUR", 1), line_of(a, 1, "EUR", 1)};
    check_int(price_sum(a, large, 2, "EUR", &sum), SUM_TOO_LARGE);
    arena_free(a);
}
