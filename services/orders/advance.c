/*
 * The steps of a checkout: record the order with its stock reserved, charge it, and learn what came
 * of a charge whose caller is gone.
 *
 * Whoever takes a step may die after it, and others may take it at the same time: each step either
 * has an id from which a repetition is known (reservation, order, attempt), or is written on
 * condition of the version that it was decided on.
 */
#include "orders/advance.h"

#include "catalog.api.h"
#include "inventory.api.h"
#include "orders.impl.h"

enum {
    STEPS_MAX = 8,
    RACES_MAX = 5, /* times that others may be faster in changing one order */
    DUE_MAX = 100, /* orders in one run of the sweep */
};

/* A request has ended by then, so that the sweep finds only what nobody works at. */
static const int64_t request_grace_us = 15 * SECOND_US;
static const int64_t look_again_us = 5 * SECOND_US, look_again_most_us = MINUTE_US;

const char checkout_cancelled[] = "order_cancelled";

enum step { STEP_NONE, STEP_LOAD, STEP_RECORD, STEP_PAY_NOTHING, STEP_CHARGE, STEP_RESOLVE };

static enum step next_step(const struct checkout *c);
static enum status load(struct request *rq, struct checkout *c);
static enum status record(struct request *rq, struct checkout *c);
static enum status twin(struct request *rq, struct checkout *c);
static enum status price_and_reserve(struct request *rq, const struct checkout *c,
                                     PriceLinesResponse **ret_priced, Reservation **ret);
static enum status check_shown(struct request *rq, const PlaceOrderRequest *in,
                               const PriceLinesResponse *priced);
static bool reserves(const Reservation *reservation, Line *const *lines, size_t n);
static Order *make_order(struct request *rq, const struct checkout *c,
                         const PriceLinesResponse *priced, const Reservation *reservation);
static enum status store_order(struct request *rq, const struct checkout *c, const Order *order,
                               const char *reservation_id);
static enum status pay_nothing(struct request *rq, struct checkout *c);
static enum status charge(struct request *rq, struct checkout *c);
static enum status charge_refused(struct request *rq, struct checkout *c, enum status st);
static enum status resolve(struct request *rq, struct checkout *c);
static enum status resolve_unpaid(struct request *rq, struct checkout *c, const Payment *newest);
static OrderPayment *payment_of(struct request *rq, const Payment *payment);
static const OrderPayment *payment_afterwards(const Order *order, const struct occurrence *o);
static int64_t due_afterwards(const struct request *rq, const Order *order,
                              const OrderPayment *payment);
static int64_t look_again_at(const struct request *rq, const Order *order);
static enum status publish_news(struct request *rq, struct tx *tx, Order *order,
                                enum order_news news, bool was_paid);
static void tell_checkout(struct request *rq, struct tx *tx, const Order *order,
                          CheckoutStatus before);
static void postpone(struct request *rq, const Order *order);

enum status
orders_advance(struct request *rq, struct checkout *c)
{
    static enum status (*const steps[])(struct request * rq, struct checkout * c) = {
        [STEP_LOAD] = load,     [STEP_RECORD] = record,   [STEP_PAY_NOTHING] = pay_nothing,
        [STEP_CHARGE] = charge, [STEP_RESOLVE] = resolve,
    };
    enum status st = OK;
    enum step step;
    for (int i = 0; i < STEPS_MAX && st == OK && (step = next_step(c)) != STEP_NONE; i++)
        st = steps[step](rq, c);
    return st;
}

static enum step
next_step(const struct checkout *c)
{
    if (!c->order)
        return c->asked ? STEP_RECORD : STEP_LOAD;
    if (c->order->status != ORDER_STATUS_AWAITING_PAYMENT)
        return STEP_NONE;
    if (c->order->total->amount == 0)
        return STEP_PAY_NOTHING;
    if (c->by_event)
        return STEP_NONE;
    if (c->attempt_id && !c->charged)
        return STEP_CHARGE;
    return c->outcome || c->resolved ? STEP_NONE : STEP_RESOLVE;
}

