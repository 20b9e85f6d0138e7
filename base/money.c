#include "base/money.h"

#include <string.h>

enum { EXPONENT_MAX = 4 };

/* ISO 4217, list one, by how many decimals the smallest unit has.  What has none because it is no
 * money to pay with (precious metals, XDR, XTS, XXX) is left out. */
static const char *const currencies[EXPONENT_MAX + 1] = {
    [0] = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    [2] = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN "
          "BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP "
          "GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT "
          "LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN "
          "NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE "
          "SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES "
          "WST XAD XCD XCG YER ZAR ZMW ZWG",
    [3] = "BHD IQD JOD KWD LYD OMR TND",
    [4] = "CLF UYW",
};

static bool take_digit(const char **p, int64_t *minor);

int
currency_exponent(const char *code)
{
    if (!code || strlen(code) != 3)
        return -1;
    for (int exponent = 0; exponent <= EXPONENT_MAX; exponent++)
        for (const char *c = currencies[exponent]; c && *c; c += c[3] ? 4 : 3)
            if (memcmp(c, code, 3) == 0)
                return exponent;
    return -1;
}

bool
money_parse(const char *text, const char *currency, int64_t *ret_minor)
{
    int exponent = currency_exponent(currency);
    const char *p = text;
    int64_t minor = 0;
    if (!text || exponent < 0 || !take_digit(&p, &minor))
        return false;
    while (*p && *p != '.')
        if (!take_digit(&p, &minor))
            return false;

    int decimals = 0;
    if (*p == '.') {
        p++;
        do {
            if (++decimals > exponent || !take_digit(&p, &minor))
                return false;
        } while (*p);
    }
    for (; decimals < exponent; decimals++)
        if (!money_times(minor, 10, &minor))
            return false;
    *ret_minor = minor;
    return true;
}

const char *
money_format(struct arena *a, int64_t minor, const char *currency)
{
    int exponent = currency_exponent(currency);
    const char *sign = minor < 0 ? "-" : "";
    uint64_t rest = minor < 0 ? 0 - (uint64_t)minor : (uint64_t)minor;
    if (exponent <= 0)
        return arena_printf(a, "%s%llu", sign, (unsigned long long)rest);

    uint64_t unit = 1;
    for (int i = 0; i < exponent; i++)
        unit *= 10;
    return arena_printf(a, "%s%llu.%0*llu", sign, (unsigned long long)(rest / unit), exponent,
                        (unsigned long long)(rest % unit));
}

bool
money_add(int64_t a, int64_t b, int64_t *ret)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum) || sum < 0 || sum > MONEY_MINOR_MAX)
        return false;
    *ret = sum;
    return true;
}

bool
money_times(int64_t a, int64_t times, int64_t *ret)
{
    int64_t product;
    if (__builtin_mul_overflow(a, times, &product) || product < 0 || product > MONEY_MINOR_MAX)
        return false;
    *ret = product;
    return true;
}

/* Another digit behind minor. */
static bool
take_digit(const char **p, int64_t *minor)
{
    if (**p < '0' || **p > '9')
        return false;
    int64_t digit = **p - '0';
    (*p)++;
    return money_times(*minor, 10, minor) && money_add(*minor, digit, minor);
}
