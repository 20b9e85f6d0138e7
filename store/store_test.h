/*
 * What the tests of the store share: two services' tables, their statements, and short words.
 *
 * A test program runs on SQLite, and with SOUK_TEST_STORE=postgres on the server that
 * SOUK_TEST_POSTGRES names: tools/test.py does both.
 */
#pragma once
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/env.h"
#include "fiber/fiber.h"
#include "store/store.h"
#include "test/test.h"

#define UNUSED __attribute__((unused))

static const char shop_schema[] =
    "CREATE TABLE shop_item (id TEXT PRIMARY KEY, n BIGINT NOT NULL CHECK (n >= 0), note TEXT "
    "UNIQUE,"
    " body BLOB);"
    "CREATE TABLE shop_part (id BIGINT PRIMARY KEY, item_id TEXT NOT NULL REFERENCES shop_item);"
    "CREATE INDEX shop_part_by_item ON shop_part (item_id)";
static const char bus_schema[] = "CREATE TABLE bus_event (position INTEGER PRIMARY KEY, data TEXT)";

UNUSED static const struct migration schema[] = {{"shop", 1, "001_init", shop_schema},
                                                 {"bus", 1, "001_init", bus_schema}};

UNUSED static struct statement insert_item = {
    "shop", "insert_item", "INSERT INTO shop_item (id, n, note) VALUES (?1, ?2, ?3)", true, 0};
UNUSED static struct statement add_to_item = {
    "shop", "add_to_item", "UPDATE shop_item SET n = n + ?2 WHERE id = ?1", true, 0};
UNUSED static struct statement insert_part = {"shop", "insert_part",
                                              "INSERT INTO shop_part VALUES (?1, ?2)", true, 0};
UNUSED static struct statement count_items = {"shop", "count_items",
                                              "SELECT COUNT(*) FROM shop_item", false, 0};
UNUSED static struct statement sum_items = {"shop", "sum_items", "SELECT SUM(n) FROM shop_item",
                                            false, 0};
UNUSED static struct statement find_n = {"shop", "find_n", "SELECT n FROM shop_item WHERE id = ?1",
                                         false, 0};
UNUSED static struct statement publish = {"bus", "publish",
                                          "INSERT INTO bus_event (data) VALUES (?1)", true, 0};
UNUSED static struct statement count_events = {"bus", "count_events",
                                               "SELECT COUNT(*) FROM bus_event", false, 0};

UNUSED static bool
on_postgres(void)
{
    const char *which = getenv("SOUK_TEST_STORE");
    return which && strcmp(which, "postgres") == 0;
}

/* Where a store stands: a file in a folder of its own, or a schema. */
struct place {
    const char *path, *schema;
};

UNUSED static struct place
new_place(struct arena *a)
{
    static int n;
    if (!on_postgres())
        return (struct place){.path = arena_printf(a, "%s/shop.db", test_dir())};
    const char *url = getenv("SOUK_TEST_POSTGRES");
    if (!url) {
        fprintf(stderr, "SOUK_TEST_POSTGRES is not set\n");
        exit(2);
    }
    return (struct place){.path = url, .schema = arena_printf(a, "t%d_%d", getpid(), ++n)};
}

/* What one number a query gives; -1 if it fails.  Past the store. */
UNUSED static int64_t
query(const struct place *p, const char *sql)
{
    int64_t n = -1;
    if (p->schema) {
        PGconn *link = PQconnectdb(p->path);
        char path[100];
        snprintf(path, sizeof path, "SET search_path = %s", p->schema);
        PQclear(PQexec(link, path));
        PGresult *rows = PQexec(link, sql);
        if (PQresultStatus(rows) == PGRES_TUPLES_OK && PQntuples(rows) == 1)
            n = atoll(PQgetvalue(rows, 0, 0));
        PQclear(rows);
        PQfinish(link);
        return n;
    }
    sqlite3 *db;
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_open(p->path, &db) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

/* A store with the two services' tables, in a place of its own. */
struct shop {
    struct arena *arena;
    struct tx_scope scope;
    struct store *store;
    struct place place;
};

UNUSED static struct store *
open_at(const struct place *p, struct arena *a)
{
    struct store *store = NULL;
    const char *why = "";
    const struct store_options o = {
        .path = p->path, .schema = p->schema, .number = 1, .migrations = schema, .n_migrations = 2};
    check_int(store_open(&o, a, &store, &why), OK);
    check_text(why, "");
    return store;
}

UNUSED static struct shop
shop_open(void)
{
    struct shop s = {.arena = arena_new()};
    s.place = new_place(s.arena);
    s.scope.arena = s.arena;
    s.store = open_at(&s.place, s.arena);
    return s;
}

UNUSED static void
shop_close(struct shop *s)
{
    store_close(s->store);
    arena_free(s->arena);
}

UNUSED static void
item(struct tx *tx, const char *id, int64_t n)
{
    struct value in[] = {value_text(id), value_int(n), value_text_or_null(NULL)};
    sql_exec(tx, &insert_item, in, 3);
}

/* One item in a transaction of its own. */
UNUSED static enum status
put(struct store *store, struct tx_scope *scope, const char *id, int64_t n)
{
    struct tx *tx = tx_begin_in(store, "shop", scope);
    item(tx, id, n);
    return tx_commit(tx);
}

/* What a statement that gives one integer gives to scope; -1 without a row. */
UNUSED static int64_t
ask(struct store *store, struct tx_scope *scope, struct statement *s, const char *id)
{
    int64_t n = -1;
    struct value in[] = {value_text(id)};
    struct tx *tx = tx_begin_read_in(store, s->service, scope);
    sql_int(tx, s, in, id ? 1 : 0, &n);
    tx_end(tx);
    return n;
}

/* What somebody sees who has written nothing: what is on disk. */
UNUSED static int64_t
ask_afresh(struct shop *s, struct statement *question, const char *id)
{
    struct tx_scope fresh = {.arena = s->arena};
    return ask(s->store, &fresh, question, id);
}

/* Runs fn(arg) in a child; its words on stderr, and how it ended. */
UNUSED static char *
words_of_dying(void (*fn)(void *arg), void *arg, struct arena *a, int *ret_status)
{
    int fd[2];
    if (pipe(fd) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        dup2(fd[1], STDERR_FILENO);
        close(fd[0]);
        fn(arg);
        _exit(0);
    }
    close(fd[1]);
    char *words = arena_alloc(a, 65536);
    size_t n = 0;
    for (ssize_t got; n < 65535 && (got = read(fd[0], words + n, 65535 - n)) > 0;)
        n += (size_t)got;
    close(fd[0]);
    waitpid(child, ret_status, 0);
    return words;
}
