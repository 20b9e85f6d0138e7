/*
 * Orders: turns a buyer's lines into an order and follows it until it is completed, cancelled or
 * refunded.
 *
 * An order is recorded and its stock reserved before any money moves, and it never changes without
 * an event that says so.
 */
#include "orders.impl.h"

#include <ctype.h>

#include "authz.api.h"
#include "catalog.api.h"
#include "inventory.api.h"
#include "orders/checkouts.h"
#include "orders/erase.h"
#include "shipping.api.h"

enum {
    LINES_MAX = 50,
    LINE_QUANTITY_MAX = 1000,
};

/* Behind every order's id. */
static const char last_order_id[] = "ord_zzzzzzzzzzzzzzzzzzzzzzzzzz";

static enum status check_line(struct request *rq, const PlaceOrderRequest *in, size_t i);
static enum status tell_outcome(struct request *rq, const struct checkout *c, Order *out);
static enum status say_payment_failed(struct request *rq, const struct checkout *c,
                                      const char *reason);
static enum status not_payable(struct request *rq, const struct checkout *c);
static enum status load_visible(struct request *rq, const char *order_id, Order **ret,
                                enum order_cause *ret_cancels);
static enum status sees_all(struct request *rq, bool *ret);
static enum status read_page(struct request *rq, const char *user_id, const ListOrdersRequest *in,
                             int64_t limit, ListOrdersResponse *out);
static const char *upper_case(struct arena *a, const char *s);

/* Safe to retry: all that it makes has an id that follows from the checkout's, so that a retry
 * finds what the first call made and goes on from there. */
enum status
orders_place_order(struct request *rq, const PlaceOrderRequest *in, Order *out)
{
    enum status st = order_request_checked(rq, in);
    if (st)
        return st;
    struct checkout c = {
        .order_id = id_derive(rq->arena, "ord", in->checkout_id, NULL),
        .asked = in,
        .attempt_id = id_derive(rq->arena, "pay", in->checkout_id, NULL),
        .payment_method_id = in->payment_method_id,
    };
    note(rq, "order_id", c.order_id);
    st = order_load(rq, c.order_id, &c.order);
    if (failed_with(rq, &ORDERS_NO_SUCH_ORDER))
        fail_clear(rq);
    else if (st)
        return st;
    st = orders_advance(rq, &c);
    if (st && !c.order)
        return checkout_refused(rq, in->checkout_id, st);
    return st ? st : tell_outcome(rq, &c, out);
}

enum status
orders_pay_order(struct request *rq, const PayOrderRequest *in, Order *out)
{
    struct checkout c = {
        .order_id = in->order_id,
        .attempt_id = in->attempt_id,
        .payment_method_id = in->payment_method_id,
    };
    note(rq, "order_id", c.order_id);
    enum status st = load_visible(rq, in->order_id, &c.order, NULL);
    if (st == OK)
        st = orders_advance(rq, &c);
    return st ? st : tell_outcome(rq, &c, out);
}

/*
 * A charge may be under way: the order is cancelled all the same, and money that comes for it
 * afterwards goes back by itself.  Cancelling what is cancelled changes nothing.
 */
enum status
orders_cancel_order(struct request *rq, const CancelOrderRequest *in, Order *out)
{
    note(rq, "order_id", in->id);
    Order *order;
    struct occurrence o = {.note = in->reason};
    enum status st = load_visible(rq, in->id, &order, &o.cause);
    if (st == OK)
        st = order_happens(rq, &order, &o);
    if (st)
        return st;
    if (order->status != ORDER_STATUS_CANCELLED && order->status != ORDER_STATUS_REFUNDED)
        return fail(rq, &ORDERS_NOT_CANCELLABLE, "the order has been shipped");
    *out = *order;
    return OK;
}

enum status
orders_get_order(struct request *rq, const GetOrderRequest *in, Order *out)
{
    Order *order;
    enum status st = load_visible(rq, in->id, &order, NULL);
    if (st == OK)
        *out = *order;
    return st;
}

enum status
orders_list_order_payments(struct request *rq, const ListOrderPaymentsRequest *in,
                           ListOrderPaymentsResponse *out)
{
    Order *order;
    enum status st = load_visible(rq, in->id, &order, NULL);
    if (st)
        return st;
    ListPaymentsResponse *made;
    st = call_payments_list_payments(rq, &made, .order_id = order->id);
    if (st)
        return st;
    out->data = made->payments;
    out->n_data = made->n_payments;
    return OK;
}

