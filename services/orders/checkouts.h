/* Checkouts that events take further: private to orders. */
#pragma once
#include "auth.api.h"
#include "cart.api.h"
#include "orders.impl.h"
#include "orders/advance.h"

/* What an order's lines and buyer must be together; the gateway has checked them one by one. */
enum status order_request_checked(struct request *rq, const PlaceOrderRequest *in);

/*
 * Publishes that a checkout ended without an order, for the reason that rq has; st is its status,
 * and the result unless the store failed.
 */
enum status checkout_refused(struct request *rq, const char *checkout_id, enum status st);

/* Ends a checkout that has no order yet, and tells it, if it has not ended before. */
void checkout_end(struct request *rq, struct tx *tx, const char *id, const char *code,
                  const char *reason);

user_authenticated_handler checkouts_on_user_authenticated;
auth_checkout_failed_handler checkouts_on_auth_checkout_failed;
cart_updated_handler checkouts_on_cart_updated;

/* A task: takes a checkout as far as it goes now. */
task_fn checkout_go_on;
/* Has it run in the trace of the request that opened the checkout. */
bool checkout_soon(struct request *rq, const CheckoutRow *row);

/*
 * Puts the lines of row's cart into in, as they were shown; in the transaction that claims the
 * checkout. *ret_wait is set where the cart's snapshot has not come yet; CART_CHANGED or
 * NO_SNAPSHOT where it is another one, or is not to be waited for any longer.
 */
enum status snapshot_read(struct request *rq, struct tx *tx, const CheckoutRow *row,
                          PlaceOrderRequest *in, bool *ret_wait);

/* Once at start. */
enum status checkouts_start(struct request *rq);
/* Jobs: go on with what lost its turn, and forget what ended long ago. */
enum status checkouts_sweep(struct request *rq);
enum status checkouts_forget(struct request *rq);
enum status snapshots_forget(struct request *rq);
