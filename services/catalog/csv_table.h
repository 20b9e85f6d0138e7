/* A CSV file of products as a table whose columns are known by their names. */
#pragma once
#include "catalog/product_file.h"

/* Cells are on one line, without space around them, save that of the text column. */
struct table_row {
    int64_t line;
    const char *key;          /* for the format: what the row's product goes by; "" until then */
    const char *const *cells; /* one for each column; "" where the file has none */
};

struct table {
    struct table_row *rows;
    size_t n, room;
};

/* How a format names its columns. */
struct table_format {
    int columns;
    int text_column;                 /* long text, whose lines and spaces stay as they are */
    int (*column)(const char *name); /* -1: none that we look at */
    /* What a cell says, where the format writes it differently; or NULL. */
    const char *(*decode)(struct arena *a, int column, const char *cell);
    struct {
        int column;
        const char *name;
    } needed[4]; /* up to one without a name */
};

/* All rows; those with too many cells are named in file's skipped.  False if the bytes are no such
 * table. */
bool table_read(struct arena *a, const void *bytes, size_t n, const struct table_format *format,
                struct product_file *file, struct table *ret, int64_t *ret_line,
                const char **ret_why);