enum status
orders_list_orders(struct request *rq, const ListOrdersRequest *in, ListOrdersResponse *out)
{
    bool user = rq->caller.kind == CALLER_USER;
    if (!user && rq->caller.kind != CALLER_OPERATOR && rq->caller.kind != CALLER_SERVICE)
        return OK;
    int64_t limit = in->limit < 1                ? PAGE_ITEMS_DEFAULT
                    : in->limit > PAGE_ITEMS_MAX ? PAGE_ITEMS_MAX
                                                 : in->limit;
    bool all = !user;
    enum status st = user ? sees_all(rq, &all) : OK;
    if (st)
        return st;
    const char *user_id = all ? NULL : rq->caller.id;
    return read_page(rq, user_id, in, limit, out);
}

/* The gateway has checked the fields one by one; this is what they must be together. */
enum status
order_request_checked(struct request *rq, const PlaceOrderRequest *in)
{
    if (!id_valid("chk", in->checkout_id))
        return fail_status(rq, INVALID_ARGUMENT, "\"%s\" is no checkout's id", in->checkout_id);
    if (!in->customer || text_empty(in->customer->email))
        return fail_status(rq, INVALID_ARGUMENT, "an order needs its buyer's e-mail address");
    if (in->n_lines == 0 || in->n_lines > LINES_MAX)
        return fail(rq, &ORDERS_BAD_LINE, "an order has 1 to %d lines; this one has %zu", LINES_MAX,
                    in->n_lines);
    for (size_t i = 0; i < in->n_lines; i++) {
        enum status st = check_line(rq, in, i);
        if (st)
            return st;
    }
    return OK;
}

static enum status
check_line(struct request *rq, const PlaceOrderRequest *in, size_t i)
{
    const Line *line = in->lines[i];
    const char *at = arena_printf(rq->arena, "/lines/%zu", i);
    if (line->quantity < 1 || line->quantity > LINE_QUANTITY_MAX) {
        fail_at(rq, at, ORDERS_BAD_LINE.code, -1, "the quantity is not within 1 to %d",
                LINE_QUANTITY_MAX);
        return fail(rq, &ORDERS_BAD_LINE, "line %zu asks for %lld; 1 to %d are sold at once", i + 1,
                    (long long)line->quantity, LINE_QUANTITY_MAX);
    }
    if (text_empty(line->sku) == text_empty(line->ticket_type_id)) {
        fail_at(rq, at, ORDERS_BAD_LINE.code, -1, "give one of sku and ticket_type_id");
        return fail(rq, &ORDERS_BAD_LINE, "line %zu needs either a sku or a ticket_type_id", i + 1);
    }
    if (!text_empty(line->ticket_type_id)) {
        fail_at(rq, at, ORDERS_NO_SUCH_SKU.code, -1, "there is no such ticket type");
        return fail(rq, &ORDERS_NO_SUCH_SKU, "there is no ticket type %s", line->ticket_type_id);
    }
    for (size_t j = 0; j < i; j++)
        if (text_equal(in->lines[j]->sku, line->sku)) {
            fail_at(rq, at, ORDERS_REPEATED_LINE.code, -1, "line %zu is for the same", j + 1);
            return fail(rq, &ORDERS_REPEATED_LINE, "lines %zu and %zu are for the same thing",
                        j + 1, i + 1);
        }
    return OK;
}

/* What the buyer is told of his attempt. */
static enum status
tell_outcome(struct request *rq, const struct checkout *c, Order *out)
{
    const Order *order = c->order;
    const OrderPayment *shown = order->payment;
    bool mine = shown && text_equal(shown->id, c->attempt_id);
    if (c->outcome && text_equal(c->outcome->status, "failed"))
        return say_payment_failed(rq, c, c->outcome->reason);
    if (order->status == ORDER_STATUS_CANCELLED)
        return not_payable(rq, c);
    if (order->status != ORDER_STATUS_AWAITING_PAYMENT && !mine && !c->asked)
        return not_payable(rq, c);
    if (order->status == ORDER_STATUS_AWAITING_PAYMENT && c->asked && shown &&
        text_equal(shown->status, "failed"))
        return say_payment_failed(rq, c, shown->reason);
    if (order->status == ORDER_STATUS_AWAITING_PAYMENT && !c->outcome && !c->asked) {
        fail_extra(rq, "order_id", order->id);
        return fail(rq, &ORDERS_BUSY, "another payment of this order has no outcome yet");
    }
    *out = *order;
    return OK;
}

