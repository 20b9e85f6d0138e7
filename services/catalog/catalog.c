/*
 * Catalog: what is for sale, as shoppers see it.
 *
 * What is available is inventory's figure, kept here as a projection of its StockUpdated events.
 */
#include "authz.api.h"
#include "catalog/price.h"
#include "catalog/products.h"
#include "catalog/views.h"
#include "catalog/words.h"
#include "inventory.api.h"

enum { PRICED_LINES_MAX = 100 };

/* Which products a list is of. */
struct question {
    const char *category; /* "" is any */
    const char *words[SEARCH_WORDS_MAX];
    bool all; /* it asks for nothing */
};

static struct question read_question(struct request *rq, const ListProductsRequest *in);
static enum status find_page(struct tx *tx, const struct question *q, const char *before_id,
                             size_t rows_max, ProductRow ***ret, size_t *ret_n);
static enum status find_variants(struct tx *tx, const struct question *q, const char *first_id,
                                 const char *last_id, VariantRow ***ret, size_t *ret_n);
static enum status find_images(struct tx *tx, const struct question *q, const char *first_id,
                               const char *last_id, ImageRow ***ret, size_t *ret_n);
static void hand_out_variants(struct request *rq, ProductRow **rows, size_t n,
                              VariantRow **variants, size_t n_variants);
static void hand_out_images(struct request *rq, ProductRow **rows, size_t n, ImageRow **images,
                            size_t n_images);
static enum status read_prices(struct request *rq, const PriceLinesRequest *in, PricedLine **lines,
                               size_t *ret_n);

enum status
catalog_list_products(struct request *rq, const ListProductsRequest *in, ListProductsResponse *out)
{
    size_t limit = in->limit > 0 ? (size_t)in->limit : PAGE_ITEMS_DEFAULT;
    if (limit > PAGE_ITEMS_MAX)
        limit = PAGE_ITEMS_MAX;
    struct question question = read_question(rq, in);
    /* Every id is below "z". */
    const char *before_id = text_empty(in->starting_after) ? "z" : in->starting_after;

    struct tx *tx = tx_begin_read(rq);
    ProductRow **rows;
    VariantRow **variants = NULL;
    ImageRow **images = NULL;
    size_t n = 0, n_variants = 0, n_images = 0;
    find_page(tx, &question, before_id, limit + 1, &rows, &n);
    out->has_more = n > limit;
    n = n > limit ? limit : n;
    if (n) {
        const char *first_id = rows[0]->product->id, *last_id = rows[n - 1]->product->id;
        find_variants(tx, &question, first_id, last_id, &variants, &n_variants);
        find_images(tx, &question, first_id, last_id, &images, &n_images);
    }
    enum status st = tx_status(tx);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);

    hand_out_variants(rq, rows, n, variants, n_variants);
    hand_out_images(rq, rows, n, images, n_images);
    out->data = arena_alloc(rq->arena, n * sizeof *out->data);
    for (; out->n_data < n; out->n_data++) {
        out->data[out->n_data] = rows[out->n_data]->product;
        product_tags_split(rq->arena, rows[out->n_data]->product, rows[out->n_data]->tags);
    }
    return OK;
}

enum status
catalog_get_product(struct request *rq, const GetProductRequest *in, Product *out)
{
    struct tx *tx = tx_begin_read(rq);
    Product *product;
    enum status st = product_load(rq, tx, in->id, &product);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &CATALOG_NO_SUCH_PRODUCT, "there is no product %s", in->id);
    if (st)
        return fail_store(rq, st);
    views_count(rq, product->id);
    *out = *product;
    return OK;
}

enum status
catalog_price_lines(struct request *rq, const PriceLinesRequest *in, PriceLinesResponse *out)
{
    if (in->n_lines > PRICED_LINES_MAX)
        return fail(rq, &CATALOG_BAD_LINE, "%zu lines, %d at most", in->n_lines, PRICED_LINES_MAX);
    PricedLine **lines = arena_alloc(rq->arena, in->n_lines * sizeof *lines);
    size_t n = 0;
    enum status st = read_prices(rq, in, lines, &n);
    if (st)
        return st;
    enum sum sum = price_sum(rq->arena, lines, n, setting(rq->node, "currency"), &out->total);
    if (sum == SUM_MIXED)
        return fail(rq, &CATALOG_MIXED_CURRENCIES, "the lines are priced in several currencies");
    if (sum == SUM_TOO_LARGE)
        return fail(rq, &CATALOG_TOTAL_TOO_LARGE, "the total is too large");
    out->lines = lines;
    out->n_lines = n;
    return OK;
}

static enum status
on_stock_updated(struct request *rq, struct tx *tx, const StockUpdated *event)
{
    (void)rq;
    show_stock(tx, .sku = event->sku, .available = event->available, .version = event->version);
    return OK;
}

static struct question
read_question(struct request *rq, const ListProductsRequest *in)
{
    struct question q = {.category = in->category ? in->category : ""};
    q.all = text_empty(in->q) && text_empty(in->category);
    search_patterns(rq->arena, in->q ? in->q : "", q.words);
    return q;
}

