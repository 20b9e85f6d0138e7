/*
 * What a merchant does to products one by one.
 *
 * The product and its event commit first; then inventory makes what is new of its stock, so that it
 * can be sold when the answer is there.  Should that call not get through, the event repairs it.
 */
#include "catalog/product_file.h"
#include "catalog/products.h"
#include "catalog/words.h"

enum { NAMES_TRIED_MAX = 100 };

static enum status read_new(struct request *rq, const CreateProductRequest *in, Product **ret);
static Variant *variant_of(struct request *rq, const NewVariant *in, const char *product_title);
static enum status check_price(struct request *rq, const Money *price, const char *pointer);
static enum status check_tags(struct request *rq, const char *const *tags, size_t n);
static enum status name_product(struct request *rq, struct tx *tx, const CreateProductRequest *in,
                                Product *product);
static enum status name_variants(struct request *rq, struct tx *tx, Product *product);
static const char *free_sku(struct request *rq, struct tx *tx, const Product *product,
                            const char *made);
static enum status load_for_change(struct request *rq, struct tx *tx, const char *id,
                                   int64_t expected_version, Product **ret);
static void change_fields(const UpdateProductRequest *in, Product *product);
static enum status change_variants(struct request *rq, struct tx *tx,
                                   const UpdateProductRequest *in, Product *product);
static enum status change_variant(struct request *rq, const ChangedVariant *in, size_t number,
                                  Variant *variant);
static enum status add_variant(struct request *rq, struct tx *tx, const ChangedVariant *in,
                               size_t number, Product *product);
static size_t ask_for_stock(struct request *rq, struct tx *tx, const UpdateProductRequest *in,
                            const Product *before);
static enum status finish(struct request *rq, const char *id, const Product *before,
                          const Product *after, Product *out);
static bool names(const char *const *mask, size_t n, const char *field);

/* Safe to retry: the product's id is made from the request's. */
enum status
catalog_create_product(struct request *rq, const CreateProductRequest *in, Product *out)
{
    Product *product = NULL, *twin;
    enum status st = read_new(rq, in, &product);
    if (st)
        return st;
    product->id = id_derive(rq->arena, "prd", rq->id, NULL);
    note(rq, "product_id", product->id);

    struct tx *tx = tx_begin(rq);
    if (product_load(rq, tx, product->id, &twin) == OK) {
        tx_end(tx);
        for (size_t i = 0; i < twin->n_variants && i < in->n_variants; i++)
            twin->variants[i]->available = in->variants[i]->stock;
        return finish(rq, twin->id, NULL, twin, out);
    }
    st = name_product(rq, tx, in, product);
    if (st == OK)
        st = name_variants(rq, tx, product);
    if (st == OK)
        st = product_fits(rq, product);
    if (st) {
        tx_end(tx);
        return st;
    }
    product_insert(rq, tx, product);
    st = tx_commit(tx);
    return st ? fail_store(rq, st) : finish(rq, product->id, NULL, product, out);
}

enum status
catalog_update_product(struct request *rq, const UpdateProductRequest *in, Product *out)
{
    struct tx *tx = tx_begin(rq);
    Product *before;
    enum status st = load_for_change(rq, tx, in->id, in->expected_version, &before);
    if (st) {
        tx_end(tx);
        return st;
    }
    Product *after = product_copy(rq->arena, before);
    change_fields(in, after);
    if (text_empty(after->title))
        st = fail(rq, &CATALOG_BAD_PRODUCT, "a product has a title");
    if (st == OK)
        st = check_tags(rq, in->tags, in->n_tags);
    if (st == OK)
        st = change_variants(rq, tx, in, after);
    if (st == OK)
        st = product_fits(rq, after);
    if (st) {
        tx_end(tx);
        return st;
    }
    product_save(rq, tx, before, after);
    ask_for_stock(rq, tx, in, before);
    st = tx_commit(tx);
    return st ? fail_store(rq, st) : finish(rq, before->id, before, after, out);
}

enum status
catalog_delete_product(struct request *rq, const DeleteProductRequest *in, Empty *out)
{
    (void)out;
    struct tx *tx = tx_begin(rq);
    Product *product;
    enum status st = load_for_change(rq, tx, in->id, in->expected_version, &product);
    if (st) {
        tx_end(tx);
        return st;
    }
    product_retire(rq, tx, product);
    return fail_store(rq, tx_commit(tx));
}

