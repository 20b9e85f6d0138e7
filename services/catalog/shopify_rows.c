#include "catalog/shopify_rows.h"

#include <strings.h>

#include "catalog/csv_rows.h"
#include "catalog/words.h"

/* What Shopify calls a column, or has called it; case does not matter. */
static const struct {
    enum column column;
    const char *name;
} column_names[] = {
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

struct reading {
    struct arena *arena;
    struct shopify_file *file;
    struct shopify_rows *out;
    int places[COLUMNS]; /* of each column in a row, or -1 */
    size_t header_n;     /* cells in the header; 0 before it was read */
    int64_t fault_line;
    const char *fault;
};

static int64_t line_of_bad_text(const char *text, size_t n);
static bool read_row(void *arg, int64_t line, const char *const *cells, size_t n);
static bool read_header(struct reading *r, int64_t line, const char *const *cells, size_t n);
static struct shopify_row *add_row(struct reading *r);

bool
shopify_rows(struct arena *a, const void *bytes, size_t n, struct shopify_file *file,
             struct shopify_rows *ret, int64_t *ret_line, const char **ret_why)
{
    const char *text = bytes;
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* Excel's mark of UTF-8 */
        text += 3;
        n -= 3;
    }
    if (!utf8_valid(text, n)) {
        *ret_line = line_of_bad_text(text, n);
        *ret_why = "the file is not UTF-8";
        return false;
    }
    *ret = (struct shopify_rows){0};
    struct reading r = {.arena = a, .file = file, .out = ret};
    struct csv_fault fault = {0};
    bool is_csv = csv_read(a, text, n, read_row, &r, &fault);
    if (is_csv && r.header_n == 0) {
        r.fault_line = 1;
        r.fault = "the file is empty";
    }
    if (is_csv && !r.fault)
        return true;
    *ret_line = is_csv ? r.fault_line : fault.line;
    *ret_why = is_csv ? r.fault : fault.text;
    return false;
}

const char *
shopify_plain(struct arena *a, const char *cell)
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

static int64_t
line_of_bad_text(const char *text, size_t n)
{
    for (int64_t line = 1;; line++) {
        const char *end = memchr(text, '\n', n);
        size_t length = end ? (size_t)(end - text) + 1 : n;
        if (!utf8_valid(text, length) || length == n)
            return line;
        text += length;
        n -= length;
    }
}

static bool
read_row(void *arg, int64_t line, const char *const *cells, size_t n)
{
    struct reading *r = arg;
    if (r->header_n == 0)
        return read_header(r, line, cells, n);
    if (n > r->header_n) {
        shopify_skip(r->arena, r->file, line,
                     arena_printf(r->arena, "%zu cells, the header has %zu", n, r->header_n));
        return true;
    }
    if (r->out->n == FILE_ROWS_MAX) {
        r->fault_line = line;
        r->fault = arena_printf(r->arena, "more than %d rows", FILE_ROWS_MAX);
        return false;
    }
    struct shopify_row *row = add_row(r);
    row->line = line;
    for (int c = 0; c < COLUMNS; c++) {
        bool given = r->places[c] >= 0 && (size_t)r->places[c] < n;
        const char *cell = given ? cells[r->places[c]] : "";
        row->cells[c] = c == COLUMN_BODY ? cell : shopify_plain(r->arena, cell);
    }
    row->handle = slug_make(r->arena, row->cells[COLUMN_HANDLE], HANDLE_CHARS_MAX);
    if (row->handle[0] == '\0') {
        shopify_skip(r->arena, r->file, line, "no handle");
        r->out->n--;
    }
    return true;
}

static bool
read_header(struct reading *r, int64_t line, const char *const *cells, size_t n)
{
    for (int c = 0; c < COLUMNS; c++)
        r->places[c] = -1;
    for (size_t i = 0; i < n; i++) {
        const char *name = shopify_plain(r->arena, cells[i]);
        for (size_t j = 0; j < sizeof column_names / sizeof column_names[0]; j++)
            if (r->places[column_names[j].column] < 0 &&
                strcasecmp(name, column_names[j].name) == 0)
                r->places[column_names[j].column] = (int)i;
    }
    r->header_n = n;
    static const enum column needed[] = {COLUMN_HANDLE, COLUMN_TITLE, COLUMN_PRICE};
    static const char *const names[] = {"Handle", "Title", "Variant Price"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (r->places[needed[i]] < 0) {
            r->fault_line = line;
            r->fault = arena_printf(r->arena, "the header has no column \"%s\"", names[i]);
            return false;
        }
    return true;
}

static struct shopify_row *
add_row(struct reading *r)
{
    struct shopify_rows *out = r->out;
    if (out->n == out->room) {
        size_t room = out->room ? 2 * out->room : 64;
        struct shopify_row *rows = arena_alloc(r->arena, room * sizeof *rows);
        if (out->n)
            memcpy(rows, out->rows, out->n * sizeof *rows);
        out->rows = rows;
        out->room = room;
    }
    return &out->rows[out->n++];
}
