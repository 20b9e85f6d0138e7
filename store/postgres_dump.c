/* Reading a schema for the canonical dump. */
#include "store/postgres.h"

struct pg_dumper {
    struct pg_conn *conn;
    struct dump *dump;
    struct arena *arena;
};

static bool dump_tables(struct pg_dumper *d);
static bool dump_table(struct pg_dumper *d, const char *table);
static PGresult *select_rows(struct pg_dumper *d, const char *table);
static PGresult *ask(struct pg_dumper *d, const char *sql);

enum status
pg_dump(struct store *store, struct dump *dump)
{
    struct pg_dumper d = {
        .conn = pg_reader(postgres_of(store)), .dump = dump, .arena = dump->text->arena};
    if (!d.conn)
        return UNAVAILABLE;
    struct pg_failure failure;
    bool good = pg_take_answers(d.conn, &failure, NULL) && pg_pipeline(d.conn, false);
    d.conn->patience_us = PG_PATIENT_US;
    if (good) {
        PQclear(ask(&d, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                        "SET LOCAL statement_timeout = 0"));
        good = dump_tables(&d);
        PQclear(ask(&d, "COMMIT"));
    }
    d.conn->patience_us = PG_ANSWER_US;
    if (!good || !pg_pipeline(d.conn, true))
        pg_break(d.conn);
    pg_give_back_reader(d.conn);
    return good ? OK : UNAVAILABLE;
}

static bool
dump_tables(struct pg_dumper *d)
{
    PGresult *tables = ask(d, "SELECT relname FROM pg_class WHERE relkind = 'r'"
                              " AND relnamespace = to_regnamespace(current_schema())"
                              " ORDER BY relname COLLATE \"C\"");
    bool good = tables != NULL;
    for (int i = 0; good && i < PQntuples(tables); i++) {
        const char *table = PQgetvalue(tables, i, 0);
        if (!d->dump->accept || d->dump->accept(table, d->dump->arg))
            good = dump_table(d, table);
    }
    PQclear(tables);
    return good;
}

static bool
dump_table(struct pg_dumper *d, const char *table)
{
    PGresult *rows = select_rows(d, table);
    if (!rows)
        return false;
    int n = PQnfields(rows);
    const char **names = arena_alloc(d->arena, (size_t)n * sizeof(char *));
    struct cell *cells = arena_alloc(d->arena, (size_t)n * sizeof *cells);
    for (int i = 0; i < n; i++)
        names[i] = PQfname(rows, i);
    dump_head(d->dump, table, names, n);
    for (int row = 0; row < PQntuples(rows); row++) {
        for (int i = 0; i < n; i++)
            pg_read_cell(rows, row, i, &cells[i]);
        dump_row(d->dump, cells, n);
    }
    PQclear(rows);
    return true;
}

/* Ordered by primary key, or by all columns where there is none, NULL before all else. */
static PGresult *
select_rows(struct pg_dumper *d, const char *table)
{
    struct text quoted = text_in(d->arena);
    dump_name(&quoted, table);
    const char *which =
        arena_printf(d->arena,
                     "WITH k AS (SELECT indkey FROM pg_index WHERE indrelid = to_regclass('%s')"
                     " AND indisprimary)"
                     "SELECT attname FROM pg_attribute LEFT JOIN k ON true"
                     " WHERE attrelid = to_regclass('%s') AND attnum > 0 AND NOT attisdropped"
                     " AND (k.indkey IS NULL OR attnum = ANY (k.indkey))"
                     " ORDER BY array_position(k.indkey::int2[], attnum), attnum",
                     quoted.bytes, quoted.bytes);
    PGresult *keys = ask(d, which);
    if (!keys)
        return NULL;
    struct text sql = text_in(d->arena);
    text_printf(&sql, "SELECT * FROM %s", quoted.bytes);
    for (int i = 0; i < PQntuples(keys); i++) {
        text_add(&sql, i ? ", " : " ORDER BY ");
        dump_name(&sql, PQgetvalue(keys, i, 0));
        text_add(&sql, " NULLS FIRST");
    }
    PQclear(keys);
    return ask(d, sql.bytes);
}

static PGresult *
ask(struct pg_dumper *d, const char *sql)
{
    const char *why;
    return pg_run_plain(d->conn, sql, d->arena, &why);
}
