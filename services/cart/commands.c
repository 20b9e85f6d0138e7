/*
 * What is to be added to a cart comes twice: by rpc, and as ProductAddedToCart.  The first to bring
 * a command's id decides what becomes of it, and what it decided stands.
 */
#include "cart/carts.h"

static const struct reason *reason_of(const char *code);
static void remember(struct request *rq, struct tx *tx, const struct command *c,
                     const char *cart_id, const struct reason *refused, bool told);

enum status
command_apply(struct request *rq, struct tx *tx, const struct command *c, bool told,
              const struct reason **ret_refused)
{
    CommandRow *known;
    struct cart cart;
    *ret_refused = NULL;
    enum status st = cart_find(rq, tx, c->cart_id, c->user_id, &cart);
    if (st == NOT_FOUND) {
        *ret_refused = &CART_NO_SUCH_CART;
        return OK;
    }
    if (st)
        return st;
    if (find_command(tx, &known, .id = c->id) == OK) {
        *ret_refused = reason_of(known->code);
        if (told && *ret_refused)
            told_command(tx, .id = c->id);
        return tx_status(tx);
    }

    size_t at = lines_find(cart.lines, cart.n, c->line->sku);
    PricedLine line = *c->line;
    if (at < cart.n)
        line.quantity += cart.lines[at]->quantity;
    *ret_refused = cart_takes_no_change(rq, &cart, c->expected_version);
    if (!*ret_refused)
        *ret_refused = lines_refuse(cart.lines, cart.n, &line);
    remember(rq, tx, c, cart.row->cart->id, *ret_refused, told);
    if (!*ret_refused) {
        cart_put(tx, &cart, &line);
        cart_changed(rq, tx, &cart, c->user_id);
    }
    return tx_status(tx);
}

static void
remember(struct request *rq, struct tx *tx, const struct command *c, const char *cart_id,
         const struct reason *refused, bool told)
{
    add_command(tx, .id = c->id, .cart_id = cart_id, .sku = c->line->sku,
                .quantity = c->line->quantity, .code = refused ? refused->code : "", .told = told,
                .at_us = rq->now_us);
}

/* NULL for a command that was applied. */
static const struct reason *
reason_of(const char *code)
{
    static const struct reason *const reasons[] = {
        &CART_CART_CLOSED,      &CART_IN_CHECKOUT,        &CART_VERSION_MISMATCH,
        &CART_TOO_MANY_LINES,   &CART_QUANTITY_TOO_LARGE, &CART_TOTAL_TOO_LARGE,
        &CART_MIXED_CURRENCIES,
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (text_equal(code, reasons[i]->code))
            return reasons[i];
    return text_empty(code) ? NULL : &CART_BAD_COMMAND;
}
