#include "catalog/product_file.h"

#include <stdlib.h>

#include "base/money.h"
#include "catalog/words.h"

enum {
    TITLE_CHARS_MAX = 300, /* as in the proto */
    DESCRIPTION_CHARS_MAX = 50000,
    NAME_CHARS_MAX = 200, /* of a vendor, a category, a variant */
    TAG_CHARS_MAX = 100,
    ALT_CHARS_MAX = 1000,
    URL_CHARS_MAX = 2000,
};

static int products_by_line(const void *a, const void *b);
static int skips_by_line(const void *a, const void *b);
static const char *read_prices(struct file_reading *r, const struct variant_cells *cells,
                               Variant *variant);
static const char *read_quantity(struct arena *a, const char *quantity, Variant *variant);
static const char *repeats(struct arena *a, const struct file_product *product,
                           const Variant *variant);

void
file_skip(struct arena *a, struct product_file *file, int64_t line, const char *reason)
{
    size_t n = file->n_skipped;
    if ((n & (n - 1)) == 0) { /* no room where n is a power of two */
        struct file_skip *more = arena_alloc(a, (n ? 2 * n : 1) * sizeof *more);
        if (n)
            memcpy(more, file->skipped, n * sizeof *more);
        file->skipped = more;
    }
    file->skipped[file->n_skipped++] = (struct file_skip){line, reason};
}

void
file_sort(struct product_file *file)
{
    if (file->n_products)
        qsort(file->products, file->n_products, sizeof *file->products, products_by_line);
    if (file->n_skipped)
        qsort(file->skipped, file->n_skipped, sizeof *file->skipped, skips_by_line);
}

const char *
file_plain(struct arena *a, const char *cell)
{
    if (cell[0] == '\0')
        return "";
    char *copy = arena_strdup(a, cell);
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = ' ';
    char *end = copy + strlen(copy);
    while (end > copy && end[-1] == ' ')
        *--end = '\0';
    return copy + strspn(copy, " ");
}

const char *
file_product_fault(struct arena *a, const Product *product)
{
    const struct {
        const char *name, *text;
        size_t max;
    } texts[] = {
        {"title", product->title, TITLE_CHARS_MAX},
        {"description", product->description, DESCRIPTION_CHARS_MAX},
        {"vendor", product->vendor, NAME_CHARS_MAX},
        {"type", product->category, NAME_CHARS_MAX},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (utf8_length(texts[i].text) > texts[i].max)
            return arena_printf(a, "its product's %s is longer than %zu characters", texts[i].name,
                                texts[i].max);
    if (product->n_tags > TAGS_MAX)
        return arena_printf(a, "its product has more than %d tags", TAGS_MAX);
    for (size_t i = 0; i < product->n_tags; i++)
        if (utf8_length(product->tags[i]) > TAG_CHARS_MAX)
            return arena_printf(a, "a tag of its product is longer than %d characters",
                                TAG_CHARS_MAX);
    return NULL;
}

const char *
file_add_variant(struct file_reading *r, struct file_product *product,
                 const struct variant_cells *cells)
{
    struct arena *a = r->arena;
    if (product->n_variants == VARIANTS_MAX)
        return arena_printf(a, "its product has more than %d variants", VARIANTS_MAX);
    Variant *variant = new_variant(a);
    variant->title = cells->options[0] ? cells->options : product->product->title;
    if (utf8_length(cells->options) > NAME_CHARS_MAX)
        return arena_printf(a, "its options are longer than %d characters", NAME_CHARS_MAX);
    variant->sku = slug_keep(a, cells->sku, SKU_CHARS_MAX);
    const char *fault = read_prices(r, cells, variant);
    if (!fault)
        fault = read_quantity(a, cells->quantity, variant);
    if (!fault)
        fault = repeats(a, product, variant);
    if (fault)
        return fault;
    product->variants[product->n_variants++] =
        (struct file_variant){variant, cells->line, variant->sku[0] == '\0'};
    return NULL;
}

void
file_make_skus(struct arena *a, struct file_product *product)
{
    for (size_t i = 0; i < product->n_variants; i++) {
        struct file_variant *mine = &product->variants[i];
        if (!mine->made_sku)
            continue;
        bool is_default = strcmp(mine->variant->title, product->product->title) == 0;
        const char *made =
            sku_make(a, product->product->handle, is_default ? "" : mine->variant->title);
        const char *sku = made;
        int number = 1;
        for (size_t j = 0; j < product->n_variants; j++)
            if (j != i && strcmp(product->variants[j].variant->sku, sku) == 0) {
                sku = slug_numbered(a, made, ++number, SKU_CHARS_MAX);
                j = (size_t)-1; /* look again from the first */
            }
        mine->variant->sku = sku;
    }
}

const char *
file_add_image(struct arena *a, struct image_list *list, const char *url, const char *alt,
               const char *position)
{
    if (!text_starts(url, "https://") && !text_starts(url, "http://"))
        return "its image is no http address: left out";
    if (strlen(url) > URL_CHARS_MAX || utf8_length(alt) > ALT_CHARS_MAX)
        return "its image's address or text is too long: left out";
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->images[i].image->url, url) == 0)
            return NULL;
    if (list->n == IMAGES_MAX)
        return arena_printf(a, "its product has more than %d images: left out", IMAGES_MAX);
    Image *image = new_image(a);
    image->url = url;
    image->alt = alt;
    int64_t place = list->n ? list->images[list->n - 1].position : 0;
    int_parse(position, &place);
    list->images[list->n++] = (struct placed_image){image, place};
    return NULL;
}

