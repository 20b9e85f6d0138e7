/* What a cart may hold, and what it costs. */
#include <stdio.h>

#include "base/arena.h"
#include "base/money.h"
#include "cart/lines.h"
#include "test/test.h"

static struct arena *a;

static PricedLine *
line_of(const char *sku, int64_t quantity, int64_t price, const char *currency)
{
    PricedLine *line = new_priced_line(a);
    line->sku = sku;
    line->quantity = quantity;
    line->price = new_money(a);
    line->price->amount = price;
    line->price->currency = currency;
    return line;
}

TEST(a_cart_holds_what_is_not_too_much_of_one_currency)
{
    static const struct {
        int64_t quantity, price; /* of a, which is there */
        const char *sku;
        int64_t more_quantity, more_price;
        const char *currency;
        const struct reason *why;
    } cases[] = {
        {1, 500, "b", 1, 500, "EUR", NULL},
        {1, 500, "a", 2, 500, "EUR", NULL},
        {1, 500, "b", 1, 500, "USD", &CART_MIXED_CURRENCIES},
        {1, 500, "a", 2, 500, "USD", NULL}, /* it is the only one */
        {1, 500, "a", 1000, 0, "EUR", NULL},
        {1, 500, "a", 1001, 0, "EUR", &CART_QUANTITY_TOO_LARGE},
        {1, 500, "b", 0, 0, "EUR", &CART_QUANTITY_TOO_LARGE},
        {1, 500, "b", -1, 0, "EUR", &CART_QUANTITY_TOO_LARGE},
        {1, 0, "b", 1, MONEY_MINOR_MAX, "EUR", NULL},
        {1, 1, "b", 1, MONEY_MINOR_MAX, "EUR", &CART_TOTAL_TOO_LARGE},
        {1, 1, "b", 2, MONEY_MINOR_MAX, "EUR", &CART_TOTAL_TOO_LARGE},
        {1, MONEY_MINOR_MAX, "a", 1, MONEY_MINOR_MAX, "EUR", NULL},
        {1, MONEY_MINOR_MAX, "a", 2, MONEY_MINOR_MAX, "EUR", &CART_TOTAL_TOO_LARGE},
    };
    a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        PricedLine *lines[] = {line_of("a", cases[i].quantity, cases[i].price, "EUR")};
        const PricedLine *more =
            line_of(cases[i].sku, cases[i].more_quantity, cases[i].more_price, cases[i].currency);
        const struct reason *why = lines_refuse(lines, 1, more);
        if (why != cases[i].why)
            printf("case %zu:\n", i);
        check(why == cases[i].why);
    }
    arena_free(a);
}

TEST(the_fifty_first_line_is_one_too_many_and_more_of_the_fiftieth_is_not)
{
    a = arena_new();
    PricedLine *lines[CART_LINES_MAX];
    for (size_t i = 0; i < CART_LINES_MAX; i++)
        lines[i] = line_of(arena_printf(a, "s%zu", i), 1, 1, "EUR");
    check(lines_refuse(lines, CART_LINES_MAX, line_of("more", 1, 1, "EUR")) ==
          &CART_TOO_MANY_LINES);
    check(lines_refuse(lines, CART_LINES_MAX - 1, line_of("more", 1, 1, "EUR")) == NULL);
    check(lines_refuse(lines, CART_LINES_MAX, line_of("s49", 2, 1, "EUR")) == NULL);
    arena_free(a);
}

TEST(a_total_is_exact_and_nothing_costs_nothing_in_the_shops_currency)
{
    a = arena_new();
    PricedLine *lines[] = {line_of("a", 3, 4299, "EUR"), line_of("b", 1000, 1, "EUR"),
                           line_of("c", 7, MONEY_MINOR_MAX / 8, "EUR")};
    const Money *total = lines_total(a, lines, 3, "USD");
    check_int(lines[0]->total->amount, 12897);
    check_int(total->amount, 12897 + 1000 + 7 * (MONEY_MINOR_MAX / 8));
    check_text(total->currency, "EUR");
    check_text(lines_total(a, lines, 0, "USD")->currency, "USD");
    check_int(lines_total(a, lines, 0, "USD")->amount, 0);
    arena_free(a);
}
