/*
 * Exports all products as the CSV of another shop's software, which the import of the same format
 * takes back as they are.
 */
#include "catalog/products.h"
#include "catalog/shopify.h"
#include "catalog/woocommerce.h"
#include "fiber/fiber.h"

enum { EXPORT_BYTES_MAX = 60 << 20 };

struct writer {
    void (*header)(struct text *t);
    void (*product)(struct text *t, const Product *product, const char *parent_sku);
};

static enum status export_all(struct request *rq, const struct writer *writer, ExportResponse *out);
static enum status parent_skus(struct request *rq, const ListProductsResponse *page,
                               const char **ret);

enum status
catalog_export_shopify(struct request *rq, const Empty *in, ExportResponse *out)
{
    (void)in;
    return export_all(rq, &(struct writer){shopify_write_header, shopify_write}, out);
}

enum status
catalog_export_woocommerce(struct request *rq, const Empty *in, ExportResponse *out)
{
    (void)in;
    return export_all(rq, &(struct writer){woocommerce_write_header, woocommerce_write}, out);
}

/* A page at a time, so that others get their turn; a product that is made meanwhile is not in it.
 */
static enum status
export_all(struct request *rq, const struct writer *writer, ExportResponse *out)
{
    struct text file = text_in(rq->arena);
    writer->header(&file);
    ListProductsRequest *ask = new_list_products_request(rq->arena);
    ask->limit = PAGE_ITEMS_MAX;
    int64_t products = 0;
    for (bool more = true; more; fiber_yield()) {
        ListProductsResponse *page = new_list_products_response(rq->arena);
        const char *skus[PAGE_ITEMS_MAX];
        enum status st = catalog_list_products(rq, ask, page);
        if (st == OK)
            st = parent_skus(rq, page, skus);
        if (st)
            return st;
        for (size_t i = 0; i < page->n_data; i++)
            writer->product(&file, page->data[i], skus[i]);
        products += (int64_t)page->n_data;
        if (file.n > EXPORT_BYTES_MAX)
            return fail(rq, &CATALOG_EXPORT_TOO_LARGE,
                        "the file is larger than %d MiB after %lld products",
                        EXPORT_BYTES_MAX >> 20, (long long)products);
        more = page->has_more;
        if (more)
            ask->starting_after = page->data[page->n_data - 1]->id;
    }
    note(rq, "products", products);
    out->body = (ProtobufCBinaryData){file.n, (uint8_t *)file.bytes};
    return OK;
}

/* What a product's variations call it by: its handle, or its id where a variant goes by that. */
static enum status
parent_skus(struct request *rq, const ListProductsResponse *page, const char **ret)
{
    struct tx *tx = tx_begin_read(rq);
    for (size_t i = 0; i < page->n_data; i++)
        ret[i] = sku_is_free(tx, page->data[i]->handle) ? page->data[i]->handle : page->data[i]->id;
    enum status st = tx_status(tx);
    tx_end(tx);
    return fail_store(rq, st);
}
