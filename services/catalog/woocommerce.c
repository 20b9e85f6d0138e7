#include "catalog/woocommerce.h"

#include <stdlib.h>
#include <strings.h>

#include "catalog/csv_list.h"
#include "catalog/woocommerce_rows.h"
#include "catalog/words.h"

static const char *kind_fault(struct arena *a, const struct table_row *row);
static const char *published_fault(struct arena *a, const struct table_row *row);
static bool build_product(struct file_reading *r, const struct woo_row *rows, size_t n,
                          struct file_product *ret);
static const char *read_product(struct file_reading *r, const struct table_row *row,
                                struct file_product *product);
static const char *read_variant(struct file_reading *r, const struct table_row *row,
                                struct file_product *product);
static void read_category(struct arena *a, const struct table_row *row, Product *ret);
static void read_tags(struct arena *a, const struct table_row *row, Product *ret);
static const char *options_of(struct arena *a, const struct table_row *row);
static const char *price_of_row(struct arena *a, const char *cell);
static bool sale_runs(const struct file_reading *r, const struct table_row *row);
static void read_images(struct file_reading *r, const struct table_row *row,
                        struct image_list *images);
static void name_handles(struct file_reading *r);

static int
by_head_and_line(const void *a, const void *b)
{
    const struct woo_row *one = a, *other = b;
    if (one->head != other->head)
        return one->head < other->head ? -1 : 1; /* a table's rows stand in the order of lines */
    bool heads = one->row == one->head, other_heads = other->row == other->head;
    return heads != other_heads ? (heads ? -1 : 1)
                                : (one->row > other->row) - (one->row < other->row);
}

bool
woocommerce_read(struct file_reading *r, const void *bytes, size_t n, int64_t *ret_line,
                 const char **ret_why)
{
    struct product_file *file = r->file;
    *file = (struct product_file){0};
    struct woo_row *rows;
    size_t n_rows;
    if (!woo_rows(r, bytes, n, &rows, &n_rows, ret_line, ret_why))
        return false;
    if (n_rows)
        qsort(rows, n_rows, sizeof *rows, by_head_and_line);
    file->products = arena_alloc(r->arena, n_rows * sizeof *file->products);
    for (size_t i = 0, end; i < n_rows; i = end) {
        end = i + 1;
        while (end < n_rows && rows[i].head && rows[end].head == rows[i].head)
            end++;
        if (!rows[i].head)
            file_skip(r->arena, file, rows[i].row->line, rows[i].fault);
        else if (build_product(r, rows + i, end - i, &file->products[file->n_products]))
            file->n_products++;
    }
    name_handles(r);
    file_sort(file);
    return true;
}

static const char *
kind_fault(struct arena *a, const struct table_row *row)
{
    const char *type = row->cells[COLUMN_TYPE];
    if (type[0] == '\0' || woo_is_kind(row, "simple") || woo_is_kind(row, "variable"))
        return NULL;
    return arena_printf(a, "its product's type %.40s is none that can be sold here", type);
}

static const char *
published_fault(struct arena *a, const struct table_row *row)
{
    const char *published = row->cells[COLUMN_PUBLISHED];
    if (published[0] && strcmp(published, "1") != 0)
        return arena_printf(a, "it is not published (%.20s)", published);
    if (strcasecmp(row->cells[COLUMN_VISIBILITY], "hidden") == 0)
        return "it is hidden from the catalog";
    return NULL;
}

static size_t
items_max(const char *list)
{
    size_t n = list[0] != '\0';
    for (; *list; list++)
        n += *list == ',';
    return n;
}

/* A product's own row, first, and its variations.  False, all of them named, if there is no product
 * in them. */
