/*
 * Checkouts by events alone.
 *
 * A checkout is written down before UserCheckout is published, so that whoever hears of it finds
 * it. UserAuthenticated admits it; then it goes the way of every checkout (advance.c), with the
 * charge left to payments, which hears OrderCreated.  Its row ends in the transaction that records
 * its order, or that says why there is none, and only one of the two can happen.
 */
#include "orders/checkouts.h"

#include "kit/trace.h"

enum {
    DUE_MAX = 500, /* checkouts in one run of the sweep */
    FORGET_ROWS_MAX = 500,
    FORGET_ROUNDS_MAX = 20,
};

/* By then a checkout has an order, or an end. */
static const int64_t checkout_life_us = 2 * MINUTE_US;
/* Nobody else takes it while one is at it. */
static const int64_t look_again_us = 5 * SECOND_US;
static const int64_t refused_kept_us = 7 * DAY_US;

static enum status claim(struct request *rq, const char *id, CheckoutRow **ret,
                         PlaceOrderRequest *in);
static enum status claim_in(struct request *rq, struct tx *tx, const char *id, CheckoutRow **ret,
                            PlaceOrderRequest *in);
static enum status make_order_of(struct request *rq, const CheckoutRow *row,
                                 const PlaceOrderRequest *in);
static bool is_final(const struct request *rq, const CheckoutRow *row, enum status st);
static enum status give_up(struct request *rq, const CheckoutRow *row, enum status st);
static int64_t refuse(struct request *rq, struct tx *tx, const char *id, const char *code,
                      const char *reason);
static const char *code_of(struct request *rq, enum status st);
static void tell_order(const Order *order, Checkout *out);
static void tell_row(const CheckoutRow *row, Checkout *out);

enum status
orders_open_checkout(struct request *rq, const PlaceOrderRequest *in, Checkout *out)
{
    enum status st = order_request_checked(rq, in);
    if (st)
        return st;
    const Address *to = in->shipping_address;
    struct tx *tx = tx_begin(rq);
    if (open_checkout(
            tx, .id = in->checkout_id,
            .order_id = id_derive(rq->arena, "ord", in->checkout_id, NULL), .user_id = in->user_id,
            .email = in->customer->email, .phone_number = in->customer->phone_number,
            .contact_name = in->customer->name, .ship_name = to ? to->name : "",
            .ship_line1 = to ? to->line1 : "", .ship_line2 = to ? to->line2 : "",
            .ship_city = to ? to->city : "", .ship_region = to ? to->region : "",
            .ship_postal_code = to ? to->postal_code : "", .ship_country = to ? to->country : "",
            .payment_method_id = in->payment_method_id, .cart_id = in->cart_id,
            .cart_version = in->cart_version, .created_at_us = rq->now_us,
            .due_us = rq->now_us + checkout_life_us, .traceparent = trace_kept(rq)) == 1)
        for (size_t i = 0; i < in->n_lines; i++)
            add_checkout_line(tx, .checkout_id = in->checkout_id, .line_no = (int64_t)i + 1,
                              .sku = in->lines[i]->sku,
                              .ticket_type_id = in->lines[i]->ticket_type_id,
                              .quantity = in->lines[i]->quantity);
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    return orders_get_checkout(rq, &(GetCheckoutRequest){.id = in->checkout_id}, out);
}

/* Whoever knows a checkout's id may see how it stands.  Both rows are read as of one moment: one
 * goes when the other comes. */
enum status
orders_get_checkout(struct request *rq, const GetCheckoutRequest *in, Checkout *out)
{
    if (!id_valid("chk", in->id))
        return fail(rq, &ORDERS_NO_SUCH_CHECKOUT, "there is no such checkout");
    Order *order = NULL;
    CheckoutRow *row = NULL;
    struct tx *tx = tx_begin_read(rq);
    enum status st = find_order(tx, &order, .id = id_derive(rq->arena, "ord", in->id, NULL));
    if (st == NOT_FOUND)
        st = find_checkout(tx, &row, .id = in->id);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &ORDERS_NO_SUCH_CHECKOUT, "there is no such checkout");
    if (st)
        return fail_store(rq, st);
    out->id = in->id;
    if (row)
        tell_row(row, out);
    else
        tell_order(order, out);
    return OK;
}

