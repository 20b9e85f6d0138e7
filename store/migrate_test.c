/* Migrations: applied once, in order, refused when they do not fit, and safe to kill. */
#include <signal.h>
#include <time.h>

#include "store/store_test.h"

static const char one[] = "CREATE TABLE shop_a (n BIGINT); INSERT INTO shop_a VALUES (1);";
static const char two[] = "INSERT INTO shop_a SELECT n + 1 FROM shop_a; -- the end\n";
static const char other[] =
    "CREATE TABLE audit_a (n BIGINT); CREATE INDEX audit_a_n ON audit_a (n)";

static enum status
try_open(const struct place *p, const struct migration *list, size_t n, struct arena *a,
         const char **why)
{
    struct store *store = NULL;
    struct store_options o = {
        .path = p->path, .schema = p->schema, .migrations = list, .n_migrations = n};
    *why = "";
    enum status st = store_open(&o, a, &store, why);
    if (st == OK)
        store_close(store);
    return st;
}

TEST(migrations_are_applied_once_in_the_order_of_their_numbers)
{
    static const struct migration list[] = {{"shop", 2, "002_more", two},
                                            {"audit", 1, "001_init", other},
                                            {"shop", 1, "001_init", one}};
    struct arena *a = arena_new();
    struct place p = new_place(a);
    const char *why;
    check_int(try_open(&p, list + 2, 1, a, &why), OK);
    check_int(query(&p, "SELECT COUNT(*) FROM shop_a"), 1);
    for (int i = 0; i < 2; i++) {
        check_int(try_open(&p, list, 3, a, &why), OK);
        check_int(query(&p, "SELECT COUNT(*) * 10 + MAX(n) FROM shop_a"), 22);
        check_int(query(&p, "SELECT COUNT(*) FROM store_migration WHERE length(checksum) = 64"
                            " AND applied_at_us > 1000000"),
                  3);
    }
    arena_free(a);
}

TEST(what_does_not_fit_is_refused_by_name_and_nothing_is_changed)
{
    static const struct migration good[] = {{"shop", 1, "001_init", one},
                                            {"shop", 2, "002_more", two}};
    static const struct {
        struct migration list[2];
        size_t n;
        const char *words;
    } cases[] = {
        {{{"shop", 1, "001_init", one}},
         1,
         "the database is newer than this program: it has migration shop 002_more"},
        {{{"shop", 1, "001_init", one}, {"shop", 2, "002_more", one}},
         2,
         "migration shop 002_more was changed after it was applied"},
    };
    struct arena *a = arena_new();
    struct place p = new_place(a);
    const char *why;
    check_int(try_open(&p, good, 2, a, &why), OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_int(try_open(&p, cases[i].list, cases[i].n, a, &why), FAILED_PRECONDITION);
        check_text(why, cases[i].words);
    }
    check_int(try_open(&p, good, 2, a, &why), OK);
    /* Those of a service that does not run here are let be. */
    static const struct migration elsewhere[] = {{"audit", 1, "001_init", other}};
    check_int(try_open(&p, elsewhere, 1, a, &why), OK);
    arena_free(a);
}

TEST(a_migration_that_fails_leaves_nothing_of_itself)
{
    const struct {
        const char *sql, *words;
    } cases[] = {
        {"CREATE TABLE shop_b (n BIGINT); INSERT INTO shop_c VALUES (1)",
         on_postgres() ? "relation \"shop_c\" does not exist" : "no such table: shop_c"},
        {"CREATE TABLE shop_b (n BIGINT); CREATE TABLE audit_b (n BIGINT)",
         "migration shop 002_bad touches audit_b, which is not shop's own"},
        {"CREATE TABLE shop_b (n BIGINT); CREATE INDEX by_n ON shop_b (n)", "touches by_n"},
        {"CREATE TABLE shop_b (n BIGINT); SELEKT", "syntax error"},
    };
    struct arena *a = arena_new();
    struct place p = new_place(a);
    const char *why;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct migration list[] = {{"shop", 1, "001_init", one},
                                   {"shop", 2, "002_bad", cases[i].sql}};
        check_int(try_open(&p, list, 2, a, &why), FAILED_PRECONDITION);
        check(strstr(why, cases[i].words) != NULL);
        check(strstr(why, "shop 002_bad") != NULL);
        check_int(query(&p, on_postgres()
                                ? "SELECT COUNT(*) FROM pg_class WHERE relname LIKE '%_b' AND"
                                  " relnamespace = to_regnamespace(current_schema())"
                                : "SELECT COUNT(*) FROM sqlite_schema WHERE name LIKE '%_b'"),
                  0);
        check_int(query(&p, "SELECT COUNT(*) FROM store_migration"), 1);
    }
    arena_free(a);
}

