/* What a cart may take: product, price and availability of a line, and the event that says so. */
#include "catalog/price.h"
#include "catalog/products.h"
#include "inventory.api.h"

enum { LINE_QUANTITY_MAX = 1000 };

static enum status check_available(struct request *rq, const ValidateLineRequest *in);

enum status
catalog_validate_line(struct request *rq, const ValidateLineRequest *in, PricedLine *out)
{
    if (in->quantity < 1 || in->quantity > LINE_QUANTITY_MAX || in->in_cart < 0)
        return fail(rq, &CATALOG_BAD_LINE, "a quantity is within 1 to %d", LINE_QUANTITY_MAX);
    struct tx *tx = tx_begin_read(rq);
    PricedLine *line;
    enum status st = price_of(tx, &line, .sku = in->sku);
    tx_end(tx);
    if (st == NOT_FOUND) {
        fail_at(rq, "/sku", "no_such_sku", -1, "there is no sku %s", in->sku);
        return fail(rq, &CATALOG_NO_SUCH_SKU, "%s is not for sale", in->sku);
    }
    if (st)
        return fail_store(rq, st);
    if (!price_line(rq->arena, line, in->in_cart + in->quantity)) {
        fail_at(rq, "/quantity", "too_large", -1, "%lld of %s cost too much",
                (long long)(in->in_cart + in->quantity), in->sku);
        return fail(rq, &CATALOG_TOTAL_TOO_LARGE, "the total is too large");
    }
    st = check_available(rq, in);
    if (st)
        return st;
    price_line(rq->arena, line, in->quantity);
    *out = *line;
    return OK;
}

/* A retry may tell it again: the command's id says that it is the same. */
enum status
catalog_add_to_cart(struct request *rq, const AddToCartRequest *in, PricedLine *out)
{
    if (!id_valid("crt", in->cart_id) || !id_valid("cmd", in->command_id))
        return fail(rq, &CATALOG_BAD_LINE, "a line is added to a cart, under a command's id");
    ValidateLineRequest line = *new_validate_line_request(rq->arena);
    line.sku = in->sku;
    line.quantity = in->quantity;
    line.in_cart = in->in_cart;
    enum status st = catalog_validate_line(rq, &line, out);
    if (st)
        return st;
    note(rq, "cart_id", in->cart_id);
    struct tx *tx = tx_begin(rq);
    publish_product_added_to_cart(
        rq, tx, .cart_id = in->cart_id, .command_id = in->command_id, .product_id = out->product_id,
        .sku = in->sku, .quantity = in->quantity, .user_id = in->user_id, .title = out->title,
        .price = out->price, .expected_version = in->expected_version);
    return fail_store(rq, tx_commit(tx));
}

/* The ledger's word, not what catalog shows of it.  What the ledger does not know is not there. */
static enum status
check_available(struct request *rq, const ValidateLineRequest *in)
{
    const char *skus[] = {in->sku};
    CheckStockResponse *stock;
    enum status st = call_inventory_check_stock(rq, &stock, .skus = skus, .n_skus = 1);
    if (st)
        return st;
    int64_t left = stock->n_stocks ? stock->stocks[0]->available : 0;
    if (in->in_cart + in->quantity <= left)
        return OK;
    fail_at(rq, "/quantity", CATALOG_OUT_OF_STOCK.code, left, "%lld of %s are left",
            (long long)left, in->sku);
    if (in->in_cart)
        return fail(rq, &CATALOG_OUT_OF_STOCK, "%lld of %s are left, and %lld are in the cart",
                    (long long)left, in->sku, (long long)in->in_cart);
    return fail(rq, &CATALOG_OUT_OF_STOCK, "%lld of %s are left", (long long)left, in->sku);
}