static enum status
find_page(struct tx *tx, const struct question *q, const char *before_id, size_t rows_max,
          ProductRow ***ret, size_t *ret_n)
{
    if (q->all)
        return list_products(tx, ret, ret_n, .before_id = before_id, .rows_max = (int64_t)rows_max);
    const char *const *w = q->words;
    return find_products(tx, ret, ret_n, .before_id = before_id, .category = q->category,
                         .word1 = w[0], .word2 = w[1], .word3 = w[2], .word4 = w[3], .word5 = w[4],
                         .word6 = w[5], .word7 = w[6], .word8 = w[7],
                         .rows_max = (int64_t)rows_max);
}

static enum status
find_variants(struct tx *tx, const struct question *q, const char *first_id, const char *last_id,
              VariantRow ***ret, size_t *ret_n)
{
    if (q->all)
        return page_variants(tx, ret, ret_n, .first_id = first_id, .last_id = last_id);
    const char *const *w = q->words;
    return found_variants(tx, ret, ret_n, .first_id = first_id, .last_id = last_id,
                          .category = q->category, .word1 = w[0], .word2 = w[1], .word3 = w[2],
                          .word4 = w[3], .word5 = w[4], .word6 = w[5], .word7 = w[6],
                          .word8 = w[7]);
}

static enum status
find_images(struct tx *tx, const struct question *q, const char *first_id, const char *last_id,
            ImageRow ***ret, size_t *ret_n)
{
    if (q->all)
        return page_images(tx, ret, ret_n, .first_id = first_id, .last_id = last_id);
    const char *const *w = q->words;
    return found_images(tx, ret, ret_n, .first_id = first_id, .last_id = last_id,
                        .category = q->category, .word1 = w[0], .word2 = w[1], .word3 = w[2],
                        .word4 = w[3], .word5 = w[4], .word6 = w[5], .word7 = w[6], .word8 = w[7]);
}

/* Both lists stand in the order of the products. */
static void
hand_out_variants(struct request *rq, ProductRow **rows, size_t n, VariantRow **variants,
                  size_t n_variants)
{
    Variant **all = arena_alloc(rq->arena, n_variants * sizeof *all);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        Product *product = rows[i]->product;
        product->variants = all + at;
        for (; at < n_variants && strcmp(variants[at]->product_id, product->id) == 0; at++) {
            all[at] = variants[at]->variant;
            product->n_variants++;
        }
    }
}

static void
hand_out_images(struct request *rq, ProductRow **rows, size_t n, ImageRow **images, size_t n_images)
{
    Image **all = arena_alloc(rq->arena, n_images * sizeof *all);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        Product *product = rows[i]->product;
        product->images = all + at;
        for (; at < n_images && strcmp(images[at]->product_id, product->id) == 0; at++) {
            all[at] = images[at]->image;
            product->n_images++;
        }
    }
}

/* A price for each line, or all lines named that are not for sale here; left out, if so asked. */
static enum status
read_prices(struct request *rq, const PriceLinesRequest *in, PricedLine **lines, size_t *ret_n)
{
    struct tx *tx = tx_begin_read(rq);
    size_t unknown = 0, bad = 0, large = 0, n = 0;
    for (size_t i = 0; i < in->n_lines; i++) {
        const Line *line = in->lines[i];
        if (line->quantity < 1) {
            bad++;
            fail_at(rq, arena_printf(rq->arena, "/lines/%zu/quantity", i), "too_small", -1,
                    "a quantity is at least 1");
        } else if (text_empty(line->sku)) {
            unknown++;
            fail_at(rq, arena_printf(rq->arena, "/lines/%zu/ticket_type_id", i), "no_such_sku", -1,
                    "\"%s\" is not for sale", line->ticket_type_id);
        } else if (price_of(tx, &lines[n], .sku = line->sku) == NOT_FOUND) {
            if (in->leave_out)
                continue;
            unknown++;
            fail_at(rq, arena_printf(rq->arena, "/lines/%zu/sku", i), "no_such_sku", -1,
                    "there is no sku %s", line->sku);
        } else if (tx_status(tx) == OK && !price_line(rq->arena, lines[n++], line->quantity)) {
            large++;
            fail_at(rq, arena_printf(rq->arena, "/lines/%zu/quantity", i), "too_large", -1,
                    "%lld of %s cost too much", (long long)line->quantity, line->sku);
        }
    }
    enum status st = tx_status(tx);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    if (bad)
        return fail(rq, &CATALOG_BAD_LINE, "%zu of %zu lines ask for nothing", bad, in->n_lines);
    if (unknown)
        return fail(rq, &CATALOG_NO_SUCH_SKU, "%zu of %zu lines are not for sale", unknown,
                    in->n_lines);
    if (large)
        return fail(rq, &CATALOG_TOTAL_TOO_LARGE, "the total is too large");
    *ret_n = n;
    return OK;
}

static const char *const projections[] = {"catalog_proj_stock", NULL};

static const char *const everywhere[] = {"views", NULL};

const struct service catalog_service = {
    .name = "catalog",
    .serves = &catalog_server,
    .calls = {&inventory_rpcs, &authz_rpcs},
    .publishes = {&product_viewed, &new_product_added, &product_updated, &product_stock_updated,
                  &product_added_to_cart},
    .subscribes = {{subscribe(stock_updated, on_stock_updated), .projection = true}},
    .jobs = {{"views", views_tell, SECOND_US}},
    .everywhere = everywhere,
    .projections = projections,
};
