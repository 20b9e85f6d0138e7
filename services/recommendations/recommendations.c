/*
 * Recommendations: from what was bought and looked at together.
 *
 * What is kept are the newest facts, so many for each product and customer, each under its own key:
 * whatever the order in which events come, and however often, the same rows are left.
 */
#include <stdlib.h>

#include "catalog.api.h"
#include "orders.api.h"
#include "recommendations.impl.h"
#include "users.api.h"

enum {
    ORDERS_MAX = 100,    /* kept for a product */
    OTHERS_MAX = 10,     /* of one order, for a product in it */
    VIEWED_MAX = 20,     /* products kept for a customer */
    VIEWERS_ASKED = 200, /* customers whose looks are counted in an answer */
    ANSWER_DEFAULT = 8,
};

static void fill_up(const char *product_id, Recommendation *const *popular, size_t n, size_t limit,
                    RecommendResponse *out);
static bool has(const RecommendResponse *out, const char *product_id);
static size_t products_of(struct arena *a, PricedLine *const *lines, size_t n, const char ***ret);
static int by_text(const void *a, const void *b);

enum status
recommendations_recommend(struct request *rq, const RecommendRequest *in, RecommendResponse *out)
{
    int64_t limit = in->limit ? in->limit : ANSWER_DEFAULT;
    struct tx *tx = tx_begin_read(rq);
    Recommendation **related = NULL, **popular = NULL;
    size_t n_related = 0, n_popular = 0;
    enum status st = OK;
    if (!text_empty(in->product_id))
        st = list_related(tx, &related, &n_related, .product_id = in->product_id,
                          .viewers = VIEWERS_ASKED, .limit = limit);
    if (st == OK && (int64_t)n_related < limit) /* so many that enough are left */
        st = list_popular(tx, &popular, &n_popular, .limit = limit + (int64_t)n_related + 1);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    out->data = arena_alloc(rq->arena, (size_t)limit * sizeof *out->data);
    for (size_t i = 0; i < n_related; i++)
        out->data[out->n_data++] = related[i];
    fill_up(in->product_id, popular, n_popular, (size_t)limit, out);
    return OK;
}

static void
fill_up(const char *product_id, Recommendation *const *popular, size_t n, size_t limit,
        RecommendResponse *out)
{
    for (size_t i = 0; i < n && out->n_data < limit; i++)
        if (!text_equal(popular[i]->product_id, product_id) && !has(out, popular[i]->product_id))
            out->data[out->n_data++] = popular[i];
}

static bool
has(const RecommendResponse *out, const char *product_id)
{
    for (size_t i = 0; i < out->n_data; i++)
        if (text_equal(out->data[i]->product_id, product_id))
            return true;
    return false;
}

static enum status
on_new_product_added(struct request *rq, struct tx *tx, const NewProductAdded *event)
{
    (void)rq;
    if (event->product)
        put_product(tx, .product_id = event->product_id, .title = event->product->title,
                    .version = event->product->version, .deleted = false);
    return tx_status(tx);
}

static enum status
on_product_updated(struct request *rq, struct tx *tx, const ProductUpdated *event)
{
    (void)rq;
    bool deleted = false;
    for (size_t i = 0; i < event->n_changed_fields; i++)
        deleted = deleted || text_equal(event->changed_fields[i], "deleted");
    put_product(tx, .product_id = event->product_id,
                .title = event->product ? event->product->title : "", .version = event->version,
                .deleted = deleted);
    return tx_status(tx);
}

/* In a large order each product is bought together with those that follow it, the first behind the
 * last. */
static enum status
on_order_completed(struct request *rq, struct tx *tx, const OrderCompleted *event)
{
    const char **products;
    size_t n = products_of(rq->arena, event->lines, event->n_lines, &products);
    for (size_t i = 0; i < n; i++) {
        add_bought(tx, .product_id = products[i], .order_id = event->order_id);
        for (size_t j = 1; j < n && j <= OTHERS_MAX; j++)
            add_together(tx, .product_id = products[i], .order_id = event->order_id,
                         .other_id = products[(i + j) % n]);
        keep_newest_bought(tx, .product_id = products[i], .before_last = ORDERS_MAX - 1);
        keep_newest_together(tx, .product_id = products[i]);
        count_bought(tx, .product_id = products[i]);
    }
    return tx_status(tx);
}

/* Visitors without an account are all the same: their looks say nothing. */
static enum status
on_product_viewed(struct request *rq, struct tx *tx, const ProductViewed *event)
{
    if (text_empty(event->viewer))
        return OK;
    put_viewed(tx, .viewer = event->viewer, .product_id = event->product_id, .at_us = rq->now_us);
    keep_newest_viewed(tx, .viewer = event->viewer, .stay = VIEWED_MAX);
    return tx_status(tx);
}

static enum status
on_person_erased(struct request *rq, struct tx *tx, const PersonErased *event)
{
    (void)rq;
    if (text_empty(event->user_id))
        return OK;
    add_erased(tx, .viewer = event->user_id);
    forget_viewed(tx, .viewer = event->user_id);
    return tx_status(tx);
}

/* Each once, in order. */
static size_t
products_of(struct arena *a, PricedLine *const *lines, size_t n, const char ***ret)
{
    const char **products = arena_alloc(a, (n + 1) * sizeof *products);
    size_t n_products = 0, kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!text_empty(lines[i]->product_id))
            products[n_products++] = lines[i]->product_id;
    qsort(products, n_products, sizeof *products, by_text);
    for (size_t i = 0; i < n_products; i++)
        if (kept == 0 || !text_equal(products[kept - 1], products[i]))
            products[kept++] = products[i];
    *ret = products;
    return kept;
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *const projections[] = {
    "recommendations_proj_bought",   "recommendations_proj_erased", "recommendations_proj_product",
    "recommendations_proj_together", "recommendations_proj_viewed", NULL};

const struct service recommendations_service = {
    .name = "recommendations",
    .serves = &recommendations_server,
    .listens = true,
    .subscribes = {{subscribe(new_product_added, on_new_product_added), .projection = true},
                   {subscribe(product_updated, on_product_updated), .projection = true},
                   {subscribe(product_viewed, on_product_viewed), .projection = true},
                   {subscribe(order_completed, on_order_completed), .projection = true},
                   {subscribe(person_erased, on_person_erased), .projection = true}},
    .projections = projections,
};