static enum status
load(struct request *rq, struct checkout *c)
{
    return order_load(rq, c->order_id, &c->order);
}

/* A reservation that no order follows lapses by itself, so there is nothing to undo here. */
static enum status
record(struct request *rq, struct checkout *c)
{
    PriceLinesResponse *priced;
    Reservation *reservation;
    enum status st = price_and_reserve(rq, c, &priced, &reservation);
    if (st)
        return st;
    if (reservation->state != RESERVATION_STATE_HELD) { /* a twin, or an earlier try, was here */
        st = order_load(rq, c->order_id, &c->order);
        if (failed_with(rq, &ORDERS_NO_SUCH_ORDER))
            return fail(rq, &ORDERS_NOT_PAYABLE,
                        "the stock of this checkout is reserved no longer: check out again");
        return st;
    }
    if (!reserves(reservation, c->asked->lines, c->asked->n_lines))
        return fail(rq, &ORDERS_CART_CHANGED,
                    "what is reserved for this checkout are other lines: check out again");
    Order *order = make_order(rq, c, priced, reservation);
    st = store_order(rq, c, order, reservation->reservation_id);
    if (st == ALREADY_EXISTS)
        return twin(rq, c);
    if (st)
        return fail_store(rq, st);
    c->order = order;
    return OK;
}

/* Whoever won the race: if it was a twin of this call, its order is ours; else another checkout has
 * ordered the cart.  Read where it is written: it may not be on disk yet. */
static enum status
twin(struct request *rq, struct checkout *c)
{
    struct tx *tx = tx_begin(rq);
    Order *order;
    enum status st = find_order(tx, &order, .id = c->order_id);
    if (st == OK)
        st = list_lines(tx, &order->lines, &order->n_lines, .order_id = c->order_id);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &ORDERS_CART_CHANGED, "the cart has been ordered already");
    if (st)
        return fail_store(rq, st);
    c->order = order;
    return OK;
}

static enum status
price_and_reserve(struct request *rq, const struct checkout *c, PriceLinesResponse **ret_priced,
                  Reservation **ret)
{
    const PlaceOrderRequest *in = c->asked;
    enum status st =
        call_catalog_price_lines(rq, ret_priced, .lines = in->lines, .n_lines = in->n_lines);
    if (failed_with(rq, &CATALOG_NO_SUCH_SKU))
        return fail(rq, &ORDERS_NO_SUCH_SKU, "%s", rq->message);
    if (failed_with(rq, &CATALOG_TOTAL_TOO_LARGE))
        return fail(rq, &ORDERS_TOTAL_TOO_LARGE, "%s", rq->message);
    if (failed_with(rq, &CATALOG_MIXED_CURRENCIES) || failed_with(rq, &CATALOG_BAD_LINE))
        return fail(rq, &ORDERS_BAD_LINE, "%s", rq->message);
    if (st == OK)
        st = check_shown(rq, in, *ret_priced);
    if (st)
        return st;

    st =
        call_inventory_reserve(rq, ret, .reservation_id = order_reservation_id(rq, c->order_id),
                               .order_id = c->order_id, .lines = in->lines, .n_lines = in->n_lines);
    if (failed_with(rq, &INVENTORY_OUT_OF_STOCK))
        return fail(rq, &ORDERS_OUT_OF_STOCK, "%s", rq->message);
    if (failed_with(rq, &INVENTORY_NO_SUCH_ITEM))
        return fail(rq, &ORDERS_NO_SUCH_SKU, "%s", rq->message);
    if (failed_with(rq, &INVENTORY_TOO_MUCH))
        return fail(rq, &ORDERS_BAD_LINE, "%s", rq->message);
    return st;
}

