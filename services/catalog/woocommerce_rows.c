#include "catalog/woocommerce_rows.h"

#include <stdlib.h>
#include <strings.h>

#include "catalog/woocommerce_cells.h"
#include "catalog/words.h"

static int column_of(const char *name);
static const char *decode(struct arena *a, int column, const char *cell);
static struct woo_row *find_heads(struct file_reading *r, const struct table *table);
static void find_repeated_skus(struct file_reading *r, struct woo_row *rows, size_t n);

static const struct table_format format = {
    .columns = COLUMNS,
    .text_column = COLUMN_TEXT,
    .column = column_of,
    .decode = decode,
    .needed = {{COLUMN_TYPE, "Type"}, {COLUMN_NAME, "Name"}, {COLUMN_PRICE, "Regular price"}},
};

bool
woo_rows(struct file_reading *r, const void *bytes, size_t n, struct woo_row **ret, size_t *ret_n,
         int64_t *ret_line, const char **ret_why)
{
    struct table *table = arena_alloc(r->arena, sizeof *table);
    if (!table_read(r->arena, bytes, n, &format, r->file, table, ret_line, ret_why))
        return false;
    *ret = find_heads(r, table);
    *ret_n = table->n;
    return true;
}

bool
woo_is_kind(const struct table_row *row, const char *kind)
{
    const char *p = row->cells[COLUMN_TYPE];
    while (*p) {
        p += strspn(p, ", ");
        size_t n = strcspn(p, ", ");
        if (n == strlen(kind) && strncasecmp(p, kind, n) == 0)
            return true;
        p += n;
    }
    return false;
}

/* WooCommerce's names, whose case does not matter; "Attribute 2 value(s)" is one of a row. */
static int
column_of(const char *name)
{
    static const struct {
        enum column column;
        const char *name;
    } names[] = {
        {COLUMN_ID, "ID"},
        {COLUMN_TYPE, "Type"},
        {COLUMN_SKU, "SKU"},
        {COLUMN_NAME, "Name"},
        {COLUMN_PUBLISHED, "Published"},
        {COLUMN_VISIBILITY, "Visibility in catalog"},
        {COLUMN_SHORT_TEXT, "Short description"},
        {COLUMN_TEXT, "Description"},
        {COLUMN_SALE_STARTS, "Date sale price starts"},
        {COLUMN_SALE_ENDS, "Date sale price ends"},
        {COLUMN_STOCK, "Stock"},
        {COLUMN_SALE_PRICE, "Sale price"},
        {COLUMN_PRICE, "Regular price"},
        {COLUMN_CATEGORIES, "Categories"},
        {COLUMN_TAGS, "Tags"},
        {COLUMN_IMAGES, "Images"},
        {COLUMN_PARENT, "Parent"},
        {COLUMN_BRANDS, "Brands"},
        {COLUMN_HANDLE, "Meta: souk_handle"},
        {COLUMN_ALTS, "Meta: souk_image_alts"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(name, names[i].name) == 0)
            return (int)names[i].column;
    static const char before[] = "Attribute ", after[] = " value(s)";
    if (strncasecmp(name, before, strlen(before)) != 0)
        return -1;
    char *end;
    long number = strtol(name + strlen(before), &end, 10);
    bool known = strcasecmp(end, after) == 0 && number >= 1 && number <= ATTRIBUTES_MAX;
    return known ? COLUMN_ATTRIBUTE_1 + (int)number - 1 : -1;
}

static const char *
decode(struct arena *a, int column, const char *cell)
{
    cell = woo_unescape(a, cell);
    return column == COLUMN_TEXT || column == COLUMN_SHORT_TEXT ? woo_text_decode(a, cell) : cell;
}

static int
by_key_and_line(const void *a, const void *b)
{
    const struct woo_row *one = a, *other = b;
    int order = strcmp(one->key, other->key);
    return order ? order : (one->row > other->row) - (one->row < other->row);
}

static int
by_key(const void *a, const void *b)
{
    const struct woo_row *one = a, *other = b;
    return strcmp(one->key, other->key);
}

/* Variations whose product is not there have no head, and a fault. */
static struct woo_row *
find_heads(struct file_reading *r, const struct table *table)
{
    struct woo_row *rows = arena_alloc(r->arena, table->n * sizeof *rows);
    struct woo_row *names = arena_alloc(r->arena, 2 * table->n * sizeof *names);
    size_t n_names = 0;
    for (size_t i = 0; i < table->n; i++) {
        const struct table_row *row = &table->rows[i];
        rows[i] = (struct woo_row){.row = row, .key = row->cells[COLUMN_PARENT]};
        if (woo_is_kind(row, "variation"))
            continue;
        rows[i].head = row;
        const char *sku = row->cells[COLUMN_SKU], *id = row->cells[COLUMN_ID];
        if (sku[0])
            names[n_names++] = (struct woo_row){.row = row, .key = sku};
        if (id[0])
            names[n_names++] =
                (struct woo_row){.row = row, .key = arena_printf(r->arena, "id:%s", id)};
    }
    if (n_names)
        qsort(names, n_names, sizeof *names, by_key_and_line);
    for (size_t i = 0; i < table->n; i++) {
        if (rows[i].head)
            continue;
        const char *parent = rows[i].key;
        const struct woo_row *found =
            n_names ? bsearch(&rows[i], names, n_names, sizeof *names, by_key) : NULL;
        if (found && woo_is_kind(found->row, "variable"))
            rows[i].head = found->row;
        else if (parent[0] == '\0')
            rows[i].fault = "a variation without a parent";
        else
            rows[i].fault = arena_printf(r->arena, "its parent \"%.64s\" is %s", parent,
                                         found ? "not variable" : "not in the file");
    }
    find_repeated_skus(r, rows, table->n);
    return rows;
}

/* A sku is one variant's in the whole file: the first that has it. */
static void
find_repeated_skus(struct file_reading *r, struct woo_row *rows, size_t n)
{
    struct woo_row *skus = arena_alloc(r->arena, n * sizeof *skus);
    size_t n_skus = 0;
    for (size_t i = 0; i < n; i++) {
        const char *sku = slug_keep(r->arena, rows[i].row->cells[COLUMN_SKU], SKU_CHARS_MAX);
        if (sku[0] && !woo_is_kind(rows[i].row, "variable"))
            skus[n_skus++] = (struct woo_row){.row = rows[i].row, .key = sku};
    }
    if (n_skus)
        qsort(skus, n_skus, sizeof *skus, by_key_and_line);
    for (size_t i = 0, first = 0; i < n_skus; i++) {
        if (strcmp(skus[i].key, skus[first].key) != 0)
            first = i;
        struct woo_row *row = &rows[skus[i].row - rows[0].row];
        if (i != first && !row->fault)
            row->fault = arena_printf(r->arena, "repeats the sku of line %lld",
                                      (long long)skus[first].row->line);
    }
}