/* Safe to retry: an image that is there is not added again. */
enum status
catalog_add_image(struct request *rq, const AddImageRequest *in, Product *out)
{
    struct tx *tx = tx_begin(rq);
    Product *before;
    enum status st = load_for_change(rq, tx, in->id, 0, &before);
    if (st == OK && before->n_images >= IMAGES_MAX)
        st = fail(rq, &CATALOG_BAD_PRODUCT, "the product has %zu images, %d at most",
                  before->n_images, IMAGES_MAX);
    Product *after = NULL;
    if (st == OK) {
        after = product_copy(rq->arena, before);
        after->images = arena_alloc(rq->arena, (before->n_images + 1) * sizeof *after->images);
        bool known = false;
        for (size_t i = 0; i < before->n_images; i++) {
            after->images[i] = before->images[i];
            known = known || text_equal(before->images[i]->url, in->url);
        }
        if (!known) {
            Image *image = after->images[after->n_images++] = new_image(rq->arena);
            image->url = in->url;
            image->alt = in->alt;
        }
        st = product_fits(rq, after);
    }
    if (st) {
        tx_end(tx);
        return st;
    }
    product_save(rq, tx, before, after);
    st = tx_commit(tx);
    return st ? fail_store(rq, st) : finish(rq, before->id, before, after, out);
}

/* The product as it was asked for, without its names. */
static enum status
read_new(struct request *rq, const CreateProductRequest *in, Product **ret)
{
    if (text_empty(in->title) || in->n_variants == 0)
        return fail(rq, &CATALOG_BAD_PRODUCT, "a product has a title and at least one variant");
    if (in->n_variants > VARIANTS_MAX)
        return fail(rq, &CATALOG_TOO_MANY_VARIANTS, "%zu variants, %d at most", in->n_variants,
                    VARIANTS_MAX);
    Product *product = new_product(rq->arena);
    product->title = in->title;
    product->description = in->description;
    product->category = in->category;
    product->vendor = in->vendor;
    product->tags = in->tags;
    product->n_tags = in->n_tags;
    product->images = in->images;
    product->n_images = in->n_images;
    product->variants = arena_alloc(rq->arena, in->n_variants * sizeof *product->variants);
    product->n_variants = in->n_variants;
    for (size_t i = 0; i < in->n_variants; i++) {
        const NewVariant *variant = in->variants[i];
        enum status st =
            check_price(rq, variant->price, arena_printf(rq->arena, "/variants/%zu/price", i));
        if (st == OK && variant->compare_at_price)
            st = check_price(rq, variant->compare_at_price,
                             arena_printf(rq->arena, "/variants/%zu/compare_at_price", i));
        if (st)
            return st;
        product->variants[i] = variant_of(rq, variant, in->title);
    }
    *ret = product;
    return check_tags(rq, in->tags, in->n_tags);
}

static Variant *
variant_of(struct request *rq, const NewVariant *in, const char *product_title)
{
    Variant *variant = new_variant(rq->arena);
    variant->sku = in->sku;
    variant->title = text_empty(in->title) ? product_title : in->title;
    variant->price = in->price;
    variant->compare_at_price = in->compare_at_price;
    variant->available = in->stock;
    return variant;
}

static enum status
check_price(struct request *rq, const Money *price, const char *pointer)
{
    const char *currency = setting(rq->node, "currency");
    if (!price) {
        fail_at(rq, pointer, "required", -1, "a variant has a price");
        return fail(rq, &CATALOG_BAD_PRODUCT, "a variant has no price");
    }
    if (text_equal(price->currency, currency))
        return OK;
    fail_at(rq, arena_printf(rq->arena, "%s/currency", pointer), "wrong_currency", -1,
            "the shop sells in %s", currency);
    return fail(rq, &CATALOG_WRONG_CURRENCY, "the shop sells in %s, not in \"%s\"", currency,
                price->currency);
}

/* They are kept one a line. */
static enum status
check_tags(struct request *rq, const char *const *tags, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text_empty(tags[i]) || strchr(tags[i], '\n')) {
            fail_at(rq, arena_printf(rq->arena, "/tags/%zu", i), "bad_tag", -1,
                    "a tag is one line of text");
            return fail(rq, &CATALOG_BAD_PRODUCT, "a tag is empty, or more than one line");
        }
    return OK;
}