static enum status
say_payment_failed(struct request *rq, const struct checkout *c, const char *reason)
{
    fail_extra(rq, "order_id", c->order_id);
    return fail(rq, &ORDERS_PAYMENT_FAILED, "the payment failed: %s", reason);
}

static enum status
not_payable(struct request *rq, const struct checkout *c)
{
    fail_extra(rq, "order_id", c->order_id);
    return fail(rq, &ORDERS_NOT_PAYABLE, "the order is %s: it takes no payment",
                c->order->status == ORDER_STATUS_CANCELLED ? "cancelled" : "paid");
}

/* The order, if the caller may see it; another's is as if it were not there.  *ret_cancels (which
 * may be NULL) says as whom he would cancel it. */
static enum status
load_visible(struct request *rq, const char *order_id, Order **ret, enum order_cause *ret_cancels)
{
    Order *order;
    enum status st = order_load(rq, order_id, &order);
    if (st)
        return st;
    const struct caller *caller = &rq->caller;
    bool own = (caller->kind == CALLER_GUEST && text_equal(caller->order_id, order->id)) ||
               (caller->kind == CALLER_USER && text_equal(caller->id, order->user_id));
    bool staff = caller->kind == CALLER_OPERATOR || caller->kind == CALLER_SERVICE ||
                 (caller->kind == CALLER_USER && !own && may(rq, "payments.read"));
    if (!own && !staff)
        return fail(rq, &ORDERS_NO_SUCH_ORDER, "there is no order %s", order_id);
    if (ret_cancels)
        *ret_cancels = own ? ORDER_CANCELLED_BY_BUYER : ORDER_CANCELLED_BY_STAFF;
    *ret = order;
    return OK;
}

/* A customer is not asked for more than he has: his own list is no denial to be recorded. */
static enum status
sees_all(struct request *rq, bool *ret)
{
    UserRoles *has;
    enum status st = call_authz_get_user_roles(rq, &has, .user_id = rq->caller.id);
    if (st)
        return st;
    bool staff = false;
    for (size_t i = 0; i < has->n_roles; i++)
        staff |= !text_equal(has->roles[i], "customer");
    *ret = staff && may(rq, "payments.read");
    return OK;
}

/* One more than the page holds is read, to learn whether more follow.  user_id NULL: everybody's.
 */
static enum status
read_page(struct request *rq, const char *user_id, const ListOrdersRequest *in, int64_t limit,
          ListOrdersResponse *out)
{
    const char *before = text_empty(in->starting_after) ? last_order_id : in->starting_after;
    const char *status = upper_case(rq->arena, in->status);
    struct tx *tx = tx_begin_read(rq);
    Order **found = NULL;
    size_t n = 0;
    enum status st;
    if (user_id)
        st = list_orders_of(tx, &found, &n, .user_id = user_id, .before = before, .status = status,
                            .limit = limit + 1);
    else
        st = list_orders(tx, &found, &n, .before = before, .status = status, .limit = limit + 1);
    out->has_more = (int64_t)n > limit;
    out->n_data = out->has_more ? (size_t)limit : n;
    for (size_t i = 0; st == OK && i < out->n_data; i++)
        st = list_lines(tx, &found[i]->lines, &found[i]->n_lines, .order_id = found[i]->id);
    tx_end(tx);
    out->data = found;
    return fail_store(rq, st);
}

