/* How a checkout goes on: private to orders. */
#pragma once
#include "orders/order_state.h"

/*
 * A checkout in work.  Its order row says how far it is; what is here is what this caller brings to
 * take it further, and what he learns.
 */
struct checkout {
    const char *order_id;
    const PlaceOrderRequest *asked; /* to record the order from; NULL: it is recorded */
    const char *attempt_id;         /* to charge it with; NULL: only resolve what was begun */
    const char *payment_method_id;
    bool by_event; /* payments charges it at OrderCreated */

    Order *order;           /* as it is now, with its lines if asked is there; NULL until known */
    const Payment *outcome; /* of attempt_id, where payments told it */
    bool charged, resolved; /* those steps were taken */
};

/* Takes the checkout as far as it goes now, one conditional and repeatable step after the other. */
enum status orders_advance(struct request *rq, struct checkout *c);

/* Why a checkout failed whose order was cancelled. */
extern const char checkout_cancelled[];

/* Something that happened to an order. */
struct occurrence {
    enum order_cause cause;
    const OrderPayment *payment; /* of an ORDER_PAYMENT_… cause, else NULL */
    const char *note;            /* of a cancelling */
};

/*
 * Writes in tx what o makes of order, and publishes it; order is then as it is afterwards.  ABORTED
 * (which does not fail tx) if another has changed the row since order was read.
 */
enum status order_apply(struct request *rq, struct tx *tx, Order *order,
                        const struct occurrence *o);

/* The same in a transaction of its own, with the order read anew where another was faster. */
enum status order_happens(struct request *rq, Order **order, const struct occurrence *o);

/* The reservation that an order's stock is promised under. */
const char *order_reservation_id(struct request *rq, const char *order_id);

/* The order with its lines, or NO_SUCH_ORDER. */
enum status order_load(struct request *rq, const char *order_id, Order **ret);

/* The sweep: resolves charges whose caller is gone, and ends orders that nobody paid in time. */
enum status orders_sweep(struct request *rq);