static void
tell_order(const Order *order, Checkout *out)
{
    enum { ROW_VERSIONS_MAX = 3 }; /* opened, admitted, refused: before any of its order */
    out->status = order_checkout_status(order);
    out->version = order->version + ROW_VERSIONS_MAX;
    out->user_id = order->user_id;
    if (order->status == ORDER_STATUS_CANCELLED) {
        out->code = checkout_cancelled;
        return;
    }
    out->order_id = order->id;
    if (out->status == CHECKOUT_STATUS_FAILED)
        out->code = ORDERS_PAYMENT_FAILED.code;
}

static void
tell_row(const CheckoutRow *row, Checkout *out)
{
    bool refused = row->state == CHECKOUT_STATE_REFUSED;
    out->status = refused ? CHECKOUT_STATUS_FAILED : CHECKOUT_STATUS_PENDING;
    out->code = row->code;
    out->version = row->version;
    out->user_id = row->user_id;
}

enum status
checkouts_on_user_authenticated(struct request *rq, struct tx *tx, const UserAuthenticated *event)
{
    if (!text_equal(event->context, "checkout"))
        return OK;
    note(rq, "checkout_id", event->checkout_id);
    if (admit_checkout(tx, .id = event->checkout_id, .user_id = event->user_id,
                       .now_us = rq->now_us) == 1)
        soon(rq, checkout_go_on, event->checkout_id); /* or the sweep */
    return tx_status(tx);
}

/* Auth has published the end already. */
enum status
checkouts_on_auth_checkout_failed(struct request *rq, struct tx *tx,
                                  const AuthCheckoutFailed *event)
{
    note(rq, "checkout_id", event->checkout_id);
    refuse(rq, tx, event->checkout_id, event->code, event->reason);
    return tx_status(tx);
}

static int64_t
refuse(struct request *rq, struct tx *tx, const char *id, const char *code, const char *reason)
{
    drop_checkout_lines(tx, .checkout_id = id);
    return refuse_checkout(tx, .id = id, .code = code, .reason = reason,
                           .due_us = rq->now_us + refused_kept_us);
}

/* What cannot be helped now is tried again by the sweep, for as long as the checkout lives. */
enum status
checkout_go_on(struct request *rq, const char *id)
{
    note(rq, "checkout_id", id);
    CheckoutRow *row = NULL;
    PlaceOrderRequest *in = new_place_order_request(rq->arena);
    enum status st = claim(rq, id, &row, in);
    if (row && st == OK)
        st = make_order_of(rq, row, in);
    return row && st && is_final(rq, row, st) ? give_up(rq, row, st) : st;
}

bool
checkout_soon(struct request *rq, const CheckoutRow *row)
{
    struct trace_visit visit = trace_enter(rq, row->traceparent);
    bool taken = soon(rq, checkout_go_on, row->id);
    trace_leave(rq, visit);
    return taken;
}

/* *ret stays NULL where there is nothing to do now. */
static enum status
claim(struct request *rq, const char *id, CheckoutRow **ret, PlaceOrderRequest *in)
{
    struct tx *tx = tx_begin(rq);
    enum status st = claim_in(rq, tx, id, ret, in);
    enum status committed = tx_commit(tx);
    if (committed)
        *ret = NULL;
    return committed ? fail_store(rq, committed) : st;
}

static enum status
claim_in(struct request *rq, struct tx *tx, const char *id, CheckoutRow **ret,
         PlaceOrderRequest *in)
{
    CheckoutRow *row;
    if (find_checkout(tx, &row, .id = id) || row->state == CHECKOUT_STATE_REFUSED)
        return OK; /* it has ended; or tx says what is wrong */
    if (row->state == CHECKOUT_STATE_OPENED && row->due_us > rq->now_us)
        return OK;
    if (row->state == CHECKOUT_STATE_OPENED) {
        *ret = row;
        return fail(rq, &ORDERS_TIMED_OUT, "nobody has said whose checkout this is");
    }
    Order *order;
    if (find_order(tx, &order, .id = id_derive(rq->arena, "ord", id, NULL)) == OK) {
        drop_checkout_lines(tx, .checkout_id = id); /* it was placed in the other way meanwhile */
        drop_checkout(tx, .id = id);
        return OK;
    }
    postpone_checkout(tx, .id = id, .due_us = rq->now_us + look_again_us);
    in->checkout_id = id;
    in->customer = row->customer;
    in->shipping_address = row->shipping_address;
    in->payment_method_id = row->payment_method_id;
    in->user_id = row->user_id;
    in->cart_id = row->cart_id;
    list_checkout_lines(tx, &in->lines, &in->n_lines, .checkout_id = id);
    bool wait = false;
    enum status st = text_empty(row->cart_id) ? OK : snapshot_read(rq, tx, row, in, &wait);
    if (!wait)
        *ret = row;
    return st;
}

