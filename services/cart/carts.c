#include "cart/carts.h"

enum { MERGES_MAX = 16, REFUSED_SHOWN_MAX = 5 };

static bool is_seen_by(const CartRow *row, const char *viewer);
static enum status show(struct tx *tx, const struct cart *cart, ShoppingCart *out);

const char *
cart_viewer(const struct request *rq)
{
    switch (rq->caller.kind) {
    case CALLER_USER:
        return rq->caller.id;
    case CALLER_OPERATOR:
    case CALLER_SERVICE:
        return SEES_ALL;
    default:
        return "";
    }
}

const char *
cart_user(const struct request *rq)
{
    return rq->caller.kind == CALLER_USER ? rq->caller.id : "";
}

enum status
cart_find(struct request *rq, struct tx *tx, const char *id, const char *viewer, struct cart *ret)
{
    CartRow *row = NULL;
    enum status st = find_cart(tx, &row, .id = id);
    for (int i = 0; i < MERGES_MAX && st == OK && is_seen_by(row, viewer) &&
                    row->cart->status == CART_STATUS_MERGED;
         i++)
        st = find_cart(tx, &row, .id = row->merged_into);
    if (st == NOT_FOUND || (st == OK && !is_seen_by(row, viewer)))
        return fail(rq, &CART_NO_SUCH_CART, "there is no cart %s", id);
    struct cart cart = {.row = row};
    PricedLine **lines = NULL;
    if (st == OK)
        st = list_lines(tx, &lines, &cart.n, .cart_id = row->cart->id);
    if (st)
        return fail_store(rq, st);
    cart.lines = arena_alloc(rq->arena, CART_LINES_MAX * sizeof *lines);
    memcpy(cart.lines, lines, cart.n * sizeof *lines);
    cart.total = lines_total(rq->arena, cart.lines, cart.n, setting(rq->node, "currency"));
    *ret = cart;
    return OK;
}

/* A user's cart is the user's alone. */
static bool
is_seen_by(const CartRow *row, const char *viewer)
{
    return viewer == SEES_ALL || text_empty(row->user_id) || text_equal(row->user_id, viewer);
}

const struct reason *
cart_takes_no_change(const struct request *rq, const struct cart *cart, int64_t expected_version)
{
    const CartRow *row = cart->row;
    if (row->cart->status != CART_STATUS_OPEN)
        return &CART_CART_CLOSED;
    if (row->checkout_until_us > rq->now_us)
        return &CART_IN_CHECKOUT;
    if (expected_version && expected_version != row->cart->version)
        return &CART_VERSION_MISMATCH;
    return NULL;
}

enum status
cart_refuse(struct request *rq, const struct cart *cart, const struct reason *why)
{
    const char *id = cart->row ? cart->row->cart->id : "";
    if (why == &CART_NO_SUCH_CART)
        return fail(rq, why, "there is no such cart");
    if (why == &CART_CART_CLOSED)
        return fail(rq, why, "the cart %s has been ordered", id);
    if (why == &CART_IN_CHECKOUT)
        return fail(rq, why, "the cart %s is being ordered", id);
    if (why == &CART_VERSION_MISMATCH)
        return fail(rq, why, "the cart has changed: it is at version %lld",
                    (long long)cart->row->cart->version);
    if (why == &CART_TOO_MANY_LINES)
        return fail(rq, why, "a cart has %d lines at most", CART_LINES_MAX);
    if (why == &CART_QUANTITY_TOO_LARGE) {
        fail_at(rq, "/quantity", why->code, -1, "a line is of %d at most", CART_QUANTITY_MAX);
        return fail(rq, why, "a line is of %d at most", CART_QUANTITY_MAX);
    }
    if (why == &CART_TOTAL_TOO_LARGE)
        return fail(rq, why, "the total is too large");
    if (why == &CART_MIXED_CURRENCIES)
        return fail(rq, why, "the cart's lines are priced in %s", cart->total->currency);
    return fail(rq, why, "the cart takes no such line");
}

void
cart_put(struct tx *tx, struct cart *cart, const PricedLine *line)
{
    size_t at = lines_find(cart->lines, cart->n, line->sku);
    PricedLine *own = arena_alloc(tx_scope_of(tx)->arena, sizeof *own);
    *own = *line;
    cart->lines[at] = own;
    cart->n += at == cart->n;
    put_line(tx, .cart_id = cart->row->cart->id, .sku = line->sku, .product_id = line->product_id,
             .title = line->title, .quantity = line->quantity, .price_minor = line->price->amount,
             .currency = line->price->currency);
}

void
cart_drop(struct tx *tx, struct cart *cart, const char *sku)
{
    size_t at = lines_find(cart->lines, cart->n, sku);
    if (at == cart->n)
        return;
    cart->n--;
    memmove(cart->lines + at, cart->lines + at + 1, (cart->n - at) * sizeof *cart->lines);
    remove_line(tx, .cart_id = cart->row->cart->id, .sku = sku);
}

void
cart_changed(struct request *rq, struct tx *tx, struct cart *cart, const char *user_id)
{
    CartRow *row = cart->row;
    if (text_empty(row->user_id) && !text_empty(user_id))
        row->user_id = arena_strdup(rq->arena, user_id);
    row->cart->version++;
    row->cart->updated_at_us = row->last_seen_us = rq->now_us;
    touch_content(tx, .id = row->cart->id, .user_id = row->user_id, .now_us = rq->now_us,
                  .may_be_abandoned = cart->n > 0);
    cart->total = lines_total(rq->arena, cart->lines, cart->n, setting(rq->node, "currency"));
    publish_cart_updated(rq, tx, .cart_id = row->cart->id, .version = row->cart->version,
                         .lines = cart->lines, .n_lines = cart->n, .total = cart->total,
                         .user_id = row->user_id);
}

enum status
cart_finish(struct request *rq, struct tx *tx, const struct cart *cart, ShoppingCart *out)
{
    ShoppingCart shown;
    show(tx, cart, &shown);
    enum status st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    *out = shown;
    return OK;
}

enum status
cart_stop(struct request *rq, struct tx *tx, const struct cart *cart, const struct reason *why)
{
    tx_end(tx);
    return cart_refuse(rq, cart, why);
}

enum status
cart_answer(struct request *rq, const struct cart *cart, ShoppingCart *out)
{
    ShoppingCart shown;
    struct tx *tx = tx_begin_read(rq);
    enum status st = show(tx, cart, &shown);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    *out = shown;
    return OK;
}

static enum status
show(struct tx *tx, const struct cart *cart, ShoppingCart *out)
{
    *out = *cart->row->cart;
    out->lines = cart->lines;
    out->n_lines = cart->n;
    out->total = cart->total;
    list_refused(tx, &out->refused, &out->n_refused, .cart_id = out->id,
                 .limit = REFUSED_SHOWN_MAX);
    return tx_status(tx);
}
