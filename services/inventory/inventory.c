/*
 * Inventory: the one exact stock ledger, for goods and tickets alike.
 *
 * It alone owns quantities: others ask (rpcs), request (ProductStockUpdated) or tell what happened
 * to an order, and learn from StockUpdated what came of it.
 */
#include "inventory.impl.h"

#include "catalog.api.h"
#include "inventory/reservations.h"
#include "orders.api.h"
#include "payments.api.h"

enum { ITEMS_MAX = 1000 }; /* of one call */

/* The schema's bound too; far below where a sum of quantities could overflow. */
static const int64_t on_hand_max = 1000000000000;

static void set_and_tell(struct request *rq, struct tx *tx, const Stock *before, int64_t on_hand,
                         const char *reason, Stock **ret);
static enum status ensure_item(struct request *rq, struct tx *tx, const char *sku, int64_t on_hand,
                               Stock **ret);
static enum status ensure_product(struct request *rq, struct tx *tx, const Product *product);

enum status
inventory_get_stock(struct request *rq, const GetStockRequest *in, Stock *out)
{
    struct tx *tx = tx_begin_read(rq);
    Stock *stock;
    enum status st = get_item(tx, &stock, .sku = in->sku);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &INVENTORY_NO_SUCH_ITEM, "there is no item %s", in->sku);
    if (st)
        return fail_store(rq, st);
    *out = *stock;
    return OK;
}

enum status
inventory_check_stock(struct request *rq, const CheckStockRequest *in, CheckStockResponse *out)
{
    if (in->n_skus > ITEMS_MAX)
        return fail(rq, &INVENTORY_TOO_MUCH, "%zu items in one call, %d at most", in->n_skus,
                    ITEMS_MAX);
    out->stocks = arena_alloc(rq->arena, in->n_skus * sizeof *out->stocks);
    struct tx *tx = tx_begin_read(rq);
    for (size_t i = 0; i < in->n_skus; i++) {
        enum status st = get_item(tx, &out->stocks[out->n_stocks], .sku = in->skus[i]);
        if (st == OK)
            out->n_stocks++;
        else if (st != NOT_FOUND)
            break;
    }
    enum status st = tx_status(tx);
    tx_end(tx);
    return fail_store(rq, st);
}

/* Safe to retry: goods are received once per request. */
enum status
inventory_restock(struct request *rq, const RestockRequest *in, Stock *out)
{
    struct tx *tx = tx_begin(rq);
    Stock *stock;
    enum status st = get_item(tx, &stock, .sku = in->sku);
    if (st) {
        tx_end(tx);
        return st == NOT_FOUND ? fail(rq, &INVENTORY_NO_SUCH_ITEM, "there is no item %s", in->sku)
                               : fail_store(rq, st);
    }
    if (in->quantity < 1 || in->quantity > on_hand_max - stock->on_hand) {
        tx_end(tx);
        return fail(rq, &INVENTORY_TOO_MUCH, "%lld more of %s: %lld are on hand, %lld at most",
                    (long long)in->quantity, in->sku, (long long)stock->on_hand,
                    (long long)on_hand_max);
    }
    if (insert_receipt(tx, .request_id = rq->id, .sku = in->sku, .quantity = in->quantity,
                       .received_at_us = rq->now_us) == 1 &&
        set_item(tx, &stock, .sku = in->sku, .on_hand = stock->on_hand + in->quantity) == OK) {
        publish_inventory_restocked(rq, tx, .sku = in->sku, .quantity = in->quantity,
                                    .on_hand = stock->on_hand);
        tell_stock(rq, tx, stock);
    }
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    *out = *stock;
    return OK;
}

enum status
inventory_set_stock(struct request *rq, const SetStockRequest *in, Stock *out)
{
    if (in->on_hand < 0 || in->on_hand > on_hand_max)
        return fail(rq, &INVENTORY_TOO_MUCH, "%lld on hand: 0 to %lld", (long long)in->on_hand,
                    (long long)on_hand_max);
    struct tx *tx = tx_begin(rq);
    Stock *stock;
    enum status st = get_item(tx, &stock, .sku = in->sku);
    if (st) {
        tx_end(tx);
        return st == NOT_FOUND ? fail(rq, &INVENTORY_NO_SUCH_ITEM, "there is no item %s", in->sku)
                               : fail_store(rq, st);
    }
    if (in->expected_version && in->expected_version != stock->version) {
        tx_end(tx);
        return fail(rq, &INVENTORY_VERSION_MISMATCH, "%s is at version %lld, not %lld", in->sku,
                    (long long)stock->version, (long long)in->expected_version);
    }
    set_and_tell(rq, tx, stock, in->on_hand, "count", &stock);
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    *out = *stock;
    return OK;
}

