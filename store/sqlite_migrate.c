/* Migrations: each applied once, in a transaction of its own with the row that says so. */
#include "base/env.h"
#include "store/sqlite.h"

struct migrator {
    struct conn *conn;
    const struct store_options *options;
    struct arena *arena;
    const char **why;
};

static enum status check_applied(struct migrator *m);
static enum status apply(struct migrator *m, const struct migration *migration);
static enum status run(struct migrator *m, const struct migration *migration);
static int is_applied(struct migrator *m, const struct migration *migration, bool *ret);
static int record(struct migrator *m, const struct migration *migration);
static enum status trouble(struct migrator *m, const struct migration *migration);

enum status
sqlite_migrate(struct conn *c, const struct store_options *options, struct arena *a,
               const char **why)
{
    struct migrator m = {.conn = c, .options = options, .arena = a, .why = why};
    if (sqlite3_exec(c->db, migration_table_sql, NULL, NULL, NULL) != SQLITE_OK)
        return trouble(&m, NULL);
    enum status st = check_applied(&m);
    const struct migration **list = migrations_in_order(options, a);
    for (size_t i = 0; i < options->n_migrations && st == OK; i++)
        st = apply(&m, list[i]);
    return st;
}

static enum status
check_applied(struct migrator *m)
{
    sqlite3_stmt *rows = NULL;
    if (sqlite3_prepare_v2(m->conn->db,
                           "SELECT service, number, name, checksum FROM store_migration"
                           " ORDER BY number, service",
                           -1, &rows, NULL) != SQLITE_OK)
        return trouble(m, NULL);
    enum status st = OK;
    int code = SQLITE_DONE;
    while (st == OK && (code = sqlite3_step(rows)) == SQLITE_ROW) {
        struct applied row = {
            .service = (const char *)sqlite3_column_text(rows, 0),
            .number = sqlite3_column_int64(rows, 1),
            .name = (const char *)sqlite3_column_text(rows, 2),
            .checksum = (const char *)sqlite3_column_text(rows, 3),
        };
        st = migration_check(m->options, &row, m->arena, m->why);
    }
    if (st == OK && code != SQLITE_DONE)
        st = trouble(m, NULL);
    sqlite3_finalize(rows);
    return st;
}

static enum status
apply(struct migrator *m, const struct migration *migration)
{
    sqlite3 *db = m->conn->db;
    if (conn_word(m->conn, WORD_BEGIN) != SQLITE_OK)
        return trouble(m, migration);
    bool applied;
    enum status st = OK;
    if (is_applied(m, migration, &applied) != SQLITE_OK)
        st = trouble(m, migration);
    else if (!applied)
        st = run(m, migration);
    if (st == OK && conn_word(m->conn, WORD_COMMIT) != SQLITE_OK)
        st = trouble(m, migration);
    if (!sqlite3_get_autocommit(db))
        conn_word(m->conn, WORD_ROLLBACK);
    return st;
}

static enum status
run(struct migrator *m, const struct migration *migration)
{
    struct conn *c = m->conn;
    c->owner = migration->service;
    c->strange[0] = '\0';
    int code = sqlite3_exec(c->db, migration->sql, NULL, NULL, NULL);
    c->owner = NULL;
    if (c->strange[0]) {
        *m->why = arena_printf(m->arena, "migration %s %s touches %s, which is not %s's own",
                               migration->service, migration->name, c->strange, migration->service);
        return FAILED_PRECONDITION;
    }
    if (code == SQLITE_OK)
        code = record(m, migration);
    return code == SQLITE_OK ? OK : trouble(m, migration);
}

static int
is_applied(struct migrator *m, const struct migration *migration, bool *ret)
{
    sqlite3_stmt *row;
    int code = sqlite3_prepare_v2(m->conn->db,
                                  "SELECT 1 FROM store_migration WHERE service = ? AND number = ?",
                                  -1, &row, NULL);
    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_text(row, 1, migration->service, -1, SQLITE_STATIC);
    sqlite3_bind_int(row, 2, migration->number);
    code = sqlite3_step(row);
    *ret = code == SQLITE_ROW;
    sqlite3_finalize(row);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

static int
record(struct migrator *m, const struct migration *migration)
{
    sqlite3_stmt *row;
    int code = sqlite3_prepare_v2(m->conn->db, "INSERT INTO store_migration VALUES (?, ?, ?, ?, ?)",
                                  -1, &row, NULL);
    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_text(row, 1, migration->service, -1, SQLITE_STATIC);
    sqlite3_bind_int(row, 2, migration->number);
    sqlite3_bind_text(row, 3, migration->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(row, 4, migration_checksum(migration, m->arena), -1, SQLITE_STATIC);
    sqlite3_bind_int64(row, 5, env.now_us());
    code = sqlite3_step(row);
    sqlite3_finalize(row);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

/* SQLite's words.  A disk or a lock in trouble may be better later; the migration's text will not.
 */
static enum status
trouble(struct migrator *m, const struct migration *migration)
{
    int code = sqlite3_errcode(m->conn->db) & 0xff;
    const char *words = sqlite3_errmsg(m->conn->db);
    if (migration)
        *m->why = arena_printf(m->arena, "migration %s %s: %s", migration->service, migration->name,
                               words);
    else
        *m->why = arena_printf(m->arena, "migrations: %s", words);
    return code == SQLITE_ERROR || code == SQLITE_CONSTRAINT || code == SQLITE_AUTH
               ? FAILED_PRECONDITION
               : UNAVAILABLE;
}
