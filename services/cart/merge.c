/* After a login: what a guest put into a cart goes into the user's. */
#include "cart/carts.h"

static enum status take_over(struct request *rq, struct tx *tx, struct cart *from,
                             struct cart *ret);
static void merge_line(struct request *rq, struct tx *tx, const struct cart *from,
                       struct cart *into, const PricedLine *line);

enum status
cart_merge_cart(struct request *rq, const MergeCartRequest *in, ShoppingCart *out)
{
    note(rq, "cart_id", in->id);
    struct cart from, cart;
    struct tx *tx = tx_begin(rq);
    enum status st = cart_find(rq, tx, in->id, cart_viewer(rq), &from);
    if (st) {
        tx_end(tx);
        return st;
    }
    const char *user_id = cart_user(rq);
    if (text_empty(user_id) || text_equal(from.row->user_id, user_id))
        return cart_finish(rq, tx, &from, out);
    const struct reason *why = cart_takes_no_change(rq, &from, 0);
    if (why)
        return cart_stop(rq, tx, &from, why);
    st = take_over(rq, tx, &from, &cart);
    if (st == OK)
        return cart_finish(rq, tx, &cart, out);
    tx_end(tx);
    return st;
}

/* A guest's cart becomes the caller's, or goes into the newest one that he has open. */
static enum status
take_over(struct request *rq, struct tx *tx, struct cart *from, struct cart *ret)
{
    const char *user_id = cart_user(rq), *into_id, *from_id = from->row->cart->id;
    enum status st = newest_other_cart(tx, &into_id, .user_id = user_id, .but_not = from_id,
                                       .now_us = rq->now_us);
    if (st == NOT_FOUND) {
        cart_changed(rq, tx, from, user_id);
        *ret = *from;
        return OK;
    }
    if (st)
        return fail_store(rq, st);
    st = cart_find(rq, tx, into_id, user_id, ret);
    if (st)
        return st;
    for (size_t i = 0; i < from->n; i++)
        merge_line(rq, tx, from, ret, from->lines[i]);
    if (from->n)
        cart_changed(rq, tx, ret, user_id);
    remove_lines(tx, .cart_id = from_id);
    end_merged(tx, .id = from_id, .user_id = user_id, .merged_into = into_id, .now_us = rq->now_us);
    publish_cart_updated(rq, tx, .cart_id = from_id, .version = from->row->cart->version + 1,
                         .total = lines_total(rq->arena, NULL, 0, setting(rq->node, "currency")),
                         .user_id = user_id);
    return OK;
}

/* Of what goes beyond a line's limit the line takes all that it can. */
static void
merge_line(struct request *rq, struct tx *tx, const struct cart *from, struct cart *into,
           const PricedLine *line)
{
    size_t at = lines_find(into->lines, into->n, line->sku);
    PricedLine sum = at < into->n ? *into->lines[at] : *line;
    int64_t left_out = 0;
    if (at < into->n)
        sum.quantity += line->quantity;
    if (sum.quantity > CART_QUANTITY_MAX) {
        left_out = sum.quantity - CART_QUANTITY_MAX;
        sum.quantity = CART_QUANTITY_MAX;
    }
    const struct reason *why = lines_refuse(into->lines, into->n, &sum);
    if (!why)
        cart_put(tx, into, &sum);
    else
        left_out = line->quantity;
    if (left_out)
        add_command(tx, .id = id_derive(rq->arena, "cmd", from->row->cart->id, line->sku),
                    .cart_id = into->row->cart->id, .sku = line->sku, .quantity = left_out,
                    .code = why ? why->code : CART_QUANTITY_TOO_LARGE.code, .told = 0,
                    .at_us = rq->now_us);
}
