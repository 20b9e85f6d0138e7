/*
 * Cart: what a shopper wants to buy, at the prices that he was last shown.
 *
 * Whoever changes a cart writes the row, its lines and CartUpdated in one transaction.
 */
#include "auth.api.h"
#include "cart/carts.h"
#include "catalog.api.h"
#include "orders.api.h"
#include "users.api.h"

enum { OPEN_MAX = 1000 }; /* carts of one person; more expire by themselves */

static enum status open_for_change(struct request *rq, struct tx *tx, const char *id,
                                   const char *sku, int64_t expected_version, struct cart *ret,
                                   size_t *ret_at);
static enum status no_such_line(struct request *rq, struct tx *tx, const char *sku);
static enum status validate_more(struct request *rq, const ChangeLineRequest *in, PricedLine **ret);

/* Safe to retry: the cart's id is made from the request's. */
enum status
cart_create_cart(struct request *rq, const CreateCartRequest *in, ShoppingCart *out)
{
    (void)in;
    const char *id = id_derive(rq->arena, "crt", rq->id, NULL);
    note(rq, "cart_id", id);
    struct cart cart;
    struct tx *tx = tx_begin(rq);
    add_cart(tx, .id = id, .user_id = cart_user(rq), .now_us = rq->now_us);
    enum status st = cart_find(rq, tx, id, cart_viewer(rq), &cart);
    if (st == OK)
        return cart_finish(rq, tx, &cart, out);
    tx_end(tx);
    return st;
}

enum status
cart_get_cart(struct request *rq, const GetCartRequest *in, ShoppingCart *out)
{
    struct cart cart;
    bool changed = false;
    enum status st = cart_refresh(rq, in->id, &cart, &changed);
    if (changed)
        fail_clear(rq); /* the answer says what is, not what was */
    return st ? st : cart_answer(rq, &cart, out);
}

enum status
cart_get_my_cart(struct request *rq, const GetMyCartRequest *in, ShoppingCart *out)
{
    (void)in;
    const char *id;
    struct tx *tx = tx_begin_read(rq);
    enum status st = newest_cart(tx, &id, .user_id = cart_user(rq));
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &CART_NO_SUCH_CART, "you have no open cart");
    if (st)
        return fail_store(rq, st);
    GetCartRequest own = *new_get_cart_request(rq->arena);
    own.id = id;
    return cart_get_cart(rq, &own, out);
}

enum status
cart_change_line(struct request *rq, const ChangeLineRequest *in, ShoppingCart *out)
{
    note(rq, "cart_id", in->id);
    PricedLine *validated = NULL;
    enum status st = validate_more(rq, in, &validated);
    if (st)
        return st;
    struct cart cart;
    size_t at;
    struct tx *tx = tx_begin(rq);
    st = open_for_change(rq, tx, in->id, in->sku, in->expected_version, &cart, &at);
    if (st)
        return st;
    if (at == cart.n)
        return no_such_line(rq, tx, in->sku);
    PricedLine line = validated ? *validated : *cart.lines[at];
    bool same = cart.lines[at]->quantity == in->quantity;
    line.quantity = in->quantity;
    const struct reason *why = lines_refuse(cart.lines, cart.n, &line);
    if (why)
        return cart_stop(rq, tx, &cart, why);
    if (!same) {
        cart_put(tx, &cart, &line);
        cart_changed(rq, tx, &cart, cart_user(rq));
    }
    return cart_finish(rq, tx, &cart, out);
}

enum status
cart_remove_line(struct request *rq, const RemoveLineRequest *in, ShoppingCart *out)
{
    note(rq, "cart_id", in->id);
    struct cart cart;
    size_t at;
    struct tx *tx = tx_begin(rq);
    enum status st = open_for_change(rq, tx, in->id, in->sku, in->expected_version, &cart, &at);
    if (st)
        return st;
    if (at == cart.n)
        return no_such_line(rq, tx, in->sku);
    cart_drop(tx, &cart, in->sku);
    cart_changed(rq, tx, &cart, cart_user(rq));
    return cart_finish(rq, tx, &cart, out);
}

enum status
cart_check_add(struct request *rq, const CheckAddRequest *in, CheckAddResponse *out)
{
    struct cart cart;
    CommandRow *known;
    struct tx *tx = tx_begin_read(rq);
    enum status st = cart_find(rq, tx, in->cart_id, cart_viewer(rq), &cart);
    out->known = st == OK && find_command(tx, &known, .id = in->command_id) == OK;
    if (st == OK)
        st = tx_status(tx);
    tx_end(tx);
    if (st || out->known)
        return st;
    PricedLine line = *new_priced_line(rq->arena);
    size_t at = lines_find(cart.lines, cart.n, in->sku);
    out->quantity = at < cart.n ? cart.lines[at]->quantity : 0;
    line.sku = in->sku;
    line.quantity = out->quantity + in->quantity;
    line.price = new_money(rq->arena); /* not known yet; nothing costs the same in every currency */
    line.price->currency = cart.total->currency;
    const struct reason *why = cart_takes_no_change(rq, &cart, in->expected_version);
    if (!why)
        why = lines_refuse(cart.lines, cart.n, &line);
    return why ? cart_refuse(rq, &cart, why) : OK;
}