/* A buyer pays what he was shown, or is asked again. */
static enum status
check_shown(struct request *rq, const PlaceOrderRequest *in, const PriceLinesResponse *priced)
{
    if (in->n_shown == 0)
        return OK;
    bool same = in->n_shown == priced->n_lines;
    for (size_t i = 0; same && i < in->n_shown; i++) {
        const PricedLine *shown = in->shown[i], *now = priced->lines[i];
        same = text_equal(shown->sku, now->sku) && shown->quantity == now->quantity &&
               shown->price && shown->price->amount == now->price->amount &&
               text_equal(shown->price->currency, now->price->currency);
        if (!same)
            fail_at(rq, arena_printf(rq->arena, "/lines/%zu", i), "price_changed", -1,
                    "%s does not cost what was shown", now->sku);
    }
    return same ? OK : fail(rq, &ORDERS_CART_CHANGED, "the prices are not those that were shown");
}

/* An earlier try may have reserved what its cart showed then: no order is made of anything else,
 * for what is reserved is what will be sold. */
static bool
reserves(const Reservation *reservation, Line *const *lines, size_t n)
{
    bool same = reservation->n_lines == n;
    for (size_t i = 0; same && i < n; i++) {
        const char *thing = text_empty(lines[i]->sku) ? lines[i]->ticket_type_id : lines[i]->sku;
        same = false;
        for (size_t j = 0; j < n && !same; j++)
            same = text_equal(reservation->lines[j]->sku, thing) &&
                   reservation->lines[j]->quantity == lines[i]->quantity;
    }
    return same;
}

/* The order as its row will be, so that the answer needs no reading. */
static Order *
make_order(struct request *rq, const struct checkout *c, const PriceLinesResponse *priced,
           const Reservation *reservation)
{
    const PlaceOrderRequest *in = c->asked;
    Order *order = new_order(rq->arena);
    order->id = c->order_id;
    order->checkout_id = in->checkout_id;
    order->user_id = in->user_id;
    order->status = ORDER_STATUS_AWAITING_PAYMENT;
    order->lines = priced->lines;
    order->n_lines = priced->n_lines;
    order->total = priced->total;
    order->customer = in->customer;
    order->shipping_address = in->shipping_address;
    order->created_at_us = rq->now_us;
    order->pay_by_us = reservation->expires_at_us;
    order->version = 1;
    order->payment = new_order_payment(rq->arena);
    order->payment->id = c->attempt_id;
    order->payment->status = "pending";
    order->payment->reason = c->by_event ? order_queued : "";
    return order;
}

static enum status
store_order(struct request *rq, const struct checkout *c, const Order *order,
            const char *reservation_id)
{
    const Address *to = order->shipping_address;
    struct tx *tx = tx_begin(rq);
    add_order(tx, .id = order->id, .checkout_id = order->checkout_id, .cart_id = c->asked->cart_id,
              .user_id = order->user_id, .total_minor = order->total->amount,
              .currency = order->total->currency, .email = order->customer->email,
              .phone_number = order->customer->phone_number, .contact_name = order->customer->name,
              .ship_name = to ? to->name : "", .ship_line1 = to ? to->line1 : "",
              .ship_line2 = to ? to->line2 : "", .ship_city = to ? to->city : "",
              .ship_region = to ? to->region : "", .ship_postal_code = to ? to->postal_code : "",
              .ship_country = to ? to->country : "", .payment_id = order->payment->id,
              .payment_reason = order->payment->reason, .created_at_us = order->created_at_us,
              .pay_by_us = order->pay_by_us, .due_us = order->created_at_us + request_grace_us);
    for (size_t i = 0; i < order->n_lines; i++) {
        const PricedLine *line = order->lines[i];
        add_line(tx, .order_id = order->id, .line_no = (int64_t)i + 1, .sku = line->sku,
                 .ticket_type_id = line->ticket_type_id, .event_id = line->event_id,
                 .product_id = line->product_id, .title = line->title, .quantity = line->quantity,
                 .price_minor = line->price->amount, .total_minor = line->total->amount,
                 .currency = line->price->currency);
    }
    publish_order_created(rq, tx, .order_id = order->id, .checkout_id = order->checkout_id,
                          .cart_id = c->asked->cart_id, .lines = order->lines,
                          .n_lines = order->n_lines, .total = order->total,
                          .user_id = order->user_id, .customer = order->customer,
                          .shipping_address = order->shipping_address,
                          .payment_method_id = c->payment_method_id, .charged_by_rpc = !c->by_event,
                          .reservation_id = reservation_id, .pay_by_us = order->pay_by_us);
    if (c->by_event) {
        drop_checkout_lines(tx, .checkout_id = order->checkout_id);
        if (drop_checkout(tx, .id = order->checkout_id) == 0)
            tx_fail(tx, ABORTED); /* somebody has ended it meanwhile */
    }
    return tx_commit(tx);
}

