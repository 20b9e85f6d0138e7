/* What the gateway's own rpcs have to do with carts. */
#pragma once
#include "gateway.impl.h"

/* What a buyer orders: his lines, or those of his cart. */
struct basket {
    const char *cart_id; /* "": lines were given */
    int64_t cart_version;
    Line **lines;
    size_t n_lines;
    PricedLine **shown; /* as the cart showed them; none where lines were given */
    size_t n_shown;
};

/*
 * Exactly one of cart_id and lines must be in the body.  A cart is held for this checkout: who
 * takes it ends that with basket_end.  Safe to repeat with one checkout_id, also after the order
 * was made.
 */
enum status basket_take(struct request *rq, const PlaceOrderBody *in, const char *checkout_id,
                        struct basket *ret);

/* The order was made (order_id), or there is none ("") and the cart can be changed again.  What
 * this request has failed with, if it has, stays as it is. */
void basket_end(struct request *rq, const struct basket *basket, const char *checkout_id,
                const char *order_id);
