#include "catalog/shopify.h"

#include <stdlib.h>
#include <strings.h>

#include "base/money.h"
#include "catalog/shopify_rows.h"
#include "catalog/words.h"

enum {
    TITLE_CHARS_MAX = 300, /* as in the proto */
    DESCRIPTION_CHARS_MAX = 50000,
    NAME_CHARS_MAX = 200, /* of a vendor, a category, a variant */
    TAG_CHARS_MAX = 100,
    ALT_CHARS_MAX = 1000,
    URL_CHARS_MAX = 2000,
    OPTIONS = 3,
};

struct image_at {
    Image *image;
    int64_t position;
};

/* What all products of a file are read with. */
struct reading {
    struct arena *arena;
    const char *currency;
    struct shopify_file *file;
};

static int by_handle_and_line(const void *a, const void *b);
static int by_line(const void *a, const void *b);
static int skips_by_line(const void *a, const void *b);
static bool build_product(struct reading *r, const struct shopify_row *rows, size_t n,
                          struct shopify_product *ret);
static const char *read_product(struct reading *r, const struct shopify_row *rows, size_t n,
                                Product *ret);
static void read_tags(struct arena *a, Product *product, const char *tags);
static const char *too_long(struct arena *a, const Product *product);
static bool is_variant(const struct shopify_row *row);
static const char *read_variant(struct reading *r, const struct shopify_row *row,
                                const struct shopify_product *product, struct shopify_variant *ret);
static const char *options_of(struct arena *a, const struct shopify_row *row);
static const char *read_price(struct reading *r, const struct shopify_row *row, Variant *variant);
static void make_skus(struct arena *a, struct shopify_product *product);
static const char *read_image(struct arena *a, const struct shopify_row *row,
                              struct image_at *images, size_t *n);
static void take_images(struct arena *a, Product *product, const struct image_at *images, size_t n);

bool
shopify_read(struct arena *a, const void *bytes, size_t n, const char *currency,
             struct shopify_file *ret, int64_t *ret_line, const char **ret_why)
{
    *ret = (struct shopify_file){0};
    struct shopify_rows all;
    if (!shopify_rows(a, bytes, n, ret, &all, ret_line, ret_why))
        return false;

    struct reading r = {.arena = a, .currency = currency, .file = ret};
    if (all.n)
        qsort(all.rows, all.n, sizeof *all.rows, by_handle_and_line);
    ret->products = arena_alloc(a, all.n * sizeof *ret->products);
    for (size_t i = 0, end; i < all.n; i = end) {
        end = i + 1;
        while (end < all.n && strcmp(all.rows[end].handle, all.rows[i].handle) == 0)
            end++;
        if (build_product(&r, all.rows + i, end - i, &ret->products[ret->n_products]))
            ret->n_products++;
    }
    if (ret->n_products)
        qsort(ret->products, ret->n_products, sizeof *ret->products, by_line);
    if (ret->n_skipped)
        qsort(ret->skipped, ret->n_skipped, sizeof *ret->skipped, skips_by_line);
    return true;
}

void
shopify_skip(struct arena *a, struct shopify_file *file, int64_t line, const char *reason)
{
    size_t n = file->n_skipped;
    if ((n & (n - 1)) == 0) { /* no room where n is a power of two */
        struct shopify_skip *more = arena_alloc(a, (n ? 2 * n : 1) * sizeof *more);
        if (n)
            memcpy(more, file->skipped, n * sizeof *more);
        file->skipped = more;
    }
    file->skipped[file->n_skipped++] = (struct shopify_skip){line, reason};
}

static int
by_handle_and_line(const void *a, const void *b)
{
    const struct shopify_row *one = a, *other = b;
    int order = strcmp(one->handle, other->handle);
    return order ? order : (one->line > other->line) - (one->line < other->line);
}

static int
by_line(const void *a, const void *b)
{
    const struct shopify_product *one = a, *other = b;
    return (one->line > other->line) - (one->line < other->line);
}

static int
skips_by_line(const void *a, const void *b)
{
    const struct shopify_skip *one = a, *other = b;
    return (one->line > other->line) - (one->line < other->line);
}

