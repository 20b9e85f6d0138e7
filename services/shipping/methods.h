/* How goods are sent, as the setting shipping_methods says: pure. */
#pragma once
#include "shipping.api.h"

enum { METHODS_MAX = 20, METHOD_DAYS_MAX = 365 };

/*
 * "Standard:0:3, Express:9.90:1": name, price in currency, days until it arrives.  False where the
 * text says something else; *why then tells what.
 */
bool methods_parse(struct arena *a, const char *text, const char *currency, ShippingMethod ***ret,
                   size_t *ret_n, const char **why);
