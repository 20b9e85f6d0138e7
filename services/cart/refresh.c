/*
 * A cart shows the prices of now.  Catalog is asked whenever a cart is looked at, and what it says
 * otherwise is written: what a cart shows is what its lines are.
 */
#include "cart/carts.h"
#include "catalog.api.h"

enum { RACES_MAX = 5 };

/* A visit is written down no more often, so that looking costs no write. */
static const int64_t seen_us = MINUTE_US;

static enum status read_now(struct request *rq, const char *id, struct cart *ret);
static enum status ask_prices(struct request *rq, const struct cart *cart, PricedLine ***ret,
                              size_t *ret_n);
static bool differ(const struct cart *cart, PricedLine *const *now, size_t n);
static enum status write_prices(struct request *rq, struct cart *cart, PricedLine *const *now,
                                size_t n, bool *ret_changed);
static bool is_same(const PricedLine *shown, const PricedLine *now);
static bool costs_the_same(const PricedLine *shown, const PricedLine *now);
static void see(struct request *rq, const struct cart *cart);

enum status
cart_refresh(struct request *rq, const char *id, struct cart *ret, bool *ret_changed)
{
    bool changed = false;
    enum status st = ABORTED;
    for (int i = 0; i < RACES_MAX && st == ABORTED; i++) {
        PricedLine **now;
        size_t n;
        st = read_now(rq, id, ret);
        if (st)
            return st;
        if (cart_takes_no_change(rq, ret, 0))
            break;
        st = ask_prices(rq, ret, &now, &n);
        if (st)
            return st;
        if (differ(ret, now, n))
            st = write_prices(rq, ret, now, n, &changed);
        else
            see(rq, ret);
    }
    if (ret_changed)
        *ret_changed = changed;
    return st == ABORTED ? OK : st; /* busier than that, it is shown as it was read */
}

static enum status
read_now(struct request *rq, const char *id, struct cart *ret)
{
    struct tx *tx = tx_begin_read(rq);
    enum status st = cart_find(rq, tx, id, cart_viewer(rq), ret);
    tx_end(tx);
    return st;
}

/* Where the prices of now cannot be added up, the cart goes on to show the old ones: it can be made
 * smaller, and orders refuses it. */
static enum status
ask_prices(struct request *rq, const struct cart *cart, PricedLine ***ret, size_t *ret_n)
{
    *ret = cart->lines;
    *ret_n = cart->n;
    if (cart->n == 0)
        return OK;
    Line **lines = arena_alloc(rq->arena, cart->n * sizeof *lines);
    for (size_t i = 0; i < cart->n; i++) {
        lines[i] = new_line(rq->arena);
        lines[i]->sku = cart->lines[i]->sku;
        lines[i]->quantity = cart->lines[i]->quantity;
    }
    PriceLinesResponse *priced;
    enum status st = call_catalog_price_lines(rq, &priced, .lines = lines, .n_lines = cart->n,
                                              .leave_out = true);
    if (failed_with(rq, &CATALOG_TOTAL_TOO_LARGE) || failed_with(rq, &CATALOG_MIXED_CURRENCIES)) {
        fail_clear(rq);
        return OK;
    }
    if (st)
        return st;
    *ret = priced->lines;
    *ret_n = priced->n_lines;
    return OK;
}

static bool
differ(const struct cart *cart, PricedLine *const *now, size_t n)
{
    bool same = n == cart->n;
    for (size_t i = 0; same && i < n; i++)
        same = is_same(cart->lines[i], now[i]);
    return !same;
}

/* ABORTED where the cart has changed since it was priced. */
static enum status
write_prices(struct request *rq, struct cart *cart, PricedLine *const *now, size_t n,
             bool *ret_changed)
{
    int64_t version = cart->row->cart->version;
    struct tx *tx = tx_begin(rq);
    enum status st = cart_find(rq, tx, cart->row->cart->id, cart_viewer(rq), cart);
    if (st == OK && cart_takes_no_change(rq, cart, version))
        st = ABORTED;
    if (st) {
        tx_end(tx);
        return st;
    }
    PricedLine **shown = arena_copy(rq->arena, cart->lines, cart->n * sizeof *shown);
    size_t n_shown = cart->n;
    for (size_t i = 0; i < n_shown; i++) {
        const char *at = arena_printf(rq->arena, "/lines/%zu", i);
        size_t j = lines_find(now, n, shown[i]->sku);
        if (j == n) {
            fail_at(rq, at, "not_for_sale", -1, "%s is no longer for sale", shown[i]->sku);
            cart_drop(tx, cart, shown[i]->sku);
            *ret_changed = true;
        } else if (!is_same(shown[i], now[j])) {
            cart_put(tx, cart, now[j]);
            if (costs_the_same(shown[i], now[j]))
                continue;
            fail_at(rq, at, "price_changed", -1, "%s costs %lld now, not %lld", shown[i]->sku,
                    (long long)now[j]->price->amount, (long long)shown[i]->price->amount);
            *ret_changed = true;
        }
    }
    cart_changed(rq, tx, cart, "");
    return fail_store(rq, tx_commit(tx));
}

static bool
is_same(const PricedLine *shown, const PricedLine *now)
{
    return costs_the_same(shown, now) && text_equal(shown->title, now->title) &&
           text_equal(shown->product_id, now->product_id);
}

static bool
costs_the_same(const PricedLine *shown, const PricedLine *now)
{
    return shown->price->amount == now->price->amount &&
           text_equal(shown->price->currency, now->price->currency);
}

/* Failing, it is written the next time. */
static void
see(struct request *rq, const struct cart *cart)
{
    int64_t abandoned_us = setting_int(rq->node, "cart_abandoned_s") * SECOND_US;
    int64_t often_us = abandoned_us / 4 < seen_us ? abandoned_us / 4 : seen_us;
    if (rq->now_us - cart->row->last_seen_us < often_us)
        return;
    struct tx *tx = tx_begin(rq);
    touch(tx, .id = cart->row->cart->id, .now_us = rq->now_us);
    tx_commit(tx);
}