/* The rows of one handle.  False, all of them named, if there is no product in them. */
static bool
build_product(struct reading *r, const struct shopify_row *rows, size_t n,
              struct shopify_product *ret)
{
    *ret = (struct shopify_product){.line = rows[0].line, .product = new_product(r->arena)};
    const char *fault = read_product(r, rows, n, ret->product);
    size_t variants_room = fault ? 0 : n < VARIANTS_MAX ? n : VARIANTS_MAX;
    ret->variants = arena_alloc(r->arena, variants_room * sizeof *ret->variants);
    struct image_at *images = arena_alloc(r->arena, (fault ? 0 : n) * sizeof *images);
    size_t n_images = 0;
    for (size_t i = 0; i < n && !fault; i++) {
        const char *why = NULL;
        if (is_variant(&rows[i])) {
            why = read_variant(r, &rows[i], ret, &ret->variants[ret->n_variants]);
            ret->n_variants += why ? 0 : 1;
        } else if (rows[i].cells[COLUMN_IMAGE][0] == '\0') {
            why = "neither a variant nor an image";
        }
        if (!why && rows[i].cells[COLUMN_IMAGE][0])
            why = read_image(r->arena, &rows[i], images, &n_images);
        if (why)
            shopify_skip(r->arena, r->file, rows[i].line, why);
    }
    if (!fault && ret->n_variants > 0) {
        make_skus(r->arena, ret);
        take_images(r->arena, ret->product, images, n_images);
        return true;
    }
    for (size_t i = 0; i < n; i++) /* a variant's row was named above, with its own fault */
        if (fault || !is_variant(&rows[i]))
            shopify_skip(r->arena, r->file, rows[i].line,
                         fault ? fault : "its product has no variant that could be taken");
    return false;
}

/* Shopify writes what concerns the whole product into the first of its rows. */
static const char *
read_product(struct reading *r, const struct shopify_row *rows, size_t n, Product *ret)
{
    const struct shopify_row *first = rows;
    while (first < rows + n && first->cells[COLUMN_TITLE][0] == '\0')
        first++;
    if (first == rows + n)
        return "its product has no title";
    if (strcasecmp(first->cells[COLUMN_PUBLISHED], "false") == 0)
        return "its product is not published";
    const char *status = first->cells[COLUMN_STATUS];
    if (status[0] && strcasecmp(status, "active") != 0)
        return arena_printf(r->arena, "its product's status is %s", status);
    ret->handle = rows[0].handle;
    ret->title = first->cells[COLUMN_TITLE];
    ret->description = first->cells[COLUMN_BODY];
    ret->vendor = first->cells[COLUMN_VENDOR];
    ret->category = first->cells[COLUMN_TYPE];
    read_tags(r->arena, ret, first->cells[COLUMN_TAGS]);
    return too_long(r->arena, ret);
}

static void
read_tags(struct arena *a, Product *product, const char *tags)
{
    size_t most = 1;
    for (const char *p = tags; *p; p++)
        most += *p == ',';
    const char **list = arena_alloc(a, most * sizeof *list);
    for (const char *p = tags; *p; p += *p == ',') {
        size_t length = strcspn(p, ",");
        const char *tag = shopify_plain(a, arena_strndup(a, p, length));
        if (tag[0])
            list[product->n_tags++] = tag;
        p += length;
    }
    product->tags = list;
}

static const char *
too_long(struct arena *a, const Product *product)
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

static bool
is_variant(const struct shopify_row *row)
{
    static const enum column said[] = {COLUMN_TITLE,    COLUMN_OPTION_1, COLUMN_OPTION_2,
                                       COLUMN_OPTION_3, COLUMN_SKU,      COLUMN_PRICE};
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
        if (row->cells[said[i]][0])
            return true;
    return false;
}