void
file_take_images(struct arena *a, Product *product, const struct image_list *list)
{
    struct placed_image *sorted = arena_alloc(a, list->n * sizeof *sorted);
    product->images = arena_alloc(a, list->n * sizeof *product->images);
    for (size_t i = 0; i < list->n; i++) {
        size_t at = i;
        for (; at && sorted[at - 1].position > list->images[i].position; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = list->images[i];
    }
    for (size_t i = 0; i < list->n; i++)
        product->images[i] = sorted[i].image;
    product->n_images = list->n;
}

static int
products_by_line(const void *a, const void *b)
{
    const struct file_product *one = a, *other = b;
    return (one->line > other->line) - (one->line < other->line);
}

static int
skips_by_line(const void *a, const void *b)
{
    const struct file_skip *one = a, *other = b;
    return (one->line > other->line) - (one->line < other->line);
}

static const char *
read_prices(struct file_reading *r, const struct variant_cells *cells, Variant *variant)
{
    if (cells->price[0] == '\0')
        return "no price";
    variant->price = new_money(r->arena);
    variant->price->currency = r->currency;
    if (!money_parse(cells->price, r->currency, &variant->price->amount))
        return arena_printf(r->arena, "its price \"%.20s\" is no amount in %s", cells->price,
                            r->currency);
    if (cells->compare_at[0] == '\0')
        return NULL;
    variant->compare_at_price = new_money(r->arena);
    variant->compare_at_price->currency = r->currency;
    if (!money_parse(cells->compare_at, r->currency, &variant->compare_at_price->amount))
        return arena_printf(r->arena, "its compare-at price \"%.20s\" is no amount in %s",
                            cells->compare_at, r->currency);
    return NULL;
}

static const char *
read_quantity(struct arena *a, const char *quantity, Variant *variant)
{
    if (quantity[0] && !int_parse(quantity, &variant->available))
        return arena_printf(a, "its quantity \"%.20s\" is no whole number", quantity);
    if (variant->available > STOCK_MAX)
        return arena_printf(a, "its quantity is more than %d", STOCK_MAX);
    if (variant->available < 0) /* shops count on below zero where they sold what they had not */
        variant->available = 0;
    return NULL;
}

/* Two rows may have the same options only where each has a sku to be known by. */
static const char *
repeats(struct arena *a, const struct file_product *product, const Variant *variant)
{
    for (size_t i = 0; i < product->n_variants; i++) {
        const struct file_variant *other = &product->variants[i];
        bool unnamed = variant->sku[0] == '\0' || other->made_sku;
        if (unnamed && strcmp(other->variant->title, variant->title) == 0)
            return arena_printf(a, "repeats the options of line %lld", (long long)other->line);
        if (variant->sku[0] && strcmp(other->variant->sku, variant->sku) == 0)
            return arena_printf(a, "repeats the sku of line %lld", (long long)other->line);
    }
    return NULL;
}
