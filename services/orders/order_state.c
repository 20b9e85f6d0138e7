#include "orders/order_state.h"

const char order_interrupted[] = "interrupted";
const char order_queued[] = "queued";

static bool undecided(const OrderPayment *payment);
static struct order_move cancelled(const char *reason);
static struct order_move refunded(const char *reason);
static struct order_move paid_next(OrderStatus status, enum order_cause cause);
static struct order_move ended_next(OrderStatus status, const char *cancel_reason,
                                    enum order_cause cause);

struct order_move
order_next(OrderStatus status, const char *cancel_reason, enum order_cause cause)
{
    if (order_is_paid(status))
        return paid_next(status, cause);
    if (status != ORDER_STATUS_AWAITING_PAYMENT)
        return ended_next(status, cancel_reason, cause);

    switch (cause) {
    case ORDER_PAYMENT_COMPLETED:
        return (struct order_move){ORDER_STATUS_PAID, "", ORDER_NEWS_PAID};
    case ORDER_PAYMENT_RETURNED:
        return refunded("refunded");
    case ORDER_ALL_RETURNED:
        return refunded("returned");
    case ORDER_LAPSED:
        return cancelled("lapsed");
    case ORDER_CANCELLED_BY_BUYER:
        return cancelled("buyer");
    case ORDER_CANCELLED_BY_STAFF:
        return cancelled("staff");
    default:
        return (struct order_move){status, "", ORDER_NEWS_NONE};
    }
}

static struct order_move
cancelled(const char *reason)
{
    return (struct order_move){ORDER_STATUS_CANCELLED, reason, ORDER_NEWS_CANCELLED};
}

/* It ends for everybody as if it were cancelled. */
static struct order_move
refunded(const char *reason)
{
    return (struct order_move){ORDER_STATUS_REFUNDED, reason, ORDER_NEWS_CANCELLED};
}

/* What left the house is not cancelled any more, only refunded. */
static struct order_move
paid_next(OrderStatus status, enum order_cause cause)
{
    bool shipped = status == ORDER_STATUS_SHIPPED;
    switch (cause) {
    case ORDER_STOCK_COMMITTED:
        if (status == ORDER_STATUS_PAID)
            return (struct order_move){ORDER_STATUS_COMPLETED, "", ORDER_NEWS_COMPLETED};
        break;
    case ORDER_STOCK_SHORT:
        if (status == ORDER_STATUS_PAID)
            return cancelled("stock_short");
        break;
    case ORDER_DISPATCHED:
        return (struct order_move){ORDER_STATUS_SHIPPED, "",
                                   status == ORDER_STATUS_PAID ? ORDER_NEWS_COMPLETED
                                                               : ORDER_NEWS_NONE};
    case ORDER_PAYMENT_RETURNED:
    case ORDER_ALL_RETURNED:
        if (shipped)
            return (struct order_move){ORDER_STATUS_REFUNDED, "", ORDER_NEWS_NONE};
        return refunded(cause == ORDER_ALL_RETURNED ? "returned" : "refunded");
    case ORDER_CANCELLED_BY_BUYER:
        if (!shipped)
            return cancelled("buyer");
        break;
    case ORDER_CANCELLED_BY_STAFF:
        if (!shipped)
            return cancelled("staff");
        break;
    default:
        break;
    }
    return (struct order_move){status, "", ORDER_NEWS_NONE};
}

/* Only a lapse is taken back: the buyer still wants what he paid for.  Money for an order that was
 * ended otherwise is given back by payments. */
static struct order_move
ended_next(OrderStatus status, const char *cancel_reason, enum order_cause cause)
{
    if (status == ORDER_STATUS_CANCELLED && cause == ORDER_PAYMENT_COMPLETED &&
        text_equal(cancel_reason, "lapsed"))
        return (struct order_move){ORDER_STATUS_PAID, "", ORDER_NEWS_PAID};
    if (status == ORDER_STATUS_CANCELLED &&
        (cause == ORDER_PAYMENT_RETURNED || cause == ORDER_ALL_RETURNED))
        return (struct order_move){ORDER_STATUS_REFUNDED, cancel_reason, ORDER_NEWS_NONE};
    return (struct order_move){status, cancel_reason, ORDER_NEWS_NONE};
}

const char *
order_status_name(OrderStatus status)
{
    return protobuf_c_enum_descriptor_get_value(DESCRIPTOR_OF_OrderStatus, (int)status)->name;
}

bool
order_is_paid(OrderStatus status)
{
    return status == ORDER_STATUS_PAID || status == ORDER_STATUS_COMPLETED ||
           status == ORDER_STATUS_SHIPPED;
}

bool
order_shows_payment(const OrderPayment *shown, const OrderPayment *told, enum order_cause cause)
{
    if (!told)
        return false;
    if (!shown || text_empty(shown->id))
        return true;
    bool same = text_equal(told->id, shown->id);
    bool later = !same && id_time_us(told->id) >= id_time_us(shown->id);
    switch (cause) {
    case ORDER_PAYMENT_COMPLETED:
        return undecided(shown);
    case ORDER_PAYMENT_BEGUN:
        return undecided(shown) &&
               (later || (same && (text_equal(shown->reason, order_interrupted) ||
                                   text_equal(shown->reason, order_queued))));
    case ORDER_PAYMENT_FAILED:
        return undecided(shown) && (later || same);
    case ORDER_PAYMENT_REFUNDED:
        return same && !text_equal(shown->status, "refunded");
    case ORDER_PAYMENT_RETURNED:
    case ORDER_ALL_RETURNED:
        return same;
    default:
        return false;
    }
}

/* Its money is not known to be captured. */
static bool
undecided(const OrderPayment *payment)
{
    return text_equal(payment->status, "pending") || text_equal(payment->status, "failed");
}

enum order_cause
order_attempts_say(Payment *const *attempts, size_t n, const Payment **ret)
{
    *ret = n ? attempts[0] : NULL;
    enum order_cause cause = ORDER_PAYMENT_FAILED;
    for (size_t i = 0; i < n; i++) {
        const char *status = attempts[i]->status;
        if (text_equal(status, "pending")) {
            *ret = attempts[i];
            cause = ORDER_PAYMENT_BEGUN;
        } else if (!text_equal(status, "failed")) {
            *ret = attempts[i];
            return ORDER_PAYMENT_COMPLETED;
        }
    }
    return cause;
}

CheckoutStatus
order_checkout_status(const Order *order)
{
    if (order->status == ORDER_STATUS_CANCELLED)
        return CHECKOUT_STATUS_FAILED;
    if (order->status != ORDER_STATUS_AWAITING_PAYMENT)
        return CHECKOUT_STATUS_DONE;
    return order->payment && text_equal(order->payment->status, "failed") ? CHECKOUT_STATUS_FAILED
                                                                          : CHECKOUT_STATUS_PENDING;
}