/* What costs nothing needs no provider. */
static enum status
pay_nothing(struct request *rq, struct checkout *c)
{
    OrderPayment *payment = new_order_payment(rq->arena);
    payment->id = c->order->payment ? c->order->payment->id : "";
    payment->status = "completed";
    payment->provider = "none";
    return order_happens(rq, &c->order,
                         &(struct occurrence){ORDER_PAYMENT_COMPLETED, payment, NULL});
}

/* payments settles this request's writes, the order's too, before it asks the provider. */
static enum status
charge(struct request *rq, struct checkout *c)
{
    c->charged = true;
    Payment *payment;
    enum status st =
        call_payments_charge(rq, &payment, .attempt_id = c->attempt_id, .order_id = c->order_id,
                             .amount = c->order->total, .payment_method_id = c->payment_method_id,
                             .hold_until_us = c->order->pay_by_us);
    if (st)
        return charge_refused(rq, c, st);
    c->outcome = payment;
    const Payment *same;
    enum order_cause cause = order_attempts_say(&payment, 1, &same);
    return order_happens(rq, &c->order, &(struct occurrence){cause, payment_of(rq, payment), NULL});
}

/* Where another attempt stands in the way, its state is learnt next. */
static enum status
charge_refused(struct request *rq, struct checkout *c, enum status st)
{
    if (failed_with(rq, &PAYMENTS_UNRESOLVED) || failed_with(rq, &PAYMENTS_ALREADY_PAID) ||
        failed_with(rq, &PAYMENTS_ORDER_CLOSED)) {
        fail_clear(rq);
        return order_load(rq, c->order_id, &c->order);
    }
    fail_extra(rq, "order_id", c->order_id);
    if (failed_with(rq, &PAYMENTS_TOO_LATE))
        return fail(rq, &ORDERS_NOT_PAYABLE, "%s", rq->message);
    if (failed_with(rq, &PAYMENTS_NO_SUCH_METHOD))
        return fail(rq, &ORDERS_NO_SUCH_PAYMENT_METHOD, "%s", rq->message);
    return st;
}

/* Begins nothing: learns what became of what was begun. */
static enum status
resolve(struct request *rq, struct checkout *c)
{
    c->resolved = true;
    ListPaymentsResponse *made;
    enum status st = call_payments_list_payments(rq, &made, .order_id = c->order_id);
    if (st)
        return st;
    const Payment *counts;
    enum order_cause cause = order_attempts_say(made->payments, made->n_payments, &counts);
    bool queued = c->order->payment && text_equal(c->order->payment->reason, order_queued);
    if (queued && !counts && rq->now_us < c->order->pay_by_us) /* payments will hear of it */
        return order_happens(rq, &c->order,
                             &(struct occurrence){ORDER_PAYMENT_BEGUN, c->order->payment, NULL});
    if (cause == ORDER_PAYMENT_FAILED && c->attempt_id)
        return OK; /* what stood in our way is not on disk yet: its own request tells of it */
    if (cause == ORDER_PAYMENT_FAILED)
        return resolve_unpaid(rq, c, counts);
    return order_happens(rq, &c->order, &(struct occurrence){cause, payment_of(rq, counts), NULL});
}

