/* The gateway's own rpcs: a checkout takes payments, which lodges how to pay, and orders. */
#include "gateway/checkout.h"
#include "auth.api.h"
#include "cart.api.h"
#include "catalog.api.h"
#include "gateway.impl.h"
#include "gateway/answer.h"
#include "gateway/carts.h"
#include "gateway/gateway.h"
#include "gateway/idempotency.h"
#include "gateway/streams.h"
#include "orders.api.h"
#include "payments.api.h"

static const char *extra_of(const struct request *rq, const char *name);
static enum status tell_order(struct request *rq, enum status st);
static void answer_with(struct request *rq, const Order *order, Order *out);

/*
 * Every id follows from the request's, so a retry of the same request finds the same checkout, the
 * same order and the same charge.
 */
enum status
gateway_place_order(struct request *rq, const PlaceOrderBody *in, Order *out)
{
    const char *checkout_id = id_derive(rq->arena, "chk", rq->id, NULL);
    struct basket basket;
    enum status st = basket_take(rq, in, checkout_id, &basket);
    if (st)
        return st;
    const char *method_id;
    Order *order;
    st = checkout_lodge(rq, in->payment->provider, in->payment->token, "/payment/provider",
                        &method_id);
    if (st == OK)
        st = call_orders_place_order(
            rq, &order, .checkout_id = checkout_id, .lines = basket.lines,
            .n_lines = basket.n_lines, .customer = in->customer,
            .shipping_address = in->shipping_address, .payment_method_id = method_id,
            .user_id = rq->caller.kind == CALLER_USER ? rq->caller.id : "",
            .cart_id = basket.cart_id, .shown = basket.shown, .n_shown = basket.n_shown);
    if (st == OK)
        basket_end(rq, &basket, checkout_id, order->id);
    else if (failed_with(rq, &ORDERS_PAYMENT_FAILED) || problem_http(rq, st) < 500)
        basket_end(rq, &basket, checkout_id, extra_of(rq, "order_id"));
    if (st)
        return tell_order(rq, st);
    const char *token = "";
    if (rq->caller.kind != CALLER_USER)
        st = checkout_give_token(rq, order->id, &token);
    if (st)
        return st;
    answer_with(rq, order, out);
    out->access_token = token;
    return OK;
}

/* Whose order it is, is asked before anything is written for it. */
enum status
gateway_pay_order(struct request *rq, const PayOrderBody *in, Order *out)
{
    Order *order;
    enum status st = call_orders_get_order(rq, &order, .id = in->id);
    if (st)
        return st;
    const char *method_id;
    st = checkout_lodge(rq, in->provider, in->token, "/provider", &method_id);
    if (st)
        return st;
    st = call_orders_pay_order(rq, &order, .order_id = in->id,
                               .attempt_id = id_derive(rq->arena, "pay", rq->id, NULL),
                               .payment_method_id = method_id);
    if (st)
        return st;
    answer_with(rq, order, out);
    return OK;
}

enum status
checkout_lodge(struct request *rq, const char *provider, const char *token, const char *pointer,
               const char **ret_id)
{
    LodgeMethodResponse *lodged;
    enum status st = call_payments_lodge_method(
        rq, &lodged, .payment_method_id = id_derive(rq->arena, "pmm", rq->id, NULL),
        .provider = provider, .token = token);
    if (failed_with(rq, &PAYMENTS_NO_SUCH_PROVIDER))
        fail_at(rq, pointer, "no_such_provider", -1, "there is no payment provider of this name");
    if (st == OK)
        *ret_id = lodged->payment_method_id;
    return st;
}

enum status
checkout_give_token(struct request *rq, const char *order_id, const char **ret)
{
    IssueGuestTokenResponse *issued;
    enum status st = call_auth_issue_guest_token(rq, &issued, .order_id = order_id);
    if (st == OK)
        *ret = issued->token;
    return st;
}

/* A further member of the problem document, or "". */
static const char *
extra_of(const struct request *rq, const char *name)
{
    for (size_t i = 0; i < rq->n_extras; i++)
        if (strcmp(rq->extras[i].name, name) == 0)
            return rq->extras[i].value;
    return "";
}

/* A guest whose payment failed gets the token too: the order is kept, and can be paid again. */
static enum status
tell_order(struct request *rq, enum status st)
{
    if (!failed_with(rq, &ORDERS_PAYMENT_FAILED) || rq->caller.kind == CALLER_USER)
        return st;
    const char *order_id = extra_of(rq, "order_id");
    const char *message = rq->message, *token;
    if (text_empty(order_id))
        return st;
    enum status issued = checkout_give_token(rq, order_id, &token);
    if (issued)
        return issued;
    fail_extra(rq, "access_token", token);
    return fail(rq, &ORDERS_PAYMENT_FAILED, "%s", message);
}

/* An order that still awaits its payment is not made yet: the provider's answer follows. */
static void
answer_with(struct request *rq, const Order *order, Order *out)
{
    *out = *order;
    rq->location = arena_printf(rq->arena, "/v1/orders/%s", order->id);
    if (order->status == ORDER_STATUS_AWAITING_PAYMENT)
        rq->http_status = 202;
    note(rq, "order_id", order->id);
}

const struct service gateway_service = {
    .name = "gateway",
    .serves = &gateway_server,
    .front = true,
    .calls = {&auth_rpcs, &payments_rpcs, &orders_rpcs, &catalog_rpcs, &cart_rpcs},
    .publishes = {&user_checkout},
    .subscribes = {{subscribe(order_created, streams_on_order_created), .broadcast = true,
                    .wants = streams_want},
                   {subscribe(order_paid, streams_on_order_paid), .broadcast = true,
                    .wants = streams_want},
                   {subscribe(order_completed, streams_on_order_completed), .broadcast = true,
                    .wants = streams_want},
                   {subscribe(order_shipped, streams_on_order_shipped), .broadcast = true,
                    .wants = streams_want},
                   {subscribe(order_cancelled, streams_on_order_cancelled), .broadcast = true,
                    .wants = streams_want},
                   {subscribe(payment_processed, streams_on_payment_processed), .broadcast = true,
                    .wants = streams_want},
                   {subscribe(payment_refunded, streams_on_payment_refunded), .broadcast = true,
                    .wants = streams_want},
                   {subscribe(checkout_failed, streams_on_checkout_failed), .broadcast = true,
                    .wants = streams_want},
                   {subscribe(auth_checkout_failed, streams_on_auth_checkout_failed),
                    .broadcast = true, .wants = streams_want}},
    .jobs = {{"forget_keys", keys_forget, MINUTE_US}},
};