static enum status
make_order_of(struct request *rq, const CheckoutRow *row, const PlaceOrderRequest *in)
{
    const struct caller myself = rq->caller;
    rq->caller.kind = text_empty(row->user_id) ? CALLER_ANONYMOUS : CALLER_USER;
    rq->caller.id = row->user_id;
    bool allowed = may(rq, "orders.place");
    rq->caller = myself;
    if (!allowed)
        return fail(rq, &ORDERS_NOT_ALLOWED, "this takes the permission orders.place");
    struct checkout c = {
        .order_id = id_derive(rq->arena, "ord", row->id, NULL),
        .asked = in,
        .attempt_id = id_derive(rq->arena, "pay", row->id, NULL),
        .payment_method_id = in->payment_method_id,
        .by_event = true,
    };
    note(rq, "order_id", c.order_id);
    return orders_advance(rq, &c);
}

/* A no is final; a failure of ours is, when the checkout has lived long enough. */
static bool
is_final(const struct request *rq, const CheckoutRow *row, enum status st)
{
    bool ours = st == UNAVAILABLE || st == ABORTED || st == RESOURCE_EXHAUSTED || st == INTERNAL ||
                st == DEADLINE_EXCEEDED;
    return !ours || rq->now_us >= row->created_at_us + checkout_life_us;
}

static enum status
give_up(struct request *rq, const CheckoutRow *row, enum status st)
{
    struct tx *tx = tx_begin(rq);
    checkout_end(rq, tx, row->id, code_of(rq, st), rq->message);
    fail_clear(rq);
    return fail_store(rq, tx_commit(tx));
}

void
checkout_end(struct request *rq, struct tx *tx, const char *id, const char *code,
             const char *reason)
{
    if (refuse(rq, tx, id, code, reason) == 1)
        publish_checkout_failed(rq, tx, .checkout_id = id, .code = code, .reason = reason);
}

enum status
checkout_refused(struct request *rq, const char *checkout_id, enum status st)
{
    if (st != FAILED_PRECONDITION && !failed_with(rq, &ORDERS_NO_SUCH_SKU))
        return st;
    struct tx *tx = tx_begin(rq);
    publish_checkout_failed(rq, tx, .checkout_id = checkout_id, .code = code_of(rq, st),
                            .reason = rq->message);
    enum status committed = tx_commit(tx);
    return committed ? fail_store(rq, committed) : st;
}

/* A failure of ours has no word for buyers but that it took too long. */
static const char *
code_of(struct request *rq, enum status st)
{
    if (rq->reason)
        return rq->reason->code;
    if (st != INVALID_ARGUMENT && st != FAILED_PRECONDITION)
        return ORDERS_TIMED_OUT.code;
    return "invalid_request";
}

/* Where the node does not take the work, as in a full queue, it is done here. */
enum status
checkouts_sweep(struct request *rq)
{
    struct tx *tx = tx_begin_read(rq);
    CheckoutRow **due = NULL;
    size_t n = 0;
    enum status st = list_due_checkouts(tx, &due, &n, .now_us = rq->now_us, .limit = DUE_MAX);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    int64_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        if (checkout_soon(rq, due[i]) || checkout_go_on(rq, due[i]->id) == OK)
            continue;
        fail_clear(rq);
        failed++;
    }
    if (failed)
        return fail_status(rq, UNAVAILABLE, "%lld of %zu checkouts could not be taken further",
                           (long long)failed, n);
    return OK;
}

enum status
checkouts_forget(struct request *rq)
{
    int64_t gone = FORGET_ROWS_MAX;
    for (int i = 0; i < FORGET_ROUNDS_MAX && gone == FORGET_ROWS_MAX; i++) {
        struct tx *tx = tx_begin(rq);
        gone = forget_checkouts(tx, .now_us = rq->now_us, .rows = FORGET_ROWS_MAX);
        enum status st = tx_commit(tx);
        if (st)
            return fail_store(rq, st);
    }
    return OK;
}

enum status
checkouts_start(struct request *rq)
{
    struct tx *tx = tx_begin(rq);
    look_at_checkouts_now(tx, .open_until_us = rq->now_us + checkout_life_us);
    return fail_store(rq, tx_commit(tx));
}