static bool
build_product(struct file_reading *r, const struct woo_row *rows, size_t n,
              struct file_product *ret)
{
    const struct table_row *head = rows[0].head;
    *ret = (struct file_product){.line = head->line, .product = new_product(r->arena)};
    const char *fault = rows[0].fault ? rows[0].fault : read_product(r, head, ret);
    ret->variants =
        arena_alloc(r->arena, (n < VARIANTS_MAX ? n : VARIANTS_MAX) * sizeof *ret->variants);
    size_t images_room = 0;
    for (size_t i = 0; i < n; i++)
        images_room += items_max(rows[i].row->cells[COLUMN_IMAGES]);
    struct image_list images = {.images =
                                    arena_alloc(r->arena, images_room * sizeof *images.images)};
    for (size_t i = 0; i < n; i++) {
        const struct table_row *row = rows[i].row;
        const char *why = fault ? fault : rows[i].fault;
        if (!why && (row != head || !woo_is_kind(head, "variable")))
            why = read_variant(r, row, ret);
        if (why)
            file_skip(r->arena, r->file, row->line, why);
        else
            read_images(r, row, &images);
    }
    if (ret->n_variants > 0) {
        file_take_images(r->arena, ret->product, &images);
        return true;
    }
    if (!fault && woo_is_kind(head, "variable"))
        file_skip(r->arena, r->file, head->line, "its product has no variant that could be taken");
    return false;
}

static const char *
read_product(struct file_reading *r, const struct table_row *row, struct file_product *product)
{
    const char *const *cells = row->cells;
    const char *fault = kind_fault(r->arena, row);
    if (!fault)
        fault = published_fault(r->arena, row);
    if (!fault && cells[COLUMN_NAME][0] == '\0')
        fault = "its product has no name";
    if (fault)
        return fault;
    Product *ret = product->product;
    ret->title = cells[COLUMN_NAME];
    ret->description = cells[COLUMN_TEXT][0] ? cells[COLUMN_TEXT] : cells[COLUMN_SHORT_TEXT];
    const char **brands;
    ret->vendor = csv_list_split(r->arena, cells[COLUMN_BRANDS], false, &brands) ? brands[0] : "";
    read_category(r->arena, row, ret);
    read_tags(r->arena, row, ret);
    ret->handle = slug_keep(r->arena, cells[COLUMN_HANDLE], HANDLE_CHARS_MAX);
    product->made_handle = ret->handle[0] == '\0';
    if (product->made_handle)
        ret->handle = slug_make(r->arena, ret->title, HANDLE_CHARS_MAX);
    return file_product_fault(r->arena, ret);
}

/* The deepest of its categories, with the path to it. */
static void
read_category(struct arena *a, const struct table_row *row, Product *ret)
{
    const char **categories;
    size_t n = csv_list_split(a, row->cells[COLUMN_CATEGORIES], false, &categories), deepest = 0;
    ret->category = "";
    for (size_t i = 0; i < n; i++) {
        size_t depth = 1;
        for (const char *p = categories[i]; *p; p++)
            depth += *p == '>';
        if (depth > deepest) {
            deepest = depth;
            ret->category = categories[i];
        }
    }
}

static void
read_tags(struct arena *a, const struct table_row *row, Product *ret)
{
    const char **tags;
    ret->n_tags = csv_list_split(a, row->cells[COLUMN_TAGS], false, &tags);
    ret->tags = tags;
}

/* NULL, or why the row is no variant of the product.  A sale makes the regular price the one to
 * compare with. */
static const char *
read_variant(struct file_reading *r, const struct table_row *row, struct file_product *product)
{
    const char *const *cells = row->cells;
    const char *fault = published_fault(r->arena, row);
    if (fault)
        return fault;
    const char *regular = price_of_row(r->arena, cells[COLUMN_PRICE]), *sale = "";
    if (sale_runs(r, row))
        sale = price_of_row(r->arena, cells[COLUMN_SALE_PRICE]);
    const char *stock = cells[COLUMN_STOCK];
    bool shared = strcasecmp(stock, "parent") == 0;
    fault = file_add_variant(r, product,
                             &(struct variant_cells){.line = row->line,
                                                     .options = woo_is_kind(row, "variation")
                                                                    ? options_of(r->arena, row)
                                                                    : "",
                                                     .sku = cells[COLUMN_SKU],
                                                     .price = sale[0] ? sale : regular,
                                                     .compare_at = sale[0] ? regular : "",
                                                     .quantity = shared ? "" : stock});
    if (!fault && shared)
        file_skip(r->arena, r->file, row->line,
                  "its stock is counted with its product's: taken with none");
    return fault;
}

