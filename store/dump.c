/* The canonical dump: equal content gives equal bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "store/inside.h"

struct dump {
    struct conn *conn;
    struct text text;
    bool (*accept)(const char *table, void *arg);
    void *arg;
};

static int dump_tables(struct dump *d);
static int dump_table(struct dump *d, const char *table);
static int select_rows(struct dump *d, const char *table, sqlite3_stmt **ret);
static void add_row(struct text *t, sqlite3_stmt *rows);
static void add_literal(struct text *t, sqlite3_stmt *rows, int i);
static void add_text_literal(struct text *t, const char *s, size_t n);
static void add_blob_literal(struct text *t, const void *bytes, size_t n);
static void add_name(struct text *t, const char *name);

enum status
store_dump(struct store *store, bool (*accept)(const char *table, void *arg), void *arg,
           struct arena *a, char **ret)
{
    batch_commit(store, NULL); /* what is ordered belongs to it; readers see what is durable */
    struct dump d = {.conn = reader_take(store), .text = text_in(a), .accept = accept, .arg = arg};
    if (!d.conn)
        return UNAVAILABLE;
    text_add(&d.text, "");
    int code = conn_word(d.conn, WORD_BEGIN_READ);
    if (code == SQLITE_OK) {
        code = dump_tables(&d);
        conn_word(d.conn, WORD_COMMIT);
    }
    reader_give_back(d.conn);
    if (code != SQLITE_OK)
        return UNAVAILABLE;
    *ret = d.text.bytes;
    return OK;
}

static int
dump_tables(struct dump *d)
{
    sqlite3_stmt *tables;
    int code = sqlite3_prepare_v2(d->conn->db,
                                  "SELECT name FROM sqlite_schema WHERE type = 'table'"
                                  " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
                                  -1, &tables, NULL);
    if (code != SQLITE_OK)
        return code;
    while ((code = sqlite3_step(tables)) == SQLITE_ROW) {
        const char *table = (const char *)sqlite3_column_text(tables, 0);
        if (!d->accept || d->accept(table, d->arg))
            code = dump_table(d, table);
        if (code != SQLITE_OK && code != SQLITE_ROW)
            break;
    }
    sqlite3_finalize(tables);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int
dump_table(struct dump *d, const char *table)
{
    sqlite3_stmt *rows = NULL;
    int code = select_rows(d, table, &rows);
    if (code != SQLITE_OK)
        return code;
    add_name(&d->text, table);
    for (int i = 0; i < sqlite3_column_count(rows); i++) {
        text_add(&d->text, i ? ", " : " (");
        add_name(&d->text, sqlite3_column_name(rows, i));
    }
    text_add(&d->text, ")\n");
    while ((code = sqlite3_step(rows)) == SQLITE_ROW)
        add_row(&d->text, rows);
    sqlite3_finalize(rows);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* Ordered by primary key, or by all columns where there is none. */
static int
select_rows(struct dump *d, const char *table, sqlite3_stmt **ret)
{
    sqlite3_stmt *keys;
    int code = sqlite3_prepare_v2(d->conn->db,
                                  "SELECT name, pk FROM pragma_table_info(?1) WHERE pk > 0 OR NOT"
                                  " EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE pk > 0)"
                                  " ORDER BY pk, cid",
                                  -1, &keys, NULL);
    if (code != SQLITE_OK)
        return code;
    struct text sql = text_in(d->text.arena);
    text_add(&sql, "SELECT * FROM ");
    add_name(&sql, table);
    sqlite3_bind_text(keys, 1, table, -1, SQLITE_STATIC);
    for (int i = 0; (code = sqlite3_step(keys)) == SQLITE_ROW; i++) {
        text_add(&sql, i ? ", " : " ORDER BY ");
        add_name(&sql, (const char *)sqlite3_column_text(keys, 0));
    }
    sqlite3_finalize(keys);
    if (code != SQLITE_DONE)
        return code;
    return sqlite3_prepare_v2(d->conn->db, sql.bytes, -1, ret, NULL);
}

static void
add_row(struct text *t, sqlite3_stmt *rows)
{
    for (int i = 0; i < sqlite3_column_count(rows); i++) {
        text_add(t, i ? ", " : "(");
        add_literal(t, rows, i);
    }
    text_add(t, ")\n");
}

static void
add_literal(struct text *t, sqlite3_stmt *rows, int i)
{
    switch (sqlite3_column_type(rows, i)) {
    case SQLITE_INTEGER:
        text_add_int(t, sqlite3_column_int64(rows, i));
        break;
    case SQLITE_FLOAT:
        text_printf(t, "%.17g", sqlite3_column_double(rows, i));
        break;
    case SQLITE_TEXT: {
        const char *s = (const char *)sqlite3_column_text(rows, i);
        add_text_literal(t, s, (size_t)sqlite3_column_bytes(rows, i));
        break;
    }
    case SQLITE_BLOB: {
        const void *bytes = sqlite3_column_blob(rows, i);
        add_blob_literal(t, bytes, (size_t)sqlite3_column_bytes(rows, i));
        break;
    }
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

static void
add_name(struct text *t, const char *name)
{
    text_add_char(t, '"');
    for (; *name; name++) {
        if (*name == '"')
            text_add_char(t, '"');
        text_add_char(t, *name);
    }
    text_add_char(t, '"');
}
