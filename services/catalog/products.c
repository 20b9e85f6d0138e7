#include "catalog/products.h"

#include "catalog/words.h"

enum {
    PRODUCT_BYTES_MAX = EVENT_BYTES_MAX - 4096, /* so that its events fit too */
    CHANGES_MAX = 7,
    ITEMS_PER_CALL = 500,
};

static bool same_money(const Money *one, const Money *other);
static bool same_variant(const Variant *one, const Variant *other);
static bool same_variants(const Product *before, const Product *after);
static bool same_tags(const Product *before, const Product *after);
static bool same_images(const Product *before, const Product *after);
static void write_variant(struct tx *tx, const Product *product, size_t position, bool is_new);
static void write_images(struct tx *tx, const Product *product);
static const char *tag_lines(struct arena *a, const Product *product);
static const char *search_text(struct arena *a, const Product *product);
static enum status create_some(struct request *rq, NewItem **items, size_t n);

enum status
product_load(struct request *rq, struct tx *tx, const char *id_or_handle, Product **ret)
{
    ProductRow *row;
    enum status st = id_valid("prd", id_or_handle)
                         ? get_product(tx, &row, .id = id_or_handle)
                         : get_product_by_handle(tx, &row, .handle = id_or_handle);
    if (st)
        return st;
    Product *product = row->product;
    product_tags_split(rq->arena, product, row->tags);
    st = list_variants(tx, &product->variants, &product->n_variants, .product_id = product->id);
    if (st == OK)
        st = list_images(tx, &product->images, &product->n_images, .product_id = product->id);
    if (st == OK)
        *ret = product;
    return st;
}

Product *
product_copy(struct arena *a, const Product *product)
{
    Product *copy = new_product(a);
    *copy = *product;
    copy->variants = arena_alloc(a, product->n_variants * sizeof *copy->variants);
    for (size_t i = 0; i < product->n_variants; i++) {
        copy->variants[i] = new_variant(a);
        *copy->variants[i] = *product->variants[i];
    }
    return copy;
}

enum status
product_fits(struct request *rq, const Product *product)
{
    size_t size = protobuf_c_message_get_packed_size(&product->base);
    if (size <= PRODUCT_BYTES_MAX)
        return OK;
    return fail(rq, &CATALOG_PRODUCT_TOO_LARGE, "the product takes %zu bytes, %d at most", size,
                PRODUCT_BYTES_MAX);
}

void
product_insert(struct request *rq, struct tx *tx, Product *product)
{
    product->version = 1;
    product->created_at_us = product->updated_at_us = rq->now_us;
    insert_product(tx, .id = product->id, .handle = product->handle, .title = product->title,
                   .description = product->description, .category = product->category,
                   .vendor = product->vendor, .tags = tag_lines(rq->arena, product),
                   .search = search_text(rq->arena, product), .now_us = rq->now_us);
    for (size_t i = 0; i < product->n_variants; i++)
        write_variant(tx, product, i, true);
    write_images(tx, product);
    publish_new_product_added(rq, tx, .product_id = product->id, .product = product);
}

bool
product_save(struct request *rq, struct tx *tx, const Product *before, Product *after)
{
    const char *changed[CHANGES_MAX];
    size_t n = 0;
    bool variants = !same_variants(before, after), images = !same_images(before, after);
    if (!text_equal(before->title, after->title))
        changed[n++] = "title";
    if (!text_equal(before->description, after->description))
        changed[n++] = "description";
    if (!text_equal(before->category, after->category))
        changed[n++] = "category";
    if (!text_equal(before->vendor, after->vendor))
        changed[n++] = "vendor";
    if (!same_tags(before, after))
        changed[n++] = "tags";
    if (images)
        changed[n++] = "images";
    if (variants)
        changed[n++] = "variants";
    if (n == 0)
        return false;

    after->version = before->version + 1;
    after->updated_at_us = rq->now_us;
    update_product(tx, .id = after->id, .title = after->title, .description = after->description,
                   .category = after->category, .vendor = after->vendor,
                   .tags = tag_lines(rq->arena, after), .search = search_text(rq->arena, after),
                   .version = after->version, .now_us = rq->now_us);
    for (size_t i = 0; variants && i < after->n_variants; i++) {
        const Variant *old = variant_by_sku(before, after->variants[i]->sku);
        if (!old || !same_variant(old, after->variants[i]))
            write_variant(tx, after, i, !old);
    }
    if (images) {
        delete_images(tx, .product_id = after->id);
        write_images(tx, after);
    }
    publish_product_updated(rq, tx, .product_id = after->id, .version = after->version,
                            .changed_fields = changed, .n_changed_fields = n, .product = after);
    return true;
}

void
product_retire(struct request *rq, struct tx *tx, const Product *product)
{
    static const char *deleted[] = {"deleted"};
    Product *after = product_copy(rq->arena, product);
    after->version++;
    after->updated_at_us = rq->now_us;
    delete_variants(tx, .product_id = product->id);
    delete_images(tx, .product_id = product->id);
    retire_product(tx, .id = product->id, .version = after->version, .now_us = rq->now_us);
    publish_product_updated(rq, tx, .product_id = after->id, .version = after->version,
                            .changed_fields = deleted, .n_changed_fields = 1, .product = after);
}