static const char *
upper_case(struct arena *a, const char *s)
{
    char *ret = arena_strdup(a, s);
    for (char *p = ret; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    return ret;
}

/* What another service tells of an order. */
static enum status
happened(struct request *rq, struct tx *tx, const char *order_id, const struct occurrence *o)
{
    note(rq, "order_id", order_id);
    Order *order;
    enum status st = find_order(tx, &order, .id = order_id);
    if (st == NOT_FOUND)
        return fail(rq, &ORDERS_NO_SUCH_ORDER, "there is no order %s", order_id);
    return st ? st : order_apply(rq, tx, order, o);
}

/* Mostly the request that charged has written the same already. */
static enum status
on_payment_processed(struct request *rq, struct tx *tx, const PaymentProcessed *event)
{
    OrderPayment *payment = new_order_payment(rq->arena);
    payment->id = event->payment_id;
    payment->status = event->status;
    payment->provider = event->provider;
    payment->ref = event->provider_ref;
    payment->reason = event->reason;
    bool completed = text_equal(event->status, "completed");
    return happened(rq, tx, event->order_id,
                    &(struct occurrence){completed ? ORDER_PAYMENT_COMPLETED : ORDER_PAYMENT_FAILED,
                                         payment, NULL});
}

static enum status
on_payment_refunded(struct request *rq, struct tx *tx, const PaymentRefunded *event)
{
    OrderPayment *payment = new_order_payment(rq->arena);
    payment->id = event->payment_id;
    payment->status = event->whole ? "refunded" : "partly_refunded";
    payment->provider = event->provider;
    payment->ref = event->provider_ref;
    enum order_cause cause = !event->whole    ? ORDER_PAYMENT_REFUNDED
                             : event->restock ? ORDER_ALL_RETURNED
                                              : ORDER_PAYMENT_RETURNED;
    return happened(rq, tx, event->order_id, &(struct occurrence){cause, payment, NULL});
}

static enum status
on_stock_committed(struct request *rq, struct tx *tx, const StockCommitted *event)
{
    return happened(rq, tx, event->order_id,
                    &(struct occurrence){ORDER_STOCK_COMMITTED, NULL, NULL});
}

static enum status
on_stock_short(struct request *rq, struct tx *tx, const StockShort *event)
{
    return happened(rq, tx, event->order_id, &(struct occurrence){ORDER_STOCK_SHORT, NULL, NULL});
}

/* What is cancelled or refunded stays so: its goods have to come back. */
static enum status
on_shipment_dispatched(struct request *rq, struct tx *tx, const ShipmentDispatched *event)
{
    note(rq, "order_id", event->order_id);
    Order *order;
    enum status st = find_order(tx, &order, .id = event->order_id);
    if (st == NOT_FOUND)
        return fail(rq, &ORDERS_NO_SUCH_ORDER, "there is no order %s", event->order_id);
    bool ships = st == OK && order->status != ORDER_STATUS_SHIPPED;
    if (st == OK)
        st = order_apply(rq, tx, order, &(struct occurrence){ORDER_DISPATCHED, NULL, NULL});
    if (st == OK && ships && order->status == ORDER_STATUS_SHIPPED)
        publish_order_shipped(rq, tx, .order_id = order->id, .carrier = event->carrier,
                              .tracking = event->tracking);
    return st;
}

/* A crash may have cut off whoever was charging: the first sweep learns what came of it.  Where
 * another process leads, it may be charging. */
static enum status
start(struct request *rq)
{
    if (!service_leads(rq))
        return checkouts_start(rq);
    struct tx *tx = tx_begin(rq);
    look_at_pending_now(tx);
    enum status st = tx_commit(tx);
    return st ? fail_store(rq, st) : checkouts_start(rq);
}

const struct service orders_service = {
    .name = "orders",
    .serves = &orders_server,
    .calls = {&authz_rpcs, &catalog_rpcs, &inventory_rpcs, &payments_rpcs},
    .publishes = {&order_created, &order_paid, &order_completed, &order_cancelled, &order_shipped,
                  &order_erased, &checkout_failed},
    .subscribes = {{subscribe(payment_processed, on_payment_processed)},
                   {subscribe(payment_refunded, on_payment_refunded)},
                   {subscribe(stock_committed, on_stock_committed)},
                   {subscribe(stock_short, on_stock_short)},
                   {subscribe(user_authenticated, checkouts_on_user_authenticated)},
                   {subscribe(auth_checkout_failed, checkouts_on_auth_checkout_failed)},
                   {subscribe(cart_updated, checkouts_on_cart_updated)},
                   {subscribe(shipment_dispatched, on_shipment_dispatched)},
                   {subscribe(person_erased, erase_on_person_erased)}},
    .jobs = {{"sweep", orders_sweep, SECOND_US},
             {"erase", orders_erase, 5 * SECOND_US},
             {"checkouts", checkouts_sweep, SECOND_US},
             {"forget_checkouts", checkouts_forget, HOUR_US},
             {"forget_carts", snapshots_forget, HOUR_US}},
    .start = start,
};