/* No attempt has taken the money or may still do so.  newest is the last that failed, or NULL. */
static enum status
resolve_unpaid(struct request *rq, struct checkout *c, const Payment *newest)
{
    if (rq->now_us >= c->order->pay_by_us)
        return order_happens(rq, &c->order, &(struct occurrence){ORDER_LAPSED, NULL, NULL});
    OrderPayment *payment = new_order_payment(rq->arena);
    if (newest) {
        payment = payment_of(rq, newest);
    } else {
        payment->id = c->order->payment ? c->order->payment->id : "";
        payment->status = "failed";
        payment->reason = order_interrupted;
    }
    return order_happens(rq, &c->order, &(struct occurrence){ORDER_PAYMENT_FAILED, payment, NULL});
}

static OrderPayment *
payment_of(struct request *rq, const Payment *payment)
{
    OrderPayment *ret = new_order_payment(rq->arena);
    ret->id = payment->id;
    ret->status = payment->status;
    ret->provider = payment->provider;
    ret->ref = payment->ref;
    ret->reason = payment->reason;
    return ret;
}

enum status
order_happens(struct request *rq, Order **order, const struct occurrence *o)
{
    enum status st = ABORTED;
    for (int i = 0; i < RACES_MAX && st == ABORTED; i++) {
        if (i > 0 && (st = order_load(rq, (*order)->id, order)))
            return st;
        struct tx *tx = tx_begin(rq);
        st = order_apply(rq, tx, *order, o);
        if (st == OK)
            st = tx_commit(tx);
        else
            tx_end(tx);
    }
    return fail_store(rq, st);
}

enum status
order_apply(struct request *rq, struct tx *tx, Order *order, const struct occurrence *o)
{
    const struct order_move move = order_next(order->status, order->cancel_reason, o->cause);
    const OrderPayment *payment = payment_afterwards(order, o);
    int64_t due_us = due_afterwards(rq, order, payment);
    if (move.status == order->status && payment == order->payment) {
        if (order->status == ORDER_STATUS_AWAITING_PAYMENT)
            look_again(tx, .id = order->id, .due_us = due_us);
        return tx_status(tx);
    }

    bool was_paid = order_is_paid(order->status);
    CheckoutStatus checkout = order_checkout_status(order);
    bool cancels = move.status == ORDER_STATUS_CANCELLED && move.status != order->status;
    const char *cancel_note = cancels && o->note ? o->note : order->cancel_note;
    if (move_order(tx, .id = order->id, .version = order->version,
                   .status = order_status_name(move.status), .cancel_reason = move.cancel_reason,
                   .cancel_note = cancel_note, .payment_id = payment ? payment->id : "",
                   .payment_status = payment ? payment->status : "",
                   .payment_provider = payment ? payment->provider : "",
                   .payment_ref = payment ? payment->ref : "",
                   .payment_reason = payment ? payment->reason : "", .due_us = due_us) == 0)
        return tx_status(tx) ? tx_status(tx) : ABORTED;

    order->status = move.status;
    order->cancel_reason = move.cancel_reason;
    order->cancel_note = cancel_note;
    if (payment != order->payment) {
        order->payment = new_order_payment(rq->arena);
        *order->payment = *payment;
    }
    order->version++;
    tell_checkout(rq, tx, order, checkout);
    return publish_news(rq, tx, order, move.news, was_paid);
}

/* The order's own where it stays. */
static const OrderPayment *
payment_afterwards(const Order *order, const struct occurrence *o)
{
    if (!order_shows_payment(order->payment, o->payment, o->cause))
        return order->payment;
    const OrderPayment *was = order->payment, *is = o->payment;
    bool same = was && text_equal(was->id, is->id) && text_equal(was->status, is->status) &&
                text_equal(was->provider, is->provider) && text_equal(was->ref, is->ref) &&
                text_equal(was->reason, is->reason);
    return same ? was : is;
}

/* When the sweep must look at it, while it awaits its payment: soon where an outcome is missing. */
static int64_t
due_afterwards(const struct request *rq, const Order *order, const OrderPayment *payment)
{
    bool pending = payment && text_equal(payment->status, "pending");
    bool soon = pending || order->pay_by_us <= rq->now_us;
    return soon ? look_again_at(rq, order) : order->pay_by_us;
}

