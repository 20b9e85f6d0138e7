/* Reading a SQLite file for the canonical dump. */
#include "store/sqlite.h"

struct sqlite_dumper {
    struct conn *conn;
    struct dump *dump;
};

static int dump_tables(struct sqlite_dumper *d);
static int dump_table(struct sqlite_dumper *d, const char *table);
static int select_rows(struct sqlite_dumper *d, const char *table, sqlite3_stmt **ret);

enum status
sqlite_dump(struct store *store, struct dump *dump)
{
    struct sqlite_dumper d = {.conn = reader_take(sqlite_of(store)), .dump = dump};
    if (!d.conn)
        return UNAVAILABLE;
    int code = conn_word(d.conn, WORD_BEGIN_READ);
    if (code == SQLITE_OK) {
        code = dump_tables(&d);
        conn_word(d.conn, WORD_COMMIT);
    }
    reader_give_back(d.conn);
    return code == SQLITE_OK ? OK : UNAVAILABLE;
}

static int
dump_tables(struct sqlite_dumper *d)
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
        if (!d->dump->accept || d->dump->accept(table, d->dump->arg))
            code = dump_table(d, table);
        if (code != SQLITE_OK && code != SQLITE_ROW)
            break;
    }
    sqlite3_finalize(tables);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int
dump_table(struct sqlite_dumper *d, const char *table)
{
    sqlite3_stmt *rows = NULL;
    int code = select_rows(d, table, &rows);
    if (code != SQLITE_OK)
        return code;
    int n = sqlite3_column_count(rows);
    const char **names = arena_alloc(d->dump->text->arena, (size_t)n * sizeof(char *));
    struct cell *cells = arena_alloc(d->dump->text->arena, (size_t)n * sizeof *cells);
    for (int i = 0; i < n; i++)
        names[i] = sqlite3_column_name(rows, i);
    dump_head(d->dump, table, names, n);
    while ((code = sqlite3_step(rows)) == SQLITE_ROW) {
        for (int i = 0; i < n; i++)
            sqlite_read_cell(rows, i, &cells[i]);
        dump_row(d->dump, cells, n);
    }
    sqlite3_finalize(rows);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* Ordered by primary key, or by all columns where there is none. */
static int
select_rows(struct sqlite_dumper *d, const char *table, sqlite3_stmt **ret)
{
    sqlite3_stmt *keys;
    int code = sqlite3_prepare_v2(d->conn->db,
                                  "SELECT name, pk FROM pragma_table_info(?1) WHERE pk > 0 OR NOT"
                                  " EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE pk > 0)"
                                  " ORDER BY pk, cid",
                                  -1, &keys, NULL);
    if (code != SQLITE_OK)
        return code;
    struct text sql = text_in(d->dump->text->arena);
    text_add(&sql, "SELECT * FROM ");
    dump_name(&sql, table);
    sqlite3_bind_text(keys, 1, table, -1, SQLITE_STATIC);
    for (int i = 0; (code = sqlite3_step(keys)) == SQLITE_ROW; i++) {
        text_add(&sql, i ? ", " : " ORDER BY ");
        dump_name(&sql, (const char *)sqlite3_column_text(keys, 0));
    }
    sqlite3_finalize(keys);
    if (code != SQLITE_DONE)
        return code;
    return sqlite3_prepare_v2(d->conn->db, sql.bytes, -1, ret, NULL);
}