/* "Small / Red"; what a variation leaves open is not said. */
static const char *
options_of(struct arena *a, const struct table_row *row)
{
    struct text options = text_in(a);
    text_add(&options, "");
    for (int i = 0; i < ATTRIBUTES_MAX; i++) {
        const char *p = row->cells[COLUMN_ATTRIBUTE_1 + i];
        if (*p && options.n)
            text_add(&options, " / ");
        for (; *p; p++) {
            p += text_starts(p, "\\,");
            text_add_char(&options, *p);
        }
    }
    return options.bytes;
}

/* In many countries WooCommerce writes a comma before the decimals. */
static const char *
price_of_row(struct arena *a, const char *cell)
{
    const char *comma = strchr(cell, ',');
    if (!comma || strchr(cell, '.') || strchr(comma + 1, ','))
        return cell;
    char *price = arena_strdup(a, cell);
    price[comma - cell] = '.';
    return price;
}

/* Whole days, for the file does not say of which time zone; a date it cannot read bounds nothing.
 */
static bool
sale_runs(const struct file_reading *r, const struct table_row *row)
{
    const char *starts = row->cells[COLUMN_SALE_STARTS], *ends = row->cells[COLUMN_SALE_ENDS];
    size_t n = strlen(r->today);
    bool begun = strlen(starts) < n || strncmp(starts, r->today, n) <= 0;
    return begun && (strlen(ends) < n || strncmp(ends, r->today, n) >= 0);
}

static void
read_images(struct file_reading *r, const struct table_row *row, struct image_list *images)
{
    const char **urls, **alts;
    size_t n = csv_list_split(r->arena, row->cells[COLUMN_IMAGES], false, &urls);
    size_t n_alts = csv_list_split(r->arena, row->cells[COLUMN_ALTS], true, &alts);
    for (size_t i = 0; i < n; i++) {
        const char *why = file_add_image(r->arena, images, urls[i], i < n_alts ? alts[i] : "", "");
        if (why)
            file_skip(r->arena, r->file, row->line, why);
    }
}

static int
by_handle_and_line(const void *a, const void *b)
{
    const struct file_product *one = a, *other = b;
    int order = strcmp(one->product->handle, other->product->handle);
    return order ? order : (one->line > other->line) - (one->line < other->line);
}

/* Two products of one name are two: the later one's handle is made of its first sku too, or else of
 * its line.  Then skus are made of the handles. */
static void
name_handles(struct file_reading *r)
{
    struct file_product *products = r->file->products;
    size_t n = r->file->n_products;
    if (n)
        qsort(products, n, sizeof *products, by_handle_and_line);
    const char *first = "";
    for (size_t i = 0; i < n; i++) {
        struct file_product *mine = &products[i];
        bool twin = strcmp(mine->product->handle, first) == 0;
        first = mine->product->handle;
        if (twin && mine->n_variants) {
            const struct file_variant *variant = &mine->variants[0];
            const char *more = variant->made_sku
                                   ? arena_printf(r->arena, "%lld", (long long)mine->line)
                                   : variant->variant->sku;
            mine->product->handle =
                slug_make(r->arena, arena_printf(r->arena, "%s %s", first, more), HANDLE_CHARS_MAX);
            mine->made_handle = true;
        }
        file_make_skus(r->arena, mine);
    }
}
