#include "catalog/shopify.h"

#include <stdlib.h>
#include <strings.h>

#include "catalog/csv_list.h"
#include "catalog/csv_table.h"
#include "catalog/words.h"

enum column {
    COLUMN_HANDLE,
    COLUMN_TITLE,
    COLUMN_BODY,
    COLUMN_VENDOR,
    COLUMN_TYPE,
    COLUMN_TAGS,
    COLUMN_PUBLISHED,
    COLUMN_STATUS,
    COLUMN_OPTION_1,
    COLUMN_OPTION_2,
    COLUMN_OPTION_3,
    COLUMN_SKU,
    COLUMN_QUANTITY,
    COLUMN_PRICE,
    COLUMN_COMPARE_AT,
    COLUMN_IMAGE,
    COLUMN_IMAGE_POSITION,
    COLUMN_IMAGE_ALT,
    COLUMNS,
};
enum { OPTIONS = 3 };

static int column_of(const char *name);
static void find_handles(struct file_reading *r, struct table *table);
static int by_handle_and_line(const void *a, const void *b);
static bool build_product(struct file_reading *r, const struct table_row *rows, size_t n,
                          struct file_product *ret);
static const char *read_row(struct file_reading *r, const struct table_row *row,
                            struct file_product *product, struct image_list *images);
static const char *read_product(struct file_reading *r, const struct table_row *rows, size_t n,
                                Product *ret);
static bool is_variant(const struct table_row *row);
static const char *options_of(struct arena *a, const struct table_row *row);

static const struct table_format format = {
    .columns = COLUMNS,
    .text_column = COLUMN_BODY,
    .column = column_of,
    .needed = {{COLUMN_HANDLE, "Handle"}, {COLUMN_TITLE, "Title"}, {COLUMN_PRICE, "Variant Price"}},
};

bool
shopify_read(struct file_reading *r, const void *bytes, size_t n, int64_t *ret_line,
             const char **ret_why)
{
    struct product_file *file = r->file;
    *file = (struct product_file){0};
    struct table all;
    if (!table_read(r->arena, bytes, n, &format, file, &all, ret_line, ret_why))
        return false;
    find_handles(r, &all);
    if (all.n)
        qsort(all.rows, all.n, sizeof *all.rows, by_handle_and_line);
    file->products = arena_alloc(r->arena, all.n * sizeof *file->products);
    for (size_t i = 0, end; i < all.n; i = end) {
        end = i + 1;
        while (end < all.n && strcmp(all.rows[end].key, all.rows[i].key) == 0)
            end++;
        if (build_product(r, all.rows + i, end - i, &file->products[file->n_products]))
            file->n_products++;
    }
    file_sort(file);
    return true;
}