/* NULL, or why the row is no variant of the product. */
static const char *
read_variant(struct reading *r, const struct shopify_row *row,
             const struct shopify_product *product, struct shopify_variant *ret)
{
    if (product->n_variants == VARIANTS_MAX)
        return arena_printf(r->arena, "its product has more than %d variants", VARIANTS_MAX);
    Variant *variant = new_variant(r->arena);
    const char *options = options_of(r->arena, row);
    variant->title = options[0] ? options : product->product->title;
    if (utf8_length(options) > NAME_CHARS_MAX)
        return arena_printf(r->arena, "its options are longer than %d characters", NAME_CHARS_MAX);
    variant->sku = slug_make(r->arena, row->cells[COLUMN_SKU], SKU_CHARS_MAX);
    const char *fault = read_price(r, row, variant);
    if (fault)
        return fault;

    const char *quantity = row->cells[COLUMN_QUANTITY];
    if (quantity[0] && !int_parse(quantity, &variant->available))
        return arena_printf(r->arena, "its quantity \"%.20s\" is no whole number", quantity);
    if (variant->available > STOCK_MAX)
        return arena_printf(r->arena, "its quantity is more than %d", STOCK_MAX);
    if (variant->available < 0) /* Shopify counts on below zero where it sold what it had not */
        variant->available = 0;

    for (size_t i = 0; i < product->n_variants; i++) {
        const struct shopify_variant *other = &product->variants[i];
        if (strcmp(other->variant->title, variant->title) == 0)
            return arena_printf(r->arena, "repeats the options of line %lld",
                                (long long)other->line);
        if (variant->sku[0] && strcmp(other->variant->sku, variant->sku) == 0)
            return arena_printf(r->arena, "repeats the sku of line %lld", (long long)other->line);
    }
    *ret = (struct shopify_variant){variant, row->line, variant->sku[0] == '\0'};
    return NULL;
}

/* "Small / Red"; "" for what Shopify calls Default Title. */
static const char *
options_of(struct arena *a, const struct shopify_row *row)
{
    struct text options = text_in(a);
    text_add(&options, "");
    for (int i = 0; i < OPTIONS; i++) {
        const char *value = row->cells[COLUMN_OPTION_1 + i];
        if (value[0] && options.n)
            text_add(&options, " / ");
        text_add(&options, value);
    }
    return strcmp(options.bytes, "Default Title") == 0 ? "" : options.bytes;
}

static const char *
read_price(struct reading *r, const struct shopify_row *row, Variant *variant)
{
    const char *price = row->cells[COLUMN_PRICE], *compare_at = row->cells[COLUMN_COMPARE_AT];
    if (price[0] == '\0')
        return "no price";
    variant->price = new_money(r->arena);
    variant->price->currency = r->currency;
    if (!money_parse(price, r->currency, &variant->price->amount))
        return arena_printf(r->arena, "its price \"%.20s\" is no amount in %s", price, r->currency);
    if (compare_at[0] == '\0')
        return NULL;
    variant->compare_at_price = new_money(r->arena);
    variant->compare_at_price->currency = r->currency;
    if (!money_parse(compare_at, r->currency, &variant->compare_at_price->amount))
        return arena_printf(r->arena, "its compare-at price \"%.20s\" is no amount in %s",
                            compare_at, r->currency);
    return NULL;
}

/* For the variants whose rows give none: from handle and options, numbered where that is taken. */
static void
make_skus(struct arena *a, struct shopify_product *product)
{
    for (size_t i = 0; i < product->n_variants; i++) {
        struct shopify_variant *mine = &product->variants[i];
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

/* NULL, or why the row's image cannot be taken. */
static const char *
read_image(struct arena *a, const struct shopify_row *row, struct image_at *images, size_t *n)
{
    const char *url = row->cells[COLUMN_IMAGE];
    if (!text_starts(url, "https://") && !text_starts(url, "http://"))
        return "its image is no http address: left out";
    if (strlen(url) > URL_CHARS_MAX || utf8_length(row->cells[COLUMN_IMAGE_ALT]) > ALT_CHARS_MAX)
        return "its image's address or text is too long: left out";
    for (size_t i = 0; i < *n; i++)
        if (strcmp(images[i].image->url, url) == 0)
            return NULL;
    if (*n == IMAGES_MAX)
        return arena_printf(a, "its product has more than %d images: left out", IMAGES_MAX);
    Image *image = new_image(a);
    image->url = url;
    image->alt = row->cells[COLUMN_IMAGE_ALT];
    int64_t position = *n ? images[*n - 1].position : 0; /* without one: behind the last */
    int_parse(row->cells[COLUMN_IMAGE_POSITION], &position);
    images[(*n)++] = (struct image_at){image, position};
    return NULL;
}

/* By position; equal ones as they stand in the file. */
static void
take_images(struct arena *a, Product *product, const struct image_at *images, size_t n)
{
    struct image_at *sorted = arena_alloc(a, n * sizeof *sorted);
    product->images = arena_alloc(a, n * sizeof *product->images);
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at && sorted[at - 1].position > images[i].position; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = images[i];
    }
    for (size_t i = 0; i < n; i++)
        product->images[i] = sorted[i].image;
    product->n_images = n;
}
