/* Rows of a CSV file (RFC 4180), with the line of the file at which each begins. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

enum { CSV_CELLS_MAX = 1000 };

/* One row.  cells is used again for the next row; its strings live in the arena.  False stops. */
typedef bool csv_row_fn(void *arg, int64_t line, const char *const *cells, size_t n);

/* Where a file is no CSV, or a reader stopped. */
struct csv_fault {
    int64_t line;
    const char *text;
};

/* Hands each row that is not blank to fn.  bytes must be UTF-8.  Lines end with CRLF, LF or CR. */
bool csv_read(struct arena *a, const char *bytes, size_t n, csv_row_fn *fn, void *arg,
              struct csv_fault *ret);
