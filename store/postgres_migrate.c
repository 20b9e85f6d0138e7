/*
 * Migrations: each applied once, in a transaction of its own with the row that says so.  One
 * process of a schema migrates at a time; a session's lock sees to it, and goes with the session.
 */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "store/postgres.h"

struct pg_migrator {
    struct postgres *pg;
    const struct store_options *options;
    struct arena *arena;
    const char **why;
};

static enum status prepare(struct pg_migrator *m);
static enum status check_applied(struct pg_migrator *m, PGresult *ret_rows[1]);
static bool is_applied(PGresult *rows, const struct migration *migration);
static enum status apply(struct pg_migrator *m, const struct migration *migration);
static char *row_literal(struct pg_migrator *m, const struct migration *migration);
static enum status run(struct pg_migrator *m, const char *sql);

enum status
pg_migrate(struct postgres *pg, const struct store_options *options, struct arena *a,
           const char **why)
{
    struct pg_migrator m = {.pg = pg, .options = options, .arena = a, .why = why};
    PGresult *applied = NULL;
    pg_pipeline(&pg->writer, false);
    pg->writer.patience_us = PG_PATIENT_US;
    enum status st = prepare(&m);
    if (st == OK)
        st = check_applied(&m, &applied);
    const struct migration **list = migrations_in_order(options, a);
    for (size_t i = 0; i < options->n_migrations && st == OK; i++)
        if (!is_applied(applied, list[i]))
            st = apply(&m, list[i]);
    PQclear(applied);
    if (st == OK && !pg_learn_tables(pg, a, why))
        st = UNAVAILABLE;
    if (st == OK)
        st = run(&m,
                 arena_printf(a, "SELECT pg_advisory_unlock(%lld); SET statement_timeout = %d",
                              (long long)pg_lock_key("migrate", pg->schema, ""), PG_STATEMENT_MS));
    pg->writer.patience_us = PG_ANSWER_US;
    if (st == OK && !pg_pipeline(&pg->writer, true))
        st = UNAVAILABLE;
    return st;
}

static enum status
prepare(struct pg_migrator *m)
{
    const char *schema = m->pg->schema;
    PGresult *encoding = pg_run_plain(&m->pg->writer, "SHOW server_encoding", m->arena, m->why);
    bool good = encoding && strcmp(PQgetvalue(encoding, 0, 0), "UTF8") == 0;
    if (encoding && !good)
        *m->why = "the database's encoding is not UTF8";
    PQclear(encoding);
    if (!good)
        return encoding ? FAILED_PRECONDITION : UNAVAILABLE;

    static const struct migration table = {"store", 0, "migrations", migration_table_sql};
    enum status st = run(m, arena_printf(m->arena,
                                         "SET statement_timeout = '60s';"
                                         "SELECT pg_advisory_lock(%lld);"
                                         "SET statement_timeout = 0",
                                         (long long)pg_lock_key("migrate", schema, "")));
    if (st == OK) /* whoever may not make one may use one that is there */
        st = run(m, arena_printf(m->arena,
                                 "DO $$ BEGIN IF to_regnamespace('%s') IS NULL THEN"
                                 " CREATE SCHEMA %s; END IF; END $$",
                                 schema, schema));
    if (st == OK)
        st = run(m, pg_migration(m->pg, &table, m->arena, m->why));
    if (st == OK && !pg_learn_tables(m->pg, m->arena, m->why))
        st = UNAVAILABLE;
    return st;
}

static enum status
check_applied(struct pg_migrator *m, PGresult *ret_rows[1])
{
    PGresult *rows = pg_run_plain(&m->pg->writer,
                                  "SELECT service, number, name, checksum FROM store_migration"
                                  " ORDER BY number, service",
                                  m->arena, m->why);
    *ret_rows = rows;
    if (!rows)
        return UNAVAILABLE;
    enum status st = OK;
    for (int i = 0; i < PQntuples(rows) && st == OK; i++) {
        struct applied row = {
            .service = PQgetvalue(rows, i, 0),
            .number = atoll(PQgetvalue(rows, i, 1)),
            .name = PQgetvalue(rows, i, 2),
            .checksum = PQgetvalue(rows, i, 3),
        };
        st = migration_check(m->options, &row, m->arena, m->why);
    }
    return st;
}

static bool
is_applied(PGresult *rows, const struct migration *migration)
{
    for (int i = 0; i < PQntuples(rows); i++)
        if (strcmp(PQgetvalue(rows, i, 0), migration->service) == 0 &&
            atoll(PQgetvalue(rows, i, 1)) == migration->number)
            return true;
    return false;
}

static enum status
apply(struct pg_migrator *m, const struct migration *migration)
{
    const char *sql = pg_migration(m->pg, migration, m->arena, m->why);
    if (!sql)
        return FAILED_PRECONDITION;
    enum status st = run(m, "BEGIN");
    if (st == OK)
        st = run(m, sql);
    if (st == OK)
        st = run(m, row_literal(m, migration));
    if (st == OK)
        st = run(m, "COMMIT");
    if (st)
        *m->why = arena_printf(m->arena, "migration %s %s: %s", migration->service, migration->name,
                               *m->why);
    return st;
}

static char *
row_literal(struct pg_migrator *m, const struct migration *migration)
{
    const char *const texts[] = {migration->service, migration->name,
                                 migration_checksum(migration, m->arena)};
    char *quoted[3];
    for (int i = 0; i < 3; i++)
        if (!(quoted[i] = PQescapeLiteral(m->pg->writer.link, texts[i], strlen(texts[i]))))
            abort();
    char *sql =
        arena_printf(m->arena, "INSERT INTO store_migration VALUES (%s, %d, %s, %s, %lld)",
                     quoted[0], migration->number, quoted[1], quoted[2], (long long)env.now_us());
    for (int i = 0; i < 3; i++)
        PQfreemem(quoted[i]);
    return sql;
}

/* A server in trouble may be better later; the migration's text will not. */
static enum status
run(struct pg_migrator *m, const char *sql)
{
    PGresult *answer = pg_run_plain(&m->pg->writer, sql, m->arena, m->why);
    PQclear(answer);
    if (answer)
        return OK;
    return m->pg->writer.link ? FAILED_PRECONDITION : UNAVAILABLE;
}