const Variant *
variant_by_sku(const Product *product, const char *sku)
{
    for (size_t i = 0; i < product->n_variants; i++)
        if (strcmp(product->variants[i]->sku, sku) == 0)
            return product->variants[i];
    return NULL;
}

void
items_add_new(struct arena *a, struct item_list *list, const Product *before, const Product *after)
{
    for (size_t i = 0; i < after->n_variants; i++) {
        const Variant *variant = after->variants[i];
        if (before && variant_by_sku(before, variant->sku))
            continue;
        if (list->n == list->room) {
            list->room = list->room ? 2 * list->room : 16;
            NewItem **items = arena_alloc(a, list->room * sizeof *items);
            if (list->n)
                memcpy(items, list->items, list->n * sizeof *items);
            list->items = items;
        }
        NewItem *item = list->items[list->n++] = new_new_item(a);
        item->sku = variant->sku;
        item->on_hand = variant->available;
    }
}

enum status
items_create(struct request *rq, const struct item_list *list)
{
    enum status st = OK;
    for (size_t i = 0; i < list->n && st == OK; i += ITEMS_PER_CALL) {
        size_t rest = list->n - i;
        st = create_some(rq, list->items + i, rest < ITEMS_PER_CALL ? rest : ITEMS_PER_CALL);
    }
    return st;
}

void
product_tags_split(struct arena *a, Product *product, const char *lines)
{
    size_t most = 1;
    for (const char *p = lines; *p; p++)
        most += *p == '\n';
    const char **tags = arena_alloc(a, most * sizeof *tags);
    for (const char *p = lines; *p; p += *p == '\n') {
        size_t length = strcspn(p, "\n");
        tags[product->n_tags++] = arena_strndup(a, p, length);
        p += length;
    }
    product->tags = tags;
}

bool
sku_is_free(struct tx *tx, const char *sku)
{
    SkuOwner *owner;
    return sku_owner(tx, &owner, .sku = sku) == NOT_FOUND;
}

/* The event that inventory published with it says the same, so that a replay of the journal leaves
 * the same rows. */
static enum status
create_some(struct request *rq, NewItem **items, size_t n)
{
    CreateItemsResponse *made;
    enum status st = call_inventory_create_items(rq, &made, .items = items, .n_items = n);
    if (st)
        return st;
    struct tx *tx = tx_begin(rq);
    for (size_t i = 0; i < made->n_stocks; i++)
        show_stock(tx, .sku = made->stocks[i]->sku, .available = made->stocks[i]->available,
                   .version = made->stocks[i]->version);
    return fail_store(rq, tx_commit(tx));
}

static bool
same_money(const Money *one, const Money *other)
{
    if (!one || !other)
        return one == other;
    return one->amount == other->amount && strcmp(one->currency, other->currency) == 0;
}

static bool
same_variant(const Variant *one, const Variant *other)
{
    return strcmp(one->title, other->title) == 0 && same_money(one->price, other->price) &&
           same_money(one->compare_at_price, other->compare_at_price);
}

static bool
same_variants(const Product *before, const Product *after)
{
    if (before->n_variants != after->n_variants)
        return false;
    for (size_t i = 0; i < after->n_variants; i++) {
        const Variant *old = variant_by_sku(before, after->variants[i]->sku);
        if (!old || !same_variant(old, after->variants[i]))
            return false;
    }
    return true;
}

static bool
same_tags(const Product *before, const Product *after)
{
    if (before->n_tags != after->n_tags)
        return false;
    for (size_t i = 0; i < after->n_tags; i++)
        if (!text_equal(before->tags[i], after->tags[i]))
            return false;
    return true;
}

static bool
same_images(const Product *before, const Product *after)
{
    if (before->n_images != after->n_images)
        return false;
    for (size_t i = 0; i < after->n_images; i++)
        if (!text_equal(before->images[i]->url, after->images[i]->url) ||
            !text_equal(before->images[i]->alt, after->images[i]->alt))
            return false;
    return true;
}

static void
write_variant(struct tx *tx, const Product *product, size_t position, bool is_new)
{
    const Variant *variant = product->variants[position];
    if (is_new)
        insert_variant(tx, .sku = variant->sku, .product_id = product->id,
                       .position = (int64_t)position, .title = variant->title,
                       .price_minor = variant->price->amount, .currency = variant->price->currency);
    else
        update_variant(tx, .sku = variant->sku, .title = variant->title,
                       .price_minor = variant->price->amount, .currency = variant->price->currency);
    if (variant->compare_at_price)
        set_compare_at(tx, .sku = variant->sku,
                       .compare_at_minor = variant->compare_at_price->amount);
}

static void
write_images(struct tx *tx, const Product *product)
{
    for (size_t i = 0; i < product->n_images; i++)
        insert_image(tx, .product_id = product->id, .position = (int64_t)i,
                     .url = product->images[i]->url, .alt = product->images[i]->alt);
}

static const char *
tag_lines(struct arena *a, const Product *product)
{
    struct text lines = text_in(a);
    text_add(&lines, "");
    for (size_t i = 0; i < product->n_tags; i++) {
        if (i)
            text_add_char(&lines, '\n');
        text_add(&lines, product->tags[i]);
    }
    return lines.bytes;
}

static const char *
search_text(struct arena *a, const Product *product)
{
    return text_fold(a, arena_printf(a, "%s\n%s\n%s\n%s", product->title, product->category,
                                     product->vendor, tag_lines(a, product)));
}
