/* The canonical dump: equal content gives equal bytes. */
#include "store/inside.h"

static void add_literal(struct text *t, const struct cell *cell);
static void add_text_literal(struct text *t, const char *s, size_t n);
static void add_blob_literal(struct text *t, const void *bytes, size_t n);

enum status
store_dump(struct store *store, bool (*accept)(const char *table, void *arg), void *arg,
           struct arena *a, char **ret)
{
    batch_commit(store, NULL); /* what is ordered belongs to it; readers see what is durable */
    struct text text = text_in(a);
    struct dump d = {.text = &text, .accept = accept, .arg = arg};
    text_add(&text, "");
    enum status st = store->database->dump(store, &d);
    if (st == OK)
        *ret = text.bytes;
    return st;
}

void
dump_head(struct dump *d, const char *table, const char *const *columns, int n)
{
    dump_name(d->text, table);
    for (int i = 0; i < n; i++) {
        text_add(d->text, i ? ", " : " (");
        dump_name(d->text, columns[i]);
    }
    text_add(d->text, ")\n");
}

void
dump_row(struct dump *d, const struct cell *cells, int n)
{
    for (int i = 0; i < n; i++) {
        text_add(d->text, i ? ", " : "(");
        add_literal(d->text, &cells[i]);
    }
    text_add(d->text, ")\n");
}

void
dump_name(struct text *t, const char *name)
{
    text_add_char(t, '"');
    for (; *name; name++) {
        if (*name == '"')
            text_add_char(t, '"');
        text_add_char(t, *name);
    }
    text_add_char(t, '"');
}

static void
add_literal(struct text *t, const struct cell *cell)
{
    switch (cell->kind) {
    case CELL_INT:
        text_add_int(t, cell->num);
        break;
    case CELL_REAL:
        text_printf(t, "%.17g", cell->real);
        break;
    case CELL_TEXT:
        add_text_literal(t, cell->bytes, cell->n);
        break;
    case CELL_BLOB:
        add_blob_literal(t, cell->bytes, cell->n);
        break;
    default:
        text_add(t, "NULL");
    }
}

/* On one line, whatever it holds. */
static void
add_text_literal(struct text *t, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < ' ') {
            text_add(t, "CAST(");
            add_blob_literal(t, s, n);
            text_add(t, " AS TEXT)");
            return;
        }
    text_add_char(t, '\'');
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\'')
            text_add_char(t, '\'');
        text_add_char(t, s[i]);
    }
    text_add_char(t, '\'');
}

static void
add_blob_literal(struct text *t, const void *bytes, size_t n)
{
    text_add(t, "X'");
    if (n)
        text_add(t, hex_encode(t->arena, bytes, n));
    text_add_char(t, '\'');
}
