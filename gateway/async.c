/* What its client does not wait for: checkouts and lines of carts; and what is followed of them. */
#include "cart.api.h"
#include "catalog.api.h"
#include "gateway/carts.h"
#include "gateway/checkout.h"
#include "orders.api.h"

static enum status leave(struct request *rq, const struct basket *basket, const char *checkout_id,
                         enum status st);

/*
 * The checkout is written down before UserCheckout tells of it, so that whoever hears finds it.  A
 * retry of the same request tells of the same checkout once more, which changes nothing.
 */
enum status
gateway_open_checkout(struct request *rq, const PlaceOrderBody *in, Checkout *out)
{
    const char *checkout_id = id_derive(rq->arena, "chk", rq->id, NULL), *method_id;
    struct basket basket;
    enum status st = basket_take(rq, in, checkout_id, &basket);
    if (st)
        return st;
    st = checkout_lodge(rq, in->payment->provider, in->payment->token, "/payment/provider",
                        &method_id);
    if (st)
        return leave(rq, &basket, checkout_id, st);
    const char *user_id = rq->caller.kind == CALLER_USER ? rq->caller.id : "";
    Checkout *checkout;
    st = call_orders_open_checkout(rq, &checkout, .checkout_id = checkout_id, .lines = basket.lines,
                                   .n_lines = basket.n_lines, .customer = in->customer,
                                   .shipping_address = in->shipping_address,
                                   .payment_method_id = method_id, .user_id = user_id,
                                   .cart_id = basket.cart_id, .cart_version = basket.cart_version);
    if (st)
        return leave(rq, &basket, checkout_id, st);
    note(rq, "checkout_id", checkout->id);
    rq->location = arena_printf(rq->arena, "/v1/checkouts/%s", checkout->id);
    out->id = checkout->id;
    out->status = checkout->status;
    out->version = checkout->version;
    if (checkout->status != CHECKOUT_STATUS_PENDING)
        return OK;

    struct tx *tx = tx_begin(rq);
    publish_user_checkout(
        rq, tx, .checkout_id = checkout->id, .cart_id = basket.cart_id,
        .cart_version = basket.cart_version, .lines = basket.lines, .n_lines = basket.n_lines,
        .user_id = user_id, .customer = in->customer, .shipping_address = in->shipping_address,
        .session_id = *user_id ? rq->caller.session_id : "", .payment_method_id = method_id);
    return fail_store(rq, tx_commit(tx));
}

/* A cart is held until OrderCreated closes it; where there is no checkout, it is let go. */
static enum status
leave(struct request *rq, const struct basket *basket, const char *checkout_id, enum status st)
{
    basket_end(rq, basket, checkout_id, "");
    return st;
}

/*
 * Whether the line can be had is known now; cart adds it when it hears of it.  The command's id
 * follows from the request's, so that a retry adds nothing twice.
 */
enum status
gateway_queue_cart_line(struct request *rq, const AddCartLineBody *in, QueuedLine *out)
{
    out->cart_id = in->id;
    out->command_id = id_derive(rq->arena, "cmd", rq->id, NULL);
    rq->location = arena_printf(rq->arena, "/v1/carts/%s", in->id);
    note(rq, "cart_id", in->id);
    CheckAddResponse *check;
    enum status st = call_cart_check_add(
        rq, &check, .cart_id = in->id, .command_id = out->command_id, .sku = in->sku,
        .quantity = in->quantity, .expected_version = in->expected_version);
    PricedLine *line;
    if (st == OK && !check->known)
        st = call_catalog_add_to_cart(
            rq, &line, .cart_id = in->id, .command_id = out->command_id,
            .user_id = rq->caller.kind == CALLER_USER ? rq->caller.id : "", .sku = in->sku,
            .quantity = in->quantity, .in_cart = check->quantity,
            .expected_version = in->expected_version);
    return st;
}

/* A guest has no other way to his order than this. */
enum status
gateway_get_checkout(struct request *rq, const GetCheckoutRequest *in, Checkout *out)
{
    Checkout *checkout;
    enum status st = call_orders_get_checkout(rq, &checkout, .id = in->id);
    if (st)
        return st;
    *out = *checkout;
    out->user_id = "";
    if (text_empty(checkout->user_id) && !text_empty(checkout->order_id))
        st = checkout_give_token(rq, checkout->order_id, &out->access_token);
    return st;
}

enum status
gateway_stream_checkout(struct request *rq, const GetCheckoutRequest *in, Checkout *out)
{
    return gateway_get_checkout(rq, in, out);
}

enum status
gateway_stream_order(struct request *rq, const GetOrderRequest *in, Order *out)
{
    Order *order;
    enum status st = call_orders_get_order(rq, &order, .id = in->id);
    if (st == OK)
        *out = *order;
    return st;
}