/* The handle that was asked for, or one made from the title. */
static enum status
name_product(struct request *rq, struct tx *tx, const CreateProductRequest *in, Product *product)
{
    ProductRow *owner;
    if (!text_empty(in->handle)) {
        product->handle = in->handle;
        if (get_product_by_handle(tx, &owner, .handle = in->handle))
            return OK;
        fail_at(rq, "/handle", "handle_taken", -1, "%s has it", owner->product->id);
        return fail(rq, &CATALOG_HANDLE_TAKEN, "there is a product %s already", in->handle);
    }
    const char *made = slug_make(rq->arena, in->title, HANDLE_CHARS_MAX);
    product->handle = made;
    for (int number = 2; number <= NAMES_TRIED_MAX; number++) {
        if (get_product_by_handle(tx, &owner, .handle = product->handle))
            return OK;
        product->handle = slug_numbered(rq->arena, made, number, HANDLE_CHARS_MAX);
    }
    return fail(rq, &CATALOG_HANDLE_TAKEN, "there are %d products %s already", NAMES_TRIED_MAX,
                made);
}

static enum status
name_variants(struct request *rq, struct tx *tx, Product *product)
{
    for (size_t i = 0; i < product->n_variants; i++) {
        const char *sku = product->variants[i]->sku;
        if (text_empty(sku))
            continue;
        if (variant_by_sku(product, sku) == product->variants[i] && sku_is_free(tx, sku))
            continue;
        fail_at(rq, arena_printf(rq->arena, "/variants/%zu/sku", i), "sku_taken", -1,
                "another variant is %s", sku);
        return fail(rq, &CATALOG_SKU_TAKEN, "there is a variant %s already", sku);
    }
    for (size_t i = 0; i < product->n_variants; i++) {
        Variant *variant = product->variants[i];
        bool is_default = text_equal(variant->title, product->title);
        if (text_empty(variant->sku))
            variant->sku =
                free_sku(rq, tx, product,
                         sku_make(rq->arena, product->handle, is_default ? "" : variant->title));
        if (!variant->sku)
            return fail(rq, &CATALOG_SKU_TAKEN, "variant %zu needs a sku of its own", i);
    }
    return OK;
}

/* made, or a numbered one where that is taken; NULL if too many are. */
static const char *
free_sku(struct request *rq, struct tx *tx, const Product *product, const char *made)
{
    const char *sku = made;
    for (int number = 2; number <= NAMES_TRIED_MAX; number++) {
        if (!variant_by_sku(product, sku) && sku_is_free(tx, sku))
            return sku;
        sku = slug_numbered(rq->arena, made, number, SKU_CHARS_MAX);
    }
    return NULL;
}

static enum status
load_for_change(struct request *rq, struct tx *tx, const char *id, int64_t expected_version,
                Product **ret)
{
    enum status st = product_load(rq, tx, id, ret);
    if (st == NOT_FOUND)
        return fail(rq, &CATALOG_NO_SUCH_PRODUCT, "there is no product %s", id);
    if (st)
        return fail_store(rq, st);
    note(rq, "product_id", (*ret)->id);
    if (expected_version && expected_version != (*ret)->version)
        return fail(rq, &CATALOG_VERSION_MISMATCH, "the product is at version %lld, not %lld",
                    (long long)(*ret)->version, (long long)expected_version);
    return OK;
}

static void
change_fields(const UpdateProductRequest *in, Product *product)
{
    const char *const *mask = in->update_mask;
    size_t n = in->n_update_mask;
    if (names(mask, n, "title")) {
        /* A variant without options of its own goes by the product's title. */
        for (size_t i = 0; i < product->n_variants; i++)
            if (text_equal(product->variants[i]->title, product->title))
                product->variants[i]->title = in->title;
        product->title = in->title;
    }
    if (names(mask, n, "description"))
        product->description = in->description;
    if (names(mask, n, "category"))
        product->category = in->category;
    if (names(mask, n, "vendor"))
        product->vendor = in->vendor;
    if (names(mask, n, "tags")) {
        product->tags = in->tags;
        product->n_tags = in->n_tags;
    }
    if (names(mask, n, "images")) {
        product->images = in->images;
        product->n_images = in->n_images;
    }
}

