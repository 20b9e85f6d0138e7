#include "base/money.h"
#include "catalog/csv_list.h"
#include "catalog/csv_write.h"
#include "catalog/shopify.h"

enum column {
    COLUMN_HANDLE,
    COLUMN_TITLE,
    COLUMN_BODY,
    COLUMN_VENDOR,
    COLUMN_TYPE,
    COLUMN_TAGS,
    COLUMN_PUBLISHED,
    COLUMN_OPTION_1, /* name and value of each of three */
    COLUMN_SKU = COLUMN_OPTION_1 + 2 * OPTIONS_MAX,
    COLUMN_TRACKER,
    COLUMN_QUANTITY,
    COLUMN_POLICY,
    COLUMN_FULFILLMENT,
    COLUMN_PRICE,
    COLUMN_COMPARE_AT,
    COLUMN_SHIPPING,
    COLUMN_TAXABLE,
    COLUMN_IMAGE,
    COLUMN_IMAGE_POSITION,
    COLUMN_IMAGE_ALT,
    COLUMN_STATUS,
    COLUMNS,
};

static const char *const header[COLUMNS] = {
    "Handle",
    "Title",
    "Body (HTML)",
    "Vendor",
    "Type",
    "Tags",
    "Published",
    "Option1 Name",
    "Option1 Value",
    "Option2 Name",
    "Option2 Value",
    "Option3 Name",
    "Option3 Value",
    "Variant SKU",
    "Variant Inventory Tracker",
    "Variant Inventory Qty",
    "Variant Inventory Policy",
    "Variant Fulfillment Service",
    "Variant Price",
    "Variant Compare At Price",
    "Variant Requires Shipping",
    "Variant Taxable",
    "Image Src",
    "Image Position",
    "Image Alt Text",
    "Status",
};

static void set_product(struct arena *a, const Product *product, const char **cells);
static void set_variant(struct arena *a, const Product *product, size_t number, size_t options,
                        const char **cells);

void
shopify_write_header(struct text *t)
{
    csv_write_row(t, header, COLUMNS);
}

/* A row has a variant, an image, or one of each. */
void
shopify_write(struct text *t, const Product *product, const char *parent_sku)
{
    (void)parent_sku;
    struct arena *a = t->arena;
    size_t rows = product->n_variants > product->n_images ? product->n_variants : product->n_images;
    size_t options = options_count(product);
    for (size_t i = 0; i < rows; i++) {
        const char *cells[COLUMNS] = {[COLUMN_HANDLE] = product->handle};
        if (i == 0)
            set_product(a, product, cells);
        if (i < product->n_variants)
            set_variant(a, product, i, options, cells);
        if (i < product->n_images) {
            cells[COLUMN_IMAGE] = product->images[i]->url;
            cells[COLUMN_IMAGE_POSITION] = arena_printf(a, "%zu", i + 1);
            cells[COLUMN_IMAGE_ALT] = product->images[i]->alt;
        }
        csv_write_row(t, cells, COLUMNS);
    }
}

static void
set_product(struct arena *a, const Product *product, const char **cells)
{
    cells[COLUMN_TITLE] = product->title;
    cells[COLUMN_BODY] = product->description;
    cells[COLUMN_VENDOR] = product->vendor;
    cells[COLUMN_TYPE] = product->category;
    cells[COLUMN_PUBLISHED] = "true";
    cells[COLUMN_STATUS] = "active";
    struct text tags = text_in(a);
    text_add(&tags, "");
    for (size_t i = 0; i < product->n_tags; i++)
        csv_list_add(&tags, i, product->tags[i]);
    cells[COLUMN_TAGS] = tags.bytes;
}

/* Shopify's own name for having no options is "Title", "Default Title". */
static void
set_variant(struct arena *a, const Product *product, size_t number, size_t options,
            const char **cells)
{
    const Variant *variant = product->variants[number];
    const char *values[OPTIONS_MAX];
    options_of_variant(a, product, variant, options, values);
    bool is_default = values[0][0] == '\0';
    for (size_t i = 0; i < (options ? options : 1); i++) {
        if (number == 0)
            cells[COLUMN_OPTION_1 + 2 * i] =
                options ? arena_printf(a, "Option %zu", i + 1) : "Title";
        cells[COLUMN_OPTION_1 + 2 * i + 1] = is_default && i == 0 ? "Default Title" : values[i];
    }
    cells[COLUMN_SKU] = variant->sku;
    cells[COLUMN_TRACKER] = "shopify";
    cells[COLUMN_QUANTITY] = arena_printf(a, "%lld", (long long)variant->available);
    cells[COLUMN_POLICY] = "deny";
    cells[COLUMN_FULFILLMENT] = "manual";
    cells[COLUMN_PRICE] = money_format(a, variant->price->amount, variant->price->currency);
    if (variant->compare_at_price)
        cells[COLUMN_COMPARE_AT] =
            money_format(a, variant->compare_at_price->amount, variant->compare_at_price->currency);
    cells[COLUMN_SHIPPING] = cells[COLUMN_TAXABLE] = "true";
}