enum status
inventory_create_items(struct request *rq, const CreateItemsRequest *in, CreateItemsResponse *out)
{
    if (in->n_items > ITEMS_MAX)
        return fail(rq, &INVENTORY_TOO_MUCH, "%zu items in one call, %d at most", in->n_items,
                    ITEMS_MAX);
    out->stocks = arena_alloc(rq->arena, in->n_items * sizeof *out->stocks);
    struct tx *tx = tx_begin(rq);
    for (size_t i = 0; i < in->n_items; i++)
        if (ensure_item(rq, tx, in->items[i]->sku, in->items[i]->on_hand, &out->stocks[i]) == OK)
            out->n_stocks++;
    enum status st = tx_commit(tx);
    if (st == FAILED_PRECONDITION)
        return fail(rq, &INVENTORY_TOO_MUCH, "an item has a sku, and 0 to %lld on hand",
                    (long long)on_hand_max);
    return fail_store(rq, st);
}

/* Its order is recorded. */
static enum status
on_order_created(struct request *rq, struct tx *tx, const OrderCreated *event)
{
    note(rq, "order_id", event->order_id);
    reservation_bind(tx, event->reservation_id);
    return OK;
}

static enum status
on_order_paid(struct request *rq, struct tx *tx, const OrderPaid *event)
{
    note(rq, "order_id", event->order_id);
    reservation_sell(rq, tx, event);
    return OK;
}

/* What was held is free again.  What was sold is back on the shelf, unless the order ended with a
 * refund: then PaymentRefunded says whether the goods came back. */
static enum status
on_order_cancelled(struct request *rq, struct tx *tx, const OrderCancelled *event)
{
    note(rq, "order_id", event->order_id);
    reservation_release(rq, tx, event->reservation_id, event->reason);
    if (!text_equal(event->reason, "refunded"))
        reservation_unsell(rq, tx, event->reservation_id, event->reason);
    return OK;
}

/* A part of the money says nothing of which goods came back, so only the whole puts them back. */
static enum status
on_payment_refunded(struct request *rq, struct tx *tx, const PaymentRefunded *event)
{
    note(rq, "order_id", event->order_id);
    Reservation *sold;
    if (event->restock && event->whole &&
        find_sold_reservation(tx, &sold, .order_id = event->order_id) == OK)
        reservation_unsell(rq, tx, sold->reservation_id, "refunded");
    return OK;
}

/* CreateItems has done this before whoever made the product was answered; here it is repaired when
 * that call did not get through. */
static enum status
on_new_product_added(struct request *rq, struct tx *tx, const NewProductAdded *event)
{
    return ensure_product(rq, tx, event->product);
}

static enum status
on_product_updated(struct request *rq, struct tx *tx, const ProductUpdated *event)
{
    return ensure_product(rq, tx, event->product);
}

/* A merchant's request.  One that was made for another version of the stock is not followed. */
static enum status
on_product_stock_updated(struct request *rq, struct tx *tx, const ProductStockUpdated *event)
{
    note(rq, "sku", event->sku);
    Stock *stock;
    enum status st = get_item(tx, &stock, .sku = event->sku);
    if (st == NOT_FOUND)
        return ensure_item(rq, tx, event->sku, event->on_hand, &stock);
    if (st)
        return st;
    if (event->expected_version && event->expected_version != stock->version) {
        note(rq, "stale_version", event->expected_version);
        return OK;
    }
    set_and_tell(rq, tx, stock, event->on_hand, "product", &stock);
    return OK;
}

/* Corrects what is on hand; says nothing where nothing changes. */
static void
set_and_tell(struct request *rq, struct tx *tx, const Stock *before, int64_t on_hand,
             const char *reason, Stock **ret)
{
    if (on_hand == before->on_hand || set_item(tx, ret, .sku = before->sku, .on_hand = on_hand))
        return;
    publish_inventory_updated(rq, tx, .sku = before->sku, .before = before->on_hand,
                              .after = on_hand, .reason = reason);
    tell_stock(rq, tx, *ret);
}

static enum status
ensure_item(struct request *rq, struct tx *tx, const char *sku, int64_t on_hand, Stock **ret)
{
    bool made = insert_item(tx, .sku = sku, .on_hand = on_hand) == 1;
    enum status st = get_item(tx, ret, .sku = sku);
    if (st == OK && made)
        tell_stock(rq, tx, *ret);
    return st;
}

static enum status
ensure_product(struct request *rq, struct tx *tx, const Product *product)
{
    Stock *stock;
    for (size_t i = 0; product && i < product->n_variants; i++) {
        const Variant *variant = product->variants[i];
        enum status st = ensure_item(rq, tx, variant->sku, variant->available, &stock);
        if (st)
            return st;
    }
    return OK;
}

const struct service inventory_service = {
    .name = "inventory",
    .serves = &inventory_server,
    .publishes = {&stock_updated, &inventory_restocked, &inventory_updated, &stock_reserved,
                  &stock_released, &stock_committed, &stock_short},
    .subscribes = {{subscribe(order_created, on_order_created)},
                   {subscribe(order_paid, on_order_paid)},
                   {subscribe(order_cancelled, on_order_cancelled)},
                   {subscribe(payment_refunded, on_payment_refunded)},
                   {subscribe(new_product_added, on_new_product_added)},
                   {subscribe(product_updated, on_product_updated)},
                   {subscribe(product_stock_updated, on_product_stock_updated)}},
    .jobs = {{"lapse", reservations_lapse, SECOND_US}},
};
