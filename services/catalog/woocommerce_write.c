#include "base/money.h"
#include "catalog/csv_list.h"
#include "catalog/csv_write.h"
#include "catalog/woocommerce.h"
#include "catalog/woocommerce_cells.h"

enum column {
    COLUMN_TYPE,
    COLUMN_SKU,
    COLUMN_NAME,
    COLUMN_PUBLISHED,
    COLUMN_VISIBILITY,
    COLUMN_TEXT,
    COLUMN_IN_STOCK,
    COLUMN_STOCK,
    COLUMN_BACKORDERS,
    COLUMN_SALE_PRICE,
    COLUMN_PRICE,
    COLUMN_CATEGORIES,
    COLUMN_TAGS,
    COLUMN_IMAGES,
    COLUMN_PARENT,
    COLUMN_POSITION,
    COLUMN_BRANDS,
    COLUMN_HANDLE,
    COLUMN_ALTS,
    COLUMN_ATTRIBUTE_1, /* name, values, visible and global of each of three */
    COLUMNS = COLUMN_ATTRIBUTE_1 + 4 * OPTIONS_MAX,
};

static const char *const header[COLUMNS] = {
    "Type",
    "SKU",
    "Name",
    "Published",
    "Visibility in catalog",
    "Description",
    "In stock?",
    "Stock",
    "Backorders allowed?",
    "Sale price",
    "Regular price",
    "Categories",
    "Tags",
    "Images",
    "Parent",
    "Position",
    "Brands",
    "Meta: souk_handle",
    "Meta: souk_image_alts",
    "Attribute 1 name",
    "Attribute 1 value(s)",
    "Attribute 1 visible",
    "Attribute 1 global",
    "Attribute 2 name",
    "Attribute 2 value(s)",
    "Attribute 2 visible",
    "Attribute 2 global",
    "Attribute 3 name",
    "Attribute 3 value(s)",
    "Attribute 3 visible",
    "Attribute 3 global",
};

static void write_row(struct text *t, const char **cells);
static void set_product(struct arena *a, const Product *product, const char **cells);
static void set_variant(struct arena *a, const Variant *variant, const char **cells);
static const char *one(struct arena *a, const char *item);
static const char *all_values(struct arena *a, const Product *product, size_t options, size_t at);

void
woocommerce_write_header(struct text *t)
{
    csv_write_row(t, header, COLUMNS);
}

/* A simple product is one row; any other is a row for the product and one for each variant. */
void
woocommerce_write(struct text *t, const Product *product, const char *parent_sku)
{
    struct arena *a = t->arena;
    size_t options = options_count(product);
    bool simple = product->n_variants == 1 && options == 0;
    const char *head[COLUMNS] = {
        [COLUMN_TYPE] = simple ? "simple" : "variable", [COLUMN_SKU] = parent_sku};
    set_product(a, product, head);
    if (simple)
        set_variant(a, product->variants[0], head);
    for (size_t i = 0; i < options; i++) {
        const char **attribute = head + COLUMN_ATTRIBUTE_1 + 4 * i;
        attribute[0] = arena_printf(a, "Option %zu", i + 1);
        attribute[1] = all_values(a, product, options, i);
        attribute[2] = "1";
        attribute[3] = "0";
    }
    write_row(t, head);
    for (size_t i = 0; !simple && i < product->n_variants; i++) {
        const Variant *variant = product->variants[i];
        const char *values[OPTIONS_MAX];
        const char *cells[COLUMNS] = {[COLUMN_TYPE] = "variation",
                                      [COLUMN_PARENT] = parent_sku,
                                      [COLUMN_PUBLISHED] = "1",
                                      [COLUMN_VISIBILITY] = "visible"};
        cells[COLUMN_NAME] = arena_printf(a, "%s - %s", product->title, variant->title);
        cells[COLUMN_POSITION] = arena_printf(a, "%zu", i + 1);
        set_variant(a, variant, cells);
        options_of_variant(a, product, variant, options, values);
        for (size_t j = 0; j < options; j++) {
            const char **attribute = cells + COLUMN_ATTRIBUTE_1 + 4 * j;
            attribute[0] = arena_printf(a, "Option %zu", j + 1);
            attribute[1] = one(a, values[j]);
            attribute[3] = "0";
        }
        write_row(t, cells);
    }
}

static void
write_row(struct text *t, const char **cells)
{
    for (size_t i = 0; i < COLUMNS; i++)
        if (cells[i])
            cells[i] = woo_escape(t->arena, cells[i]);
    csv_write_row(t, cells, COLUMNS);
}

static void
set_product(struct arena *a, const Product *product, const char **cells)
{
    struct text tags = text_in(a), images = text_in(a), alts = text_in(a);
    text_add(&tags, "");
    text_add(&images, "");
    text_add(&alts, "");
    bool any_alt = false;
    for (size_t i = 0; i < product->n_tags; i++)
        csv_list_add(&tags, i, product->tags[i]);
    for (size_t i = 0; i < product->n_images; i++) {
        csv_list_add(&images, i, product->images[i]->url);
        csv_list_add(&alts, i, product->images[i]->alt);
        any_alt = any_alt || !text_empty(product->images[i]->alt);
    }
    cells[COLUMN_NAME] = product->title;
    cells[COLUMN_PUBLISHED] = "1";
    cells[COLUMN_VISIBILITY] = "visible";
    cells[COLUMN_TEXT] = woo_text_encode(a, product->description);
    cells[COLUMN_CATEGORIES] = one(a, product->category);
    cells[COLUMN_TAGS] = tags.bytes;
    cells[COLUMN_IMAGES] = images.bytes;
    cells[COLUMN_BRANDS] = one(a, product->vendor);
    cells[COLUMN_HANDLE] = product->handle;
    cells[COLUMN_ALTS] = any_alt ? alts.bytes : "";
}

static void
set_variant(struct arena *a, const Variant *variant, const char **cells)
{
    const Money *price = variant->price, *compare_at = variant->compare_at_price;
    const Money *regular = compare_at ? compare_at : price;
    cells[COLUMN_SKU] = variant->sku;
    cells[COLUMN_IN_STOCK] = variant->available > 0 ? "1" : "0";
    cells[COLUMN_STOCK] = arena_printf(a, "%lld", (long long)variant->available);
    cells[COLUMN_BACKORDERS] = "0";
    cells[COLUMN_PRICE] = money_format(a, regular->amount, regular->currency);
    if (compare_at)
        cells[COLUMN_SALE_PRICE] = money_format(a, price->amount, price->currency);
}

/* A list of one item. */
static const char *
one(struct arena *a, const char *item)
{
    struct text list = text_in(a);
    text_add(&list, "");
    csv_list_add(&list, 0, item ? item : "");
    return list.bytes;
}

/* What the variants have at one place of their options, each value once. */
static const char *
all_values(struct arena *a, const Product *product, size_t options, size_t at)
{
    const char **seen = arena_alloc(a, product->n_variants * sizeof *seen);
    size_t n = 0;
    struct text list = text_in(a);
    text_add(&list, "");
    for (size_t i = 0; i < product->n_variants; i++) {
        const char *values[OPTIONS_MAX];
        options_of_variant(a, product, product->variants[i], options, values);
        bool known = values[at][0] == '\0';
        for (size_t j = 0; j < n; j++)
            known = known || strcmp(seen[j], values[at]) == 0;
        if (!known) {
            csv_list_add(&list, n, values[at]);
            seen[n++] = values[at];
        }
    }
    return list.bytes;
}