enum status
cart_add_line(struct request *rq, const AddLineRequest *in, ShoppingCart *out)
{
    note(rq, "cart_id", in->cart_id);
    if (!id_valid("cmd", in->command_id) || !in->line || !in->line->price)
        return fail(rq, &CART_BAD_COMMAND, "a line with its price is added, under a command's id");
    const struct command c = {in->command_id, in->cart_id, in->user_id, in->line,
                              in->expected_version};
    const struct reason *why;
    struct cart cart = {0};
    struct tx *tx = tx_begin(rq);
    enum status st = command_apply(rq, tx, &c, true, &why);
    if (st == OK && why != &CART_NO_SUCH_CART)
        st = cart_find(rq, tx, in->cart_id, in->user_id, &cart);
    if (st == OK && !why)
        return cart_finish(rq, tx, &cart, out);
    if (st) {
        tx_end(tx);
        return fail_store(rq, st);
    }
    /* What was refused stays refused: that is written, too. */
    st = tx_commit(tx);
    return st ? fail_store(rq, st) : cart_refuse(rq, &cart, why);
}

/* The cart of a caller who may change it now, and where the sku's line stands; else tx is ended. */
static enum status
open_for_change(struct request *rq, struct tx *tx, const char *id, const char *sku,
                int64_t expected_version, struct cart *ret, size_t *ret_at)
{
    enum status st = cart_find(rq, tx, id, cart_viewer(rq), ret);
    if (st) {
        tx_end(tx);
        return st;
    }
    *ret_at = lines_find(ret->lines, ret->n, sku);
    const struct reason *why = cart_takes_no_change(rq, ret, expected_version);
    return why ? cart_stop(rq, tx, ret, why) : OK;
}

static enum status
no_such_line(struct request *rq, struct tx *tx, const char *sku)
{
    tx_end(tx);
    return fail(rq, &CART_NO_SUCH_LINE, "the cart has no line of %s", sku);
}

/* Fewer of what is there can be had without asking; of more, *ret is what catalog says. */
static enum status
validate_more(struct request *rq, const ChangeLineRequest *in, PricedLine **ret)
{
    struct cart cart;
    size_t at;
    struct tx *tx = tx_begin_read(rq);
    enum status st = open_for_change(rq, tx, in->id, in->sku, in->expected_version, &cart, &at);
    if (st)
        return st;
    if (at == cart.n)
        return no_such_line(rq, tx, in->sku);
    tx_end(tx);
    if (in->quantity <= cart.lines[at]->quantity)
        return OK;
    st = call_catalog_validate_line(rq, ret, .sku = in->sku, .quantity = in->quantity);
    if (failed_with(rq, &CATALOG_OUT_OF_STOCK))
        return fail(rq, &CART_OUT_OF_STOCK, "%s", rq->message);
    if (failed_with(rq, &CATALOG_NO_SUCH_SKU))
        return fail(rq, &CART_NO_SUCH_SKU, "%s", rq->message);
    if (failed_with(rq, &CATALOG_TOTAL_TOO_LARGE))
        return fail(rq, &CART_TOTAL_TOO_LARGE, "%s", rq->message);
    if (failed_with(rq, &CATALOG_BAD_LINE))
        return fail(rq, &CART_QUANTITY_TOO_LARGE, "%s", rq->message);
    return st;
}

/* In the synchronous shape AddLine has done it before; otherwise a refusal is told by the cart. */
static enum status
on_product_added_to_cart(struct request *rq, struct tx *tx, const ProductAddedToCart *event)
{
    note(rq, "cart_id", event->cart_id);
    PricedLine line = *new_priced_line(rq->arena);
    line.sku = event->sku;
    line.product_id = event->product_id;
    line.title = event->title;
    line.quantity = event->quantity;
    line.price = event->price;
    if (!line.price)
        return fail(rq, &CART_BAD_COMMAND, "the line has no price");
    const struct command c = {event->command_id, event->cart_id, event->user_id, &line,
                              event->expected_version};
    const struct reason *why;
    enum status st = command_apply(rq, tx, &c, false, &why);
    if (why)
        note(rq, "refused", why->code);
    fail_clear(rq);
    return st;
}

/* Nothing is told of it: a fact does not answer itself. */
static enum status
on_order_created(struct request *rq, struct tx *tx, const OrderCreated *event)
{
    if (text_empty(event->cart_id))
        return OK;
    note(rq, "cart_id", event->cart_id);
    close_cart(tx, .id = event->cart_id, .checkout_id = event->checkout_id,
               .order_id = event->order_id, .now_us = rq->now_us);
    return OK;
}

/* There is no order: what was in the cart can be changed, and ordered again.  With an order, its
 * OrderCreated has closed the cart before. */
static enum status
on_checkout_failed(struct request *rq, struct tx *tx, const CheckoutFailed *event)
{
    (void)rq;
    end_checkout(tx, .checkout_id = event->checkout_id);
    return OK;
}

static enum status
on_auth_checkout_failed(struct request *rq, struct tx *tx, const AuthCheckoutFailed *event)
{
    (void)rq;
    end_checkout(tx, .checkout_id = event->checkout_id);
    return OK;
}

/* What he put into his carts is gone; one that was ordered is the order's, and says nothing of him. */
static enum status
on_person_erased(struct request *rq, struct tx *tx, const PersonErased *event)
{
    if (text_empty(event->user_id))
        return OK;
    CartRow **open = NULL;
    size_t n = 0;
    list_open_of(tx, &open, &n, .user_id = event->user_id, .limit = OPEN_MAX);
    for (size_t i = 0; i < n; i++)
        cart_end(rq, tx, open[i]);
    return tx_status(tx);
}

const struct service cart_service = {
    .name = "cart",
    .serves = &cart_server,
    .calls = {&catalog_rpcs},
    .publishes = {&cart_updated, &cart_abandoned, &cart_expired},
    .subscribes = {{subscribe(product_added_to_cart, on_product_added_to_cart)},
                   {subscribe(order_created, on_order_created)},
                   {subscribe(checkout_failed, on_checkout_failed)},
                   {subscribe(auth_checkout_failed, on_auth_checkout_failed)},
                   {subscribe(person_erased, on_person_erased)}},
    .jobs = {{"clean_up", carts_clean_up, 2 * SECOND_US}},
};
