/* Carts as they were told of: what a checkout by events is made from. */
#include "orders/checkouts.h"

enum { CHECKOUTS_MAX = 20, FORGET_ROWS_MAX = 200, FORGET_ROUNDS_MAX = 50 };

/* An event that is later than this does not come. */
static const int64_t snapshot_wait_us = 30 * SECOND_US;
static const int64_t kept_us = 60 * DAY_US;

static Line *line_of(struct request *rq, const PricedLine *shown);

/* Whatever checkout waits for it goes on. */
enum status
checkouts_on_cart_updated(struct request *rq, struct tx *tx, const CartUpdated *event)
{
    note(rq, "cart_id", event->cart_id);
    if (take_snapshot(tx, .cart_id = event->cart_id, .version = event->version,
                      .now_us = rq->now_us) == 0)
        return tx_status(tx);
    drop_snapshot_lines(tx, .cart_id = event->cart_id);
    for (size_t i = 0; i < event->n_lines; i++) {
        const PricedLine *line = event->lines[i];
        add_snapshot_line(tx, .cart_id = event->cart_id, .line_no = (int64_t)i + 1,
                          .sku = line->sku, .ticket_type_id = line->ticket_type_id,
                          .quantity = line->quantity,
                          .price_minor = line->price ? line->price->amount : 0,
                          .currency = line->price ? line->price->currency : "");
    }
    CheckoutRow **waiting = NULL;
    size_t n = 0;
    list_checkouts_of_cart(tx, &waiting, &n, .cart_id = event->cart_id, .limit = CHECKOUTS_MAX);
    for (size_t i = 0; i < n; i++)
        checkout_soon(rq, waiting[i]);
    return tx_status(tx);
}

enum status
snapshot_read(struct request *rq, struct tx *tx, const CheckoutRow *row, PlaceOrderRequest *in,
              bool *ret_wait)
{
    CartSnapshot *cart;
    enum status st = find_snapshot(tx, &cart, .cart_id = row->cart_id);
    if (st && st != NOT_FOUND)
        return OK; /* tx says what is wrong */
    if (st == NOT_FOUND || cart->version < row->cart_version) {
        *ret_wait = rq->now_us < row->created_at_us + snapshot_wait_us;
        return *ret_wait ? OK
                         : fail(rq, &ORDERS_NO_SNAPSHOT,
                                "nothing was heard of cart %s as it was shown", row->cart_id);
    }
    if (cart->version > row->cart_version)
        return fail(rq, &ORDERS_CART_CHANGED, "the cart was changed behind its checkout");
    list_snapshot_lines(tx, &in->shown, &in->n_shown, .cart_id = row->cart_id);
    in->lines = arena_alloc(rq->arena, (in->n_shown + 1) * sizeof *in->lines);
    in->n_lines = in->n_shown;
    for (size_t i = 0; i < in->n_lines; i++)
        in->lines[i] = line_of(rq, in->shown[i]);
    return OK;
}

static Line *
line_of(struct request *rq, const PricedLine *shown)
{
    Line *line = new_line(rq->arena);
    line->sku = shown->sku;
    line->ticket_type_id = shown->ticket_type_id;
    line->quantity = shown->quantity;
    return line;
}

enum status
snapshots_forget(struct request *rq)
{
    size_t n = FORGET_ROWS_MAX;
    for (int i = 0; i < FORGET_ROUNDS_MAX && n == FORGET_ROWS_MAX; i++) {
        struct tx *tx = tx_begin(rq);
        CartSnapshot **old = NULL;
        n = 0;
        list_old_snapshots(tx, &old, &n, .before_us = rq->now_us - kept_us,
                           .limit = FORGET_ROWS_MAX);
        for (size_t j = 0; j < n; j++) {
            drop_snapshot_lines(tx, .cart_id = old[j]->cart_id);
            drop_snapshot(tx, .cart_id = old[j]->cart_id);
        }
        enum status st = tx_commit(tx);
        if (st)
            return fail_store(rq, st);
    }
    return OK;
}
