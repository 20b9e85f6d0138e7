/* Money: an integer in the smallest unit of an ISO 4217 currency; never a float. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

/* 2^53 - 1, so that every JSON reader can hold it. */
#define MONEY_MINOR_MAX INT64_C(9007199254740991)

/* Digits after the point (EUR 2, JPY 0, KWD 3), or -1 if ISO 4217 has no such active currency. */
int currency_exponent(const char *code);

/* "42.99" in EUR → 4299.  False for a sign, too many decimals, or more than MONEY_MINOR_MAX. */
bool money_parse(const char *text, const char *currency, int64_t *ret_minor);

/* 4299 in EUR → "42.99" (no symbol, no grouping). */
const char *money_format(struct arena *a, int64_t minor, const char *currency);

/* *ret = a + b, a * times; false (and *ret untouched) past MONEY_MINOR_MAX or below 0. */
bool money_add(int64_t a, int64_t b, int64_t *ret);
bool money_times(int64_t a, int64_t times, int64_t *ret);
