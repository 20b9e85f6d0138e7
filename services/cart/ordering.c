/* A cart that is ordered: held for one checkout, which closes it or lets it go. */
#include "cart/carts.h"

/* Longer than a request lives; a cart whose checkout died is let go after this. */
static const int64_t checkout_lease_us = MINUTE_US;

static enum status hold(struct request *rq, const char *checkout_id, struct cart *cart);

enum status
cart_begin_checkout(struct request *rq, const BeginCheckoutRequest *in, ShoppingCart *out)
{
    note(rq, "cart_id", in->cart_id);
    struct cart cart;
    bool changed = false;
    enum status st = cart_refresh(rq, in->cart_id, &cart, &changed);
    if (st)
        return st;
    if (changed)
        return fail(rq, &CART_CART_CHANGED,
                    "what is in the cart has changed in the shop: look at it again");
    st = hold(rq, in->checkout_id, &cart);
    return st ? st : cart_answer(rq, &cart, out);
}

enum status
cart_end_checkout(struct request *rq, const EndCheckoutRequest *in, Empty *out)
{
    (void)out;
    struct cart cart;
    struct tx *tx = tx_begin(rq);
    enum status st = cart_find(rq, tx, in->cart_id, cart_viewer(rq), &cart);
    if (st) {
        tx_end(tx);
        return st;
    }
    const char *id = cart.row->cart->id;
    if (text_empty(in->order_id))
        leave_checkout(tx, .id = id, .checkout_id = in->checkout_id);
    else
        close_cart(tx, .id = id, .checkout_id = in->checkout_id, .order_id = in->order_id,
                   .now_us = rq->now_us);
    return fail_store(rq, tx_commit(tx));
}

/* Nobody else may order or change the cart meanwhile: it stays at the version that was priced. */
static enum status
hold(struct request *rq, const char *checkout_id, struct cart *cart)
{
    const char *id = cart->row->cart->id;
    int64_t version = cart->row->cart->version;
    struct tx *tx = tx_begin(rq);
    enum status st = cart_find(rq, tx, id, cart_viewer(rq), cart);
    if (st) {
        tx_end(tx);
        return st;
    }
    const struct reason *why = NULL;
    bool own = text_equal(cart->row->checkout_id, checkout_id);
    if (own && cart->row->cart->status == CART_STATUS_ORDERED) {
        tx_end(tx); /* its order is there: a retry goes on from that */
        return OK;
    }
    if (cart->row->cart->status != CART_STATUS_OPEN)
        why = &CART_CART_CLOSED;
    else if (!own && cart->row->checkout_until_us > rq->now_us)
        why = &CART_IN_CHECKOUT;
    if (why)
        return cart_stop(rq, tx, cart, why);
    if (cart->n == 0) {
        tx_end(tx);
        return fail(rq, &CART_CART_EMPTY, "the cart is empty");
    }
    if (cart->row->cart->version != version) {
        tx_end(tx);
        return fail(rq, &CART_CART_CHANGED, "the cart was changed meanwhile: look at it again");
    }
    begin_checkout(tx, .id = id, .checkout_id = checkout_id,
                   .until_us = rq->now_us + checkout_lease_us, .now_us = rq->now_us);
    return fail_store(rq, tx_commit(tx));
}