/* What Shopify calls a column, or has called it; case does not matter. */
static int
column_of(const char *name)
{
    static const struct {
        enum column column;
        const char *name;
    } names[] = {
        {COLUMN_HANDLE, "Handle"},
        {COLUMN_HANDLE, "URL handle"},
        {COLUMN_TITLE, "Title"},
        {COLUMN_BODY, "Body (HTML)"},
        {COLUMN_BODY, "Description"},
        {COLUMN_VENDOR, "Vendor"},
        {COLUMN_TYPE, "Type"},
        {COLUMN_TYPE, "Custom Product Type"},
        {COLUMN_TAGS, "Tags"},
        {COLUMN_PUBLISHED, "Published"},
        {COLUMN_PUBLISHED, "Published on online store"},
        {COLUMN_STATUS, "Status"},
        {COLUMN_OPTION_1, "Option1 Value"},
        {COLUMN_OPTION_2, "Option2 Value"},
        {COLUMN_OPTION_3, "Option3 Value"},
        {COLUMN_SKU, "Variant SKU"},
        {COLUMN_SKU, "SKU"},
        {COLUMN_QUANTITY, "Variant Inventory Qty"},
        {COLUMN_QUANTITY, "Inventory quantity"},
        {COLUMN_PRICE, "Variant Price"},
        {COLUMN_PRICE, "Price"},
        {COLUMN_COMPARE_AT, "Variant Compare At Price"},
        {COLUMN_COMPARE_AT, "Compare-at price"},
        {COLUMN_IMAGE, "Image Src"},
        {COLUMN_IMAGE, "Product image URL"},
        {COLUMN_IMAGE_POSITION, "Image Position"},
        {COLUMN_IMAGE_ALT, "Image Alt Text"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(name, names[i].name) == 0)
            return (int)names[i].column;
    return -1;
}

/* Each row's key is its handle; a row without one belongs to nothing. */
static void
find_handles(struct file_reading *r, struct table *table)
{
    size_t kept = 0;
    for (size_t i = 0; i < table->n; i++) {
        struct table_row row = table->rows[i];
        row.key = slug_keep(r->arena, row.cells[COLUMN_HANDLE], HANDLE_CHARS_MAX);
        if (row.key[0])
            table->rows[kept++] = row;
        else
            file_skip(r->arena, r->file, row.line, "no handle");
    }
    table->n = kept;
}

static int
by_handle_and_line(const void *a, const void *b)
{
    const struct table_row *one = a, *other = b;
    int order = strcmp(one->key, other->key);
    return order ? order : (one->line > other->line) - (one->line < other->line);
}

/* The rows of one handle.  False, all of them named, if there is no product in them. */
static bool
build_product(struct file_reading *r, const struct table_row *rows, size_t n,
              struct file_product *ret)
{
    *ret = (struct file_product){.line = rows[0].line, .product = new_product(r->arena)};
    const char *fault = read_product(r, rows, n, ret->product);
    size_t variants_room = fault ? 0 : n < VARIANTS_MAX ? n : VARIANTS_MAX;
    ret->variants = arena_alloc(r->arena, variants_room * sizeof *ret->variants);
    struct image_list images = {.images =
                                    arena_alloc(r->arena, (fault ? 0 : n) * sizeof *images.images)};
    for (size_t i = 0; i < n && !fault; i++) {
        const char *why = read_row(r, &rows[i], ret, &images);
        if (why)
            file_skip(r->arena, r->file, rows[i].line, why);
    }
    if (!fault && ret->n_variants > 0) {
        file_make_skus(r->arena, ret);
        file_take_images(r->arena, ret->product, &images);
        return true;
    }
    for (size_t i = 0; i < n; i++) /* a variant's row was named above, with its own fault */
        if (fault || !is_variant(&rows[i]))
            file_skip(r->arena, r->file, rows[i].line,
                      fault ? fault : "its product has no variant that could be taken");
    return false;
}

/* NULL, or why the row (or its image) cannot be taken. */
static const char *
read_row(struct file_reading *r, const struct table_row *row, struct file_product *product,
         struct image_list *images)
{
    const char *const *cells = row->cells, *why = NULL;
    if (is_variant(row))
        why = file_add_variant(r, product,
                               &(struct variant_cells){.line = row->line,
                                                       .options = options_of(r->arena, row),
                                                       .sku = cells[COLUMN_SKU],
                                                       .price = cells[COLUMN_PRICE],
                                                       .compare_at = cells[COLUMN_COMPARE_AT],
                                                       .quantity = cells[COLUMN_QUANTITY]});
    else if (cells[COLUMN_IMAGE][0] == '\0')
        why = "neither a variant nor an image";
    if (!why && cells[COLUMN_IMAGE][0])
        why = file_add_image(r->arena, images, cells[COLUMN_IMAGE], cells[COLUMN_IMAGE_ALT],
                             cells[COLUMN_IMAGE_POSITION]);
    return why;
}

/* Shopify writes what concerns the whole product into the first of its rows. */
static const char *
read_product(struct file_reading *r, const struct table_row *rows, size_t n, Product *ret)
{
    const struct table_row *first = rows;
    while (first < rows + n && first->cells[COLUMN_TITLE][0] == '\0')
        first++;
    if (first == rows + n)
        return "its product has no title";
    if (strcasecmp(first->cells[COLUMN_PUBLISHED], "false") == 0)
        return "its product is not published";
    const char *status = first->cells[COLUMN_STATUS];
    if (status[0] && strcasecmp(status, "active") != 0)
        return arena_printf(r->arena, "its product's status is %s", status);
    ret->handle = rows[0].key;
    ret->title = first->cells[COLUMN_TITLE];
    ret->description = first->cells[COLUMN_BODY];
    ret->vendor = first->cells[COLUMN_VENDOR];
    ret->category = first->cells[COLUMN_TYPE];
    const char **tags;
    ret->n_tags = csv_list_split(r->arena, first->cells[COLUMN_TAGS], false, &tags);
    ret->tags = tags;
    return file_product_fault(r->arena, ret);
}

static bool
is_variant(const struct table_row *row)
{
    static const enum column said[] = {COLUMN_TITLE,    COLUMN_OPTION_1, COLUMN_OPTION_2,
                                       COLUMN_OPTION_3, COLUMN_SKU,      COLUMN_PRICE};
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
        if (row->cells[said[i]][0])
            return true;
    return false;
}

/* "Small / Red"; "" for what Shopify calls Default Title. */
static const char *
options_of(struct arena *a, const struct table_row *row)
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
