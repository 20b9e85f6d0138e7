#include "shipping/methods.h"

#include "base/money.h"

static const char *trimmed(struct arena *a, const char *s, size_t n);
static bool parse_one(struct arena *a, const char *text, const char *currency, ShippingMethod **ret,
                      const char **why);

bool
methods_parse(struct arena *a, const char *text, const char *currency, ShippingMethod ***ret,
              size_t *ret_n, const char **why)
{
    ShippingMethod **methods = arena_alloc(a, METHODS_MAX * sizeof *methods);
    size_t n = 0;
    for (const char *p = text; p; p = *p ? p + 1 : NULL) {
        size_t length = strcspn(p, ",");
        if (n == METHODS_MAX) {
            *why = arena_printf(a, "more than %d shipping methods", METHODS_MAX);
            return false;
        }
        if (!parse_one(a, trimmed(a, p, length), currency, &methods[n++], why))
            return false;
        p += length;
    }
    *ret = methods;
    *ret_n = n;
    return true;
}

static const char *
trimmed(struct arena *a, const char *s, size_t n)
{
    while (n && *s == ' ') {
        s++;
        n--;
    }
    while (n && s[n - 1] == ' ')
        n--;
    return arena_strndup(a, s, n);
}

static bool
parse_one(struct arena *a, const char *text, const char *currency, ShippingMethod **ret,
          const char **why)
{
    size_t name_n = strcspn(text, ":");
    const char *price = text[name_n] ? text + name_n + 1 : "";
    size_t price_n = strcspn(price, ":");
    const char *days = price[price_n] ? price + price_n + 1 : "";
    ShippingMethod *method = new_shipping_method(a);
    method->name = trimmed(a, text, name_n);
    method->price = new_money(a);
    method->price->currency = currency;
    if (text_empty(method->name) ||
        !money_parse(trimmed(a, price, price_n), currency, &method->price->amount) ||
        !int_parse(trimmed(a, days, strlen(days)), &method->days) || method->days < 0 ||
        method->days > METHOD_DAYS_MAX) {
        *why = arena_printf(a, "\"%s\" is no name:price:days, as in \"Express:9.90:1\"", text);
        return false;
    }
    *ret = method;
    return true;
}
