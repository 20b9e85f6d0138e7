/* Products as rows: read as a whole, written as what changed. */
#pragma once
#include "catalog.impl.h"
#include "inventory.api.h"

/* With its variants, images and what is available; NOT_FOUND (which fails nothing) if there is none
 * on sale. */
enum status product_load(struct request *rq, struct tx *tx, const char *id_or_handle,
                         Product **ret);

/* A copy whose fields can be set without changing the other; what they point at is shared. */
Product *product_copy(struct arena *a, const Product *product);

/* Fails with PRODUCT_TOO_LARGE what would not fit into an event. */
enum status product_fits(struct request *rq, const Product *product);

/* Writes a new product and publishes NewProductAdded.  What is available of each variant must be
 * its first stock. */
void product_insert(struct request *rq, struct tx *tx, Product *product);

/*
 * Writes what differs between before and after, and publishes ProductUpdated; false, and nothing
 * done, if nothing differs.  Variants are matched by sku; new ones stand behind those of before,
 * with their first stock; none may be missing.
 */
bool product_save(struct request *rq, struct tx *tx, const Product *before, Product *after);

/* Takes it off sale and publishes ProductUpdated. */
void product_retire(struct request *rq, struct tx *tx, const Product *product);

/* A row's tags, one a line. */
void product_tags_split(struct arena *a, Product *product, const char *lines);

const Variant *variant_by_sku(const Product *product, const char *sku);

/* Items for inventory to make. */
struct item_list {
    NewItem **items;
    size_t n, room;
};

/* Adds the variants of after that before (which may be NULL) has not. */
void items_add_new(struct arena *a, struct item_list *list, const Product *before,
                   const Product *after);

/* Has inventory make the items, and shows their stock at once: the same that its events say. */
enum status items_create(struct request *rq, const struct item_list *list);

/* Whether nobody's variant has this sku. */
bool sku_is_free(struct tx *tx, const char *sku);
