/*
 * What may become of an order: pure rules, without a store.
 *
 *     awaiting_payment → paid → completed → shipped; what leaves before it is completed is both
 *     any of these but shipped → cancelled, by buyer, staff, lapse or shortage
 *     lapsed → paid, when its money comes after all
 *     whatever was paid → refunded, when nothing of its payment is left
 */
#pragma once
#include "orders.api.h"

/* What happens to an order. */
enum order_cause {
    ORDER_PAYMENT_BEGUN,     /* an attempt to pay has no outcome yet */
    ORDER_PAYMENT_COMPLETED, /* its money is captured */
    ORDER_PAYMENT_FAILED,
    ORDER_PAYMENT_REFUNDED, /* a part of its money went back */
    ORDER_PAYMENT_RETURNED, /* all of it did */
    ORDER_ALL_RETURNED,     /* all of it did, and the goods came back */
    ORDER_LAPSED,           /* pay_by has passed and no attempt is unresolved */
    ORDER_STOCK_COMMITTED,
    ORDER_STOCK_SHORT,
    ORDER_CANCELLED_BY_BUYER,
    ORDER_CANCELLED_BY_STAFF,
    ORDER_DISPATCHED, /* its goods left the house */
    ORDER_CAUSES
};

enum order_news { ORDER_NEWS_NONE, ORDER_NEWS_PAID, ORDER_NEWS_COMPLETED, ORDER_NEWS_CANCELLED };

struct order_move {
    OrderStatus status;        /* afterwards; the same where nothing changes */
    const char *cancel_reason; /* afterwards */
    enum order_news news;      /* what is published of it */
};

/* Where cause takes an order.  A cause that comes twice, or too late, takes it nowhere. */
struct order_move order_next(OrderStatus status, const char *cancel_reason, enum order_cause cause);

/* The reason of a payment that was cut off before it began: the attempt may still be made. */
extern const char order_interrupted[];
/* The reason of a payment that waits for payments to hear of its order. */
extern const char order_queued[];

/* "AWAITING_PAYMENT": how the store spells it. */
const char *order_status_name(OrderStatus status);

/* True if the money for it has been captured (and not all given back). */
bool order_is_paid(OrderStatus status);

/* Whether the order's payment from now on is the one that cause tells of: the paid one stays, else
 * the newest counts.  shown may be NULL. */
bool order_shows_payment(const OrderPayment *shown, const OrderPayment *told,
                         enum order_cause cause);

/* What the attempts of an unpaid order, newest first, say of it: the cause, and the attempt that it
 * comes from (NULL: there is none). */
enum order_cause order_attempts_say(Payment *const *attempts, size_t n, const Payment **ret);

/* A checkout's status follows from its order: failed where the order can be paid again or is ended.
 */
CheckoutStatus order_checkout_status(const Order *order);
