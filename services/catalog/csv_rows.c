#include "catalog/csv_rows.h"

#include <csv.h>
#include <string.h>

/* libcsv does not say where it is, so it is fed line by line. */
struct csv_reading {
    struct arena *arena;
    csv_row_fn *fn;
    void *arg;
    const char *cells[CSV_CELLS_MAX];
    size_t n;
    int64_t line;     /* that is being fed, from 1 */
    int64_t row_line; /* where the row in work began */
    bool in_row;
    const char *fault;
    bool stopped;
};

static size_t line_length(const char *bytes, size_t n);
static bool is_blank(const char *line, size_t n);
static void on_cell(void *bytes, size_t n, void *arg);
static void on_row_end(int end, void *arg);

bool
csv_read(struct arena *a, const char *bytes, size_t n, csv_row_fn *fn, void *arg,
         struct csv_fault *ret)
{
    struct csv_reading *reading = arena_alloc(a, sizeof *reading);
    reading->arena = a;
    reading->fn = fn;
    reading->arg = arg;
    struct csv_parser parser;
    csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI);
    while (n && !reading->fault && !reading->stopped) {
        size_t length = line_length(bytes, n);
        reading->line++;
        if (!reading->in_row && !is_blank(bytes, length)) {
            reading->in_row = true;
            reading->row_line = reading->line;
        }
        size_t fed = csv_parse(&parser, bytes, length, on_cell, on_row_end, reading);
        if (fed != length && !reading->fault)
            reading->fault = "a quote in the middle of a cell";
        bytes += length;
        n -= length;
    }
    if (!reading->fault && !reading->stopped &&
        csv_fini(&parser, on_cell, on_row_end, reading) != 0) {
        reading->line = reading->row_line;
        reading->fault = "a quoted cell that never ends";
    }
    csv_free(&parser);
    if (reading->fault)
        *ret = (struct csv_fault){reading->line, reading->fault};
    return !reading->fault;
}

/* With its end. */
static size_t
line_length(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n')
            return i + 1;
        if (bytes[i] == '\r')
            return i + 1 < n && bytes[i + 1] == '\n' ? i + 2 : i + 1;
    }
    return n;
}

static bool
is_blank(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!memchr(" \t\r\n", line[i], 4))
            return false;
    return true;
}

static void
on_cell(void *bytes, size_t n, void *arg)
{
    struct csv_reading *reading = arg;
    if (reading->n == CSV_CELLS_MAX)
        reading->fault = "more than 1000 cells in a row";
    else
        reading->cells[reading->n++] = n ? arena_strndup(reading->arena, bytes, n) : "";
}

static void
on_row_end(int end, void *arg)
{
    (void)end;
    struct csv_reading *reading = arg;
    if (!reading->stopped && !reading->fault)
        reading->stopped =
            !reading->fn(reading->arg, reading->row_line, reading->cells, reading->n);
    reading->n = 0;
    reading->in_row = false;
}