static enum status
change_variants(struct request *rq, struct tx *tx, const UpdateProductRequest *in, Product *product)
{
    if (!names(in->update_mask, in->n_update_mask, "variants"))
        return OK;
    Variant **room = arena_alloc(rq->arena, (product->n_variants + in->n_variants) * sizeof *room);
    memcpy(room, product->variants, product->n_variants * sizeof *room);
    product->variants = room;
    enum status st = OK;
    for (size_t i = 0; i < in->n_variants && st == OK; i++) {
        Variant *known = NULL;
        for (size_t j = 0; j < product->n_variants; j++)
            if (text_equal(product->variants[j]->sku, in->variants[i]->sku))
                known = product->variants[j];
        st = known ? change_variant(rq, in->variants[i], i, known)
                   : add_variant(rq, tx, in->variants[i], i, product);
    }
    return st;
}

static enum status
change_variant(struct request *rq, const ChangedVariant *in, size_t number, Variant *variant)
{
    const char *const *mask = in->update_mask;
    size_t n = in->n_update_mask;
    if (names(mask, n, "title") && !text_empty(in->title))
        variant->title = in->title;
    if (names(mask, n, "price")) {
        enum status st =
            check_price(rq, in->price, arena_printf(rq->arena, "/variants/%zu/price", number));
        if (st)
            return st;
        variant->price = in->price;
    }
    if (names(mask, n, "compare_at_price")) {
        const char *pointer = arena_printf(rq->arena, "/variants/%zu/compare_at_price", number);
        enum status st = in->compare_at_price ? check_price(rq, in->compare_at_price, pointer) : OK;
        if (st)
            return st;
        variant->compare_at_price = in->compare_at_price;
    }
    return OK;
}

static enum status
add_variant(struct request *rq, struct tx *tx, const ChangedVariant *in, size_t number,
            Product *product)
{
    if (product->n_variants >= VARIANTS_MAX)
        return fail(rq, &CATALOG_TOO_MANY_VARIANTS, "%d variants at most", VARIANTS_MAX);
    if (!sku_is_free(tx, in->sku)) {
        fail_at(rq, arena_printf(rq->arena, "/variants/%zu/sku", number), "sku_taken", -1,
                "another product's variant is %s", in->sku);
        return fail(rq, &CATALOG_SKU_TAKEN, "there is a variant %s already", in->sku);
    }
    Variant *variant = new_variant(rq->arena);
    variant->sku = in->sku;
    variant->title = text_empty(in->title) ? product->title : in->title;
    variant->available = in->stock;
    /* Without a price it is nothing that could be sold: a field left out is no excuse here. */
    ChangedVariant whole = *in;
    static const char *all[] = {"price", "compare_at_price"};
    whole.update_mask = all;
    whole.n_update_mask = sizeof all / sizeof all[0];
    enum status st = change_variant(rq, &whole, number, variant);
    if (st == OK)
        product->variants[product->n_variants++] = variant;
    return st;
}

/* Requests to inventory; of a variant that is new, the stock is its first one instead. */
static size_t
ask_for_stock(struct request *rq, struct tx *tx, const UpdateProductRequest *in,
              const Product *before)
{
    size_t asked = 0;
    if (!names(in->update_mask, in->n_update_mask, "variants"))
        return 0;
    for (size_t i = 0; i < in->n_variants; i++) {
        const ChangedVariant *variant = in->variants[i];
        if (variant_by_sku(before, variant->sku) &&
            names(variant->update_mask, variant->n_update_mask, "stock")) {
            publish_product_stock_updated(rq, tx, .sku = variant->sku, .on_hand = variant->stock);
            asked++;
        }
    }
    return asked;
}

/* Makes the stock of what after has and before (or NULL) had not, and answers with the product. */
static enum status
finish(struct request *rq, const char *id, const Product *before, const Product *after,
       Product *out)
{
    struct item_list items = {0};
    items_add_new(rq->arena, &items, before, after);
    enum status st = items_create(rq, &items);
    if (st)
        return st;
    struct tx *tx = tx_begin_read(rq);
    Product *product;
    st = product_load(rq, tx, id, &product);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    *out = *product;
    return OK;
}

static bool
names(const char *const *mask, size_t n, const char *field)
{
    for (size_t i = 0; i < n; i++)
        if (text_equal(mask[i], field))
            return true;
    return false;
}
