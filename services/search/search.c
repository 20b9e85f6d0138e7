/*
 * Search: products by their words, from catalog's events alone.
 *
 * The index (FTS5) holds no text: what was indexed stands in the projection, and is taken from
 * there to be removed.  A product's version says whether an event is news.
 */
#include "base/hash.h"
#include "catalog.api.h"
#include "search.impl.h"
#include "search/plain.h"

static enum status take(struct request *rq, struct tx *tx, const Product *product, bool deleted);
static void add(struct request *rq, struct tx *tx, int64_t doc, const Product *product);
static int64_t doc_of(const char *product_id);
static const char *labels_of(struct arena *a, const Product *product);
static const Money *lowest_price(const Product *product);

enum status
search_search_products(struct request *rq, const SearchProductsRequest *in,
                       SearchProductsResponse *out)
{
    const char *query = plain_query(rq->arena, in->q);
    if (text_empty(query))
        return OK;
    int64_t limit = in->limit ? in->limit : PAGE_ITEMS_DEFAULT;
    struct tx *tx = tx_begin_read(rq);
    enum status st =
        find_products(tx, &out->data, &out->n_data, .query = query, .limit = limit + 1);
    tx_end(tx);
    out->has_more = (int64_t)out->n_data > limit;
    if (out->has_more)
        out->n_data = (size_t)limit;
    return fail_store(rq, st);
}

static enum status
on_new_product_added(struct request *rq, struct tx *tx, const NewProductAdded *event)
{
    return event->product ? take(rq, tx, event->product, false) : OK;
}

static enum status
on_product_updated(struct request *rq, struct tx *tx, const ProductUpdated *event)
{
    bool deleted = false;
    for (size_t i = 0; i < event->n_changed_fields; i++)
        deleted = deleted || text_equal(event->changed_fields[i], "deleted");
    return event->product ? take(rq, tx, event->product, deleted) : OK;
}

static enum status
take(struct request *rq, struct tx *tx, const Product *product, bool deleted)
{
    IndexedProduct *was = NULL;
    enum status st = find_indexed(tx, &was, .product_id = product->id);
    if (st && st != NOT_FOUND)
        return st;
    if (st == OK && was->version >= product->version)
        return OK;
    if (st == OK && !was->deleted)
        remove_words(tx, .doc = was->doc, .title = was->title, .labels = was->labels,
                     .description = was->description);
    int64_t doc = doc_of(product->id);
    if (deleted)
        put_product(tx, .doc = doc, .product_id = product->id, .version = product->version,
                    .deleted = true);
    else
        add(rq, tx, doc, product);
    return tx_status(tx);
}

static void
add(struct request *rq, struct tx *tx, int64_t doc, const Product *product)
{
    const char *labels = labels_of(rq->arena, product);
    const char *description = plain_text(rq->arena, product->description);
    put_product(tx, .doc = doc, .product_id = product->id, .version = product->version,
                .handle = product->handle, .title = product->title, .labels = labels,
                .description = description);
    const Money *price = lowest_price(product);
    if (price)
        set_price(tx, .doc = doc, .price_minor = price->amount, .currency = price->currency);
    add_words(tx, .doc = doc, .title = product->title, .labels = labels,
              .description = description);
}

/* 63 bits of a digest: the same in every replay. */
static int64_t
doc_of(const char *product_id)
{
    uint8_t digest[SHA256_BYTES];
    sha256(product_id, strlen(product_id), digest);
    uint64_t doc = 0;
    for (int i = 0; i < 8; i++)
        doc = doc << 8 | digest[i];
    return (int64_t)(doc >> 1);
}

static const char *
labels_of(struct arena *a, const Product *product)
{
    struct text out = text_in(a);
    text_printf(&out, "%s\n%s", product->category, product->vendor);
    for (size_t i = 0; i < product->n_tags; i++)
        text_printf(&out, "\n%s", product->tags[i]);
    for (size_t i = 0; i < product->n_variants; i++)
        text_printf(&out, "\n%s\n%s", product->variants[i]->title, product->variants[i]->sku);
    return out.bytes;
}

static const Money *
lowest_price(const Product *product)
{
    const Money *lowest = NULL;
    for (size_t i = 0; i < product->n_variants; i++) {
        const Money *price = product->variants[i]->price;
        if (price && (!lowest || price->amount < lowest->amount))
            lowest = price;
    }
    return lowest;
}

static const char *const projections[] = {"search_proj_product", NULL};

const struct service search_service = {
    .name = "search",
    .serves = &search_server,
    .listens = true,
    .full_text = true,
    .subscribes = {{subscribe(new_product_added, on_new_product_added), .projection = true},
                   {subscribe(product_updated, on_product_updated), .projection = true}},
    .projections = projections,
};
