/* Migrations: each applied once, in a transaction of its own with the row that says so. */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/hash.h"
#include "base/text.h"
#include "store/inside.h"

struct migrator {
    struct conn *conn;
    const struct migration **list; /* in the order in which they are applied */
    size_t n;
    struct arena *arena;
    const char **why;
};

static int by_number(const void *a, const void *b);
static enum status check_applied(struct migrator *m);
static enum status check_row(struct migrator *m, const char *service, int64_t number,
                             const char *name, const char *checksum);
static enum status apply(struct migrator *m, const struct migration *migration);
static enum status run(struct migrator *m, const struct migration *migration);
static int is_applied(struct migrator *m, const struct migration *migration, bool *ret);
static int record(struct migrator *m, const struct migration *migration);
static const char *checksum_of(struct migrator *m, const struct migration *migration);
static enum status trouble(struct migrator *m, const struct migration *migration);

enum status
migrate(struct conn *c, const struct store_options *options, struct arena *a, const char **why)
{
    size_t n = options->n_migrations;
    struct migrator m = {.conn = c, .n = n, .arena = a, .why = why};
    m.list = arena_alloc(a, (n + 1) * sizeof(struct migration *));
    for (size_t i = 0; i < n; i++)
        m.list[i] = &options->migrations[i];
    qsort(m.list, n, sizeof(const struct migration *), by_number);

    static const char table[] =
        "CREATE TABLE IF NOT EXISTS store_migration (service TEXT NOT NULL, number BIGINT NOT NULL,"
        " name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at_us BIGINT NOT NULL,"
        " PRIMARY KEY (service, number))";
    if (sqlite3_exec(c->db, table, NULL, NULL, NULL) != SQLITE_OK)
        return trouble(&m, NULL);
    enum status st = check_applied(&m);
    for (size_t i = 0; i < n && st == OK; i++)
        st = apply(&m, m.list[i]);
    return st;
}

static int
by_number(const void *a, const void *b)
{
    const struct migration *x = *(const struct migration *const *)a;
    const struct migration *y = *(const struct migration *const *)b;
    return x->number != y->number ? (x->number > y->number) - (x->number < y->number)
                                  : strcmp(x->service, y->service);
}

/* What was applied before must be known and unchanged. */
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
    while (st == OK && (code = sqlite3_step(rows)) == SQLITE_ROW)
        st = check_row(m, (const char *)sqlite3_column_text(rows, 0), sqlite3_column_int64(rows, 1),
                       (const char *)sqlite3_column_text(rows, 2),
                       (const char *)sqlite3_column_text(rows, 3));
    if (st == OK && code != SQLITE_DONE)
        st = trouble(m, NULL);
    sqlite3_finalize(rows);
    return st;
}

static enum status
check_row(struct migrator *m, const char *service, int64_t number, const char *name,
          const char *checksum)
{
    bool service_known = false;
    for (size_t i = 0; i < m->n; i++) {
        const struct migration *known = m->list[i];
        if (strcmp(known->service, service) != 0)
            continue;
        service_known = true;
        if (known->number != number)
            continue;
        if (strcmp(checksum_of(m, known), checksum) == 0)
            return OK;
        *m->why = arena_printf(m->arena, "migration %s %s was changed after it was applied",
                               service, name);
        return FAILED_PRECONDITION;
    }
    if (!service_known)
        return OK; /* a service that does not run here */
    *m->why = arena_printf(
        m->arena, "the database is newer than this program: it has migration %s %s", service, name);
    return FAILED_PRECONDITION;
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
    sqlite3_bind_text(row, 4, checksum_of(m, migration), -1, SQLITE_STATIC);
    sqlite3_bind_int64(row, 5, env.now_us());
    code = sqlite3_step(row);
    sqlite3_finalize(row);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static const char *
checksum_of(struct migrator *m, const struct migration *migration)
{
    uint8_t digest[SHA256_BYTES];
    sha256(migration->sql, strlen(migration->sql), digest);
    return hex_encode(m->arena, digest, sizeof digest);
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
