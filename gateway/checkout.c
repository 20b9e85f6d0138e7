/* The gateway's own rpcs: a checkout takes payments, which lodges how to pay, and orders. */
#include "auth.api.h"
#include "gateway.impl.h"
#include "gateway/gateway.h"
#include "gateway/idempotency.h"
#include "orders.api.h"
#include "payments.api.h"

static enum status lodge(struct request *rq, const char *provider, const char *token,
                         const char *pointer, const char **ret_id);
static enum status give_token(struct request *rq, const char *order_id, const char **ret);
static enum status tell_order(struct request *rq, enum status st);
static void answer_with(struct request *rq, const Order *order, Order *out);

/*
 * Every id follows from the request's, so a retry of the same request finds the same checkout, the
 * same order and the same charge.
 */
enum status
gateway_place_order(struct request *rq, const PlaceOrderBody *in, Order *out)
{
    const char *method_id;
    enum status st =
        lodge(rq, in->payment->provider, in->payment->token, "/payment/provider", &method_id);
    if (st)
        return st;
    Order *order;
    st = call_orders_place_order(
        rq, &order, .checkout_id = id_derive(rq->arena, "chk", rq->id, NULL), .lines = in->lines,
        .n_lines = in->n_lines, .customer = in->customer, .shipping_address = in->shipping_address,
        .payment_method_id = method_id,
        .user_id = rq->caller.kind == CALLER_USER ? rq->caller.id : "");
    if (st)
        return tell_order(rq, st);
    const char *token = "";
    if (rq->caller.kind != CALLER_USER)
        st = give_token(rq, order->id, &token);
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
    st = lodge(rq, in->provider, in->token, "/provider", &method_id);
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

static enum status
lodge(struct request *rq, const char *provider, const char *token, const char *pointer,
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

static enum status
give_token(struct request *rq, const char *order_id, const char **ret)
{
    IssueGuestTokenResponse *issued;
    enum status st = call_auth_issue_guest_token(rq, &issued, .order_id = order_id);
    if (st == OK)
        *ret = issued->token;
    return st;
}

/* A guest whose payment failed gets the token too: the order is kept, and can be paid again. */
static enum status
tell_order(struct request *rq, enum status st)
{
    if (!failed_with(rq, &ORDERS_PAYMENT_FAILED) || rq->caller.kind == CALLER_USER)
        return st;
    const char *order_id = NULL;
    for (size_t i = 0; i < rq->n_extras; i++)
        if (strcmp(rq->extras[i].name, "order_id") == 0)
            order_id = rq->extras[i].value;
    const char *message = rq->message, *token;
    if (!order_id)
        return st;
    enum status issued = give_token(rq, order_id, &token);
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
    .calls = {&auth_rpcs, &payments_rpcs, &orders_rpcs},
    .jobs = {{"forget_keys", keys_forget, MINUTE_US}},
    .start = keys_start,
};