TEST(a_store_that_cannot_be_opened_says_why)
{
    struct arena *a = arena_new();
    const char *why;
    struct place nowhere = {arena_printf(a, "%s/no/such/folder.db", test_dir()), NULL};
    check_int(try_open(&nowhere, NULL, 0, a, &why), UNAVAILABLE);
    check(strstr(why, "unable to open") != NULL);
    struct place text = {arena_printf(a, "%s/text.db", test_dir()), NULL};
    FILE *f = fopen(text.path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database\n", f);
    fclose(f);
    check_int(try_open(&text, NULL, 0, a, &why), UNAVAILABLE);
    check(strstr(why, "not a database") != NULL);
    struct place away = {"postgresql://nobody@127.0.0.1:1/none", "shop"};
    check_int(try_open(&away, NULL, 0, a, &why), UNAVAILABLE);
    check(strstr(why, "Connection refused") != NULL);
    away.schema = NULL;
    check_int(try_open(&away, NULL, 0, a, &why), INVALID_ARGUMENT);
    away.schema = "shop; DROP";
    check_int(try_open(&away, NULL, 0, a, &why), INVALID_ARGUMENT);
    arena_free(a);
}

TEST(a_search_table_is_made_and_used_under_its_own_name)
{
    if (on_postgres())
        return;
    static const struct migration list[] = {
        {"search", 1, "001_init", "CREATE VIRTUAL TABLE search_doc USING fts5(title)"}};
    static struct statement add = {"search", "add", "INSERT INTO search_doc VALUES (?1)", true, 0};
    static struct statement find = {
        "search", "find", "SELECT COUNT(*) FROM search_doc WHERE search_doc MATCH ?1", false, 0};
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    struct store_options o = {
        .path = arena_printf(a, "%s/m.db", test_dir()), .migrations = list, .n_migrations = 1};
    struct store *store;
    const char *why = "";
    check_int(store_open(&o, a, &store, &why), OK);
    check_text(why, "");
    struct value in[] = {value_text("green tea")}, word[] = {value_text("tea")};
    struct tx *tx = tx_begin_in(store, "search", &scope);
    sql_exec(tx, &add, in, 1);
    check_int(tx_commit(tx), OK);
    check_int(store_wait(&scope), OK);
    int64_t n = 0;
    tx = tx_begin_read_in(store, "search", &scope);
    check_int(sql_int(tx, &find, word, 1, &n), OK);
    tx_end(tx);
    check_int(n, 1);
    store_close(store);
    arena_free(a);
}

/* ---- killed at any moment ---- */

enum { LARGE = 12, KILLS = 25 };

static struct migration large[LARGE];

static void
make_large(struct arena *a)
{
    for (int i = 0; i < LARGE; i++)
        large[i] = (struct migration){
            "shop", i + 1, "large",
            arena_printf(
                a,
                "CREATE TABLE shop_%d (n BIGINT); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL"
                " SELECT n + 1 FROM c WHERE n < 3000) INSERT INTO shop_%d SELECT n FROM c;",
                i + 1, i + 1)};
}

TEST(killed_at_any_moment_they_go_on_where_they_were)
{
    struct arena *a = arena_new();
    make_large(a);
    struct place p = new_place(a);
    const char *why;
    for (int i = 0; i < KILLS; i++) {
        pid_t child = fork();
        if (child == 0) {
            try_open(&p, large, LARGE, a, &why);
            _exit(0);
        }
        struct timespec t = {.tv_nsec = 400000 * (i + 1)};
        nanosleep(&t, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    check_int(try_open(&p, large, LARGE, a, &why), OK);
    check_int(query(&p, "SELECT COUNT(*) FROM store_migration"), LARGE);
    for (int i = 0; i < LARGE; i++)
        check_int(query(&p, arena_printf(a, "SELECT COUNT(*) FROM shop_%d", i + 1)), 3000);
    arena_free(a);
}
