#include "catalog/csv_table.h"

#include "catalog/csv_rows.h"

struct reading {
    struct arena *arena;
    const struct table_format *format;
    struct product_file *file;
    struct table *out;
    int *places;     /* of each column in a row, or -1 */
    size_t header_n; /* cells in the header; 0 before it was read */
    int64_t fault_line;
    const char *fault;
};

static int64_t line_of_bad_text(const char *text, size_t n);
static bool read_row(void *arg, int64_t line, const char *const *cells, size_t n);
static bool read_header(struct reading *r, int64_t line, const char *const *cells, size_t n);
static struct table_row *add_row(struct reading *r);

bool
table_read(struct arena *a, const void *bytes, size_t n, const struct table_format *format,
           struct product_file *file, struct table *ret, int64_t *ret_line, const char **ret_why)
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
    *ret = (struct table){0};
    struct reading r = {.arena = a, .format = format, .file = file, .out = ret};
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
    const struct table_format *format = r->format;
    if (r->header_n == 0)
        return read_header(r, line, cells, n);
    if (n > r->header_n) {
        file_skip(r->arena, r->file, line,
                  arena_printf(r->arena, "%zu cells, the header has %zu", n, r->header_n));
        return true;
    }
    if (r->out->n == FILE_ROWS_MAX) {
        r->fault_line = line;
        r->fault = arena_printf(r->arena, "more than %d rows", FILE_ROWS_MAX);
        return false;
    }
    const char **kept = arena_alloc(r->arena, (size_t)format->columns * sizeof *kept);
    for (int c = 0; c < format->columns; c++) {
        bool given = r->places[c] >= 0 && (size_t)r->places[c] < n;
        const char *cell = given ? cells[r->places[c]] : "";
        if (format->decode)
            cell = format->decode(r->arena, c, cell);
        kept[c] = c == format->text_column ? cell : file_plain(r->arena, cell);
    }
    struct table_row *row = add_row(r);
    *row = (struct table_row){.line = line, .key = "", .cells = kept};
    return true;
}

static bool
read_header(struct reading *r, int64_t line, const char *const *cells, size_t n)
{
    const struct table_format *format = r->format;
    r->places = arena_alloc(r->arena, (size_t)format->columns * sizeof *r->places);
    for (int c = 0; c < format->columns; c++)
        r->places[c] = -1;
    for (size_t i = 0; i < n; i++) {
        int column = format->column(file_plain(r->arena, cells[i]));
        if (column >= 0 && r->places[column] < 0)
            r->places[column] = (int)i;
    }
    r->header_n = n;
    for (size_t i = 0; i < sizeof format->needed / sizeof format->needed[0]; i++)
        if (format->needed[i].name && r->places[format->needed[i].column] < 0) {
            r->fault_line = line;
            r->fault =
                arena_printf(r->arena, "the header has no column \"%s\"", format->needed[i].name);
            return false;
        }
    return true;
}

static struct table_row *
add_row(struct reading *r)
{
    struct table *out = r->out;
    if (out->n == out->room) {
        size_t room = out->room ? 2 * out->room : 64;
        out->rows =
            arena_grow(r->arena, out->rows, out->n * sizeof *out->rows, room * sizeof *out->rows);
        out->room = room;
    }
    return &out->rows[out->n++];
}