/* The longer nobody could help it, the later: while a provider is away, orders gather that wait. */
static int64_t
look_again_at(const struct request *rq, const Order *order)
{
    int64_t wait_us = look_again_us + (rq->now_us - order->created_at_us) / 2;
    return rq->now_us + (wait_us < look_again_most_us ? wait_us : look_again_most_us);
}

static enum status
publish_news(struct request *rq, struct tx *tx, Order *order, enum order_news news, bool was_paid)
{
    if (news == ORDER_NEWS_NONE)
        return tx_status(tx);
    const char *reservation_id = order_reservation_id(rq, order->id);
    if (news == ORDER_NEWS_CANCELLED) {
        publish_order_cancelled(rq, tx, .order_id = order->id, .reason = order->cancel_reason,
                                .reservation_id = reservation_id, .was_paid = was_paid);
        return tx_status(tx);
    }
    if (!order->n_lines)
        list_lines(tx, &order->lines, &order->n_lines, .order_id = order->id);
    if (news == ORDER_NEWS_PAID)
        publish_order_paid(rq, tx, .order_id = order->id, .lines = order->lines,
                           .n_lines = order->n_lines, .total = order->total,
                           .user_id = order->user_id, .customer = order->customer,
                           .shipping_address = order->shipping_address,
                           .payment_id = order->payment->id, .reservation_id = reservation_id);
    else
        publish_order_completed(rq, tx, .order_id = order->id, .lines = order->lines,
                                .n_lines = order->n_lines, .total = order->total,
                                .user_id = order->user_id);
    return tx_status(tx);
}

/* A checkout ends unpaid where its attempt failed, and where its order was cancelled before that.
 */
static void
tell_checkout(struct request *rq, struct tx *tx, const Order *order, CheckoutStatus before)
{
    if (before != CHECKOUT_STATUS_PENDING || order_checkout_status(order) != CHECKOUT_STATUS_FAILED)
        return;
    bool cancelled = order->status == ORDER_STATUS_CANCELLED;
    publish_checkout_failed(rq, tx, .checkout_id = order->checkout_id, .order_id = order->id,
                            .code = cancelled ? checkout_cancelled : ORDERS_PAYMENT_FAILED.code,
                            .reason = cancelled ? order->cancel_reason : order->payment->reason);
}

const char *
order_reservation_id(struct request *rq, const char *order_id)
{
    return id_derive(rq->arena, "rsv", order_id, NULL);
}

enum status
order_load(struct request *rq, const char *order_id, Order **ret)
{
    struct tx *tx = tx_begin_read(rq);
    Order *order;
    enum status st = find_order(tx, &order, .id = order_id);
    if (st == OK)
        st = list_lines(tx, &order->lines, &order->n_lines, .order_id = order_id);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &ORDERS_NO_SUCH_ORDER, "there is no order %s", order_id);
    if (st)
        return fail_store(rq, st);
    *ret = order;
    return OK;
}

/* One order that cannot be helped now does not keep the others waiting. */
enum status
orders_sweep(struct request *rq)
{
    struct tx *tx = tx_begin_read(rq);
    Order **due = NULL;
    size_t n = 0;
    enum status st = list_due(tx, &due, &n, .now_us = rq->now_us, .limit = DUE_MAX);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    int64_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        struct checkout c = {.order_id = due[i]->id, .order = due[i]};
        if (orders_advance(rq, &c) == OK)
            continue;
        note(rq, "order_id", c.order_id);
        fail_clear(rq);
        postpone(rq, due[i]);
        failed++;
    }
    if (failed)
        return fail_status(rq, UNAVAILABLE, "%lld of %zu orders could not be advanced",
                           (long long)failed, n);
    return OK;
}

static void
postpone(struct request *rq, const Order *order)
{
    struct tx *tx = tx_begin(rq);
    look_again(tx, .id = order->id, .due_us = look_again_at(rq, order));
    tx_commit(tx); /* failing, it is looked at again at once */
}
