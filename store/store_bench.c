/*
 * What the store costs: the rows of a sale in seven transactions with two waits for the disk, by
 * many fibers, beside a bare SQLite loop that writes the same rows.
 *
 *     store_bench [buyers] [seconds] [postgresql://…]
 *
 * With a server only that is measured: sales whose skus are spread, and sales of one sku.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/env.h"
#include "base/ids.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "store/store.h"

enum {
    SALES_A_COMMIT = 32,
    PAYLOAD_BYTES = 300,
    SKUS = 500,
    BUYERS_MAX = 4096,
    TRANSACTIONS = 7 /* of a sale */
};

static const char gateway_schema[] =
    "CREATE TABLE gateway_key (id TEXT PRIMARY KEY, body_hash TEXT NOT NULL, state TEXT NOT NULL,"
    " answer BLOB, at_us BIGINT NOT NULL)";
static const char inventory_schema[] =
    "CREATE TABLE inventory_stock (sku TEXT PRIMARY KEY, on_hand BIGINT NOT NULL, reserved BIGINT "
    "NOT"
    " NULL CHECK (reserved <= on_hand), version BIGINT NOT NULL);"
    "CREATE TABLE inventory_reservation (id TEXT PRIMARY KEY, state TEXT NOT NULL, expires_at_us"
    " BIGINT NOT NULL);"
    "CREATE TABLE inventory_line (reservation_id TEXT NOT NULL REFERENCES inventory_reservation, "
    "sku"
    " TEXT NOT NULL, quantity BIGINT NOT NULL, PRIMARY KEY (reservation_id, sku));"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
    " INSERT INTO inventory_stock SELECT 'sku-' || i, 1000000000, 0, 1 FROM n";
static const char orders_schema[] =
    "CREATE TABLE orders_order (id TEXT PRIMARY KEY, state TEXT NOT NULL, currency TEXT NOT NULL,"
    " total_minor BIGINT NOT NULL, email TEXT NOT NULL, at_us BIGINT NOT NULL);"
    "CREATE TABLE orders_line (order_id TEXT NOT NULL REFERENCES orders_order, line_no BIGINT NOT"
    " NULL, sku TEXT NOT NULL, quantity BIGINT NOT NULL, price_minor BIGINT NOT NULL,"
    " PRIMARY KEY (order_id, line_no))";
static const char payments_schema[] =
    "CREATE TABLE payments_payment (id TEXT PRIMARY KEY, order_id TEXT NOT NULL UNIQUE, state TEXT "
    "NOT"
    " NULL, amount_minor BIGINT NOT NULL, ref TEXT, at_us BIGINT NOT NULL)";
static const char bus_schema[] =
    "CREATE TABLE bus_journal (position INTEGER PRIMARY KEY, id TEXT NOT NULL, topic TEXT NOT NULL,"
    " subject TEXT NOT NULL, sequence BIGINT NOT NULL, at_us BIGINT NOT NULL, data BLOB NOT NULL)";

static const struct migration migrations[] = {
    {"gateway", 1, "001", gateway_schema}, {"inventory", 1, "001", inventory_schema},
    {"orders", 1, "001", orders_schema},   {"payments", 1, "001", payments_schema},
    {"bus", 1, "001", bus_schema},
};

enum {
    BEGIN_KEY,
    RESERVE_STOCK,
    INSERT_RESERVATION,
    INSERT_RESERVED,
    INSERT_ORDER,
    INSERT_LINE,
    INSERT_PAYMENT,
    END_PAYMENT,
    PAY_ORDER,
    COMMIT_RESERVATION,
    TAKE_STOCK,
    END_KEY,
    PUBLISH,
    STATEMENTS
};

static struct statement statements[STATEMENTS] = {
    {"gateway", "begin_key", "INSERT INTO gateway_key VALUES (?1, ?2, 'running', NULL, ?3)", true,
     0},
    {"inventory", "reserve_stock",
     "UPDATE inventory_stock SET reserved = reserved + ?2, version ="
     " version + 1 WHERE sku = ?1 AND on_hand - reserved >= ?2",
     true, 0},
    {"inventory", "insert_reservation", "INSERT INTO inventory_reservation VALUES (?1, 'HELD', ?2)",
     true, 0},
    {"inventory", "insert_reserved", "INSERT INTO inventory_line VALUES (?1, ?2, ?3)", true, 0},
    {"orders", "insert_order",
     "INSERT INTO orders_order VALUES (?1, 'AWAITING', 'EUR', ?2, ?3, ?4)", true, 0},
    {"orders", "insert_line", "INSERT INTO orders_line VALUES (?1, ?2, ?3, 1, 999)", true, 0},
    {"payments", "insert_payment",
     "INSERT INTO payments_payment VALUES (?1, ?2, 'BEGUN', ?3, NULL,"
     " ?4)",
     true, 0},
    {"payments", "end_payment",
     "UPDATE payments_payment SET state = 'DONE', ref = ?2 WHERE id = ?1", true, 0},
    {"orders", "pay_order", "UPDATE orders_order SET state = 'PAID' WHERE id = ?1", true, 0},
    {"inventory", "commit_reservation",
     "UPDATE inventory_reservation SET state = 'SOLD' WHERE id ="
     " ?1 AND state = 'HELD'",
     true, 0},
    {"inventory", "take_stock",
     "UPDATE inventory_stock SET reserved = reserved - ?2, on_hand ="
     " on_hand - ?2, version = version + 1 WHERE sku = ?1",
     true, 0},
    {"gateway", "end_key", "UPDATE gateway_key SET state = 'done', answer = ?2 WHERE id = ?1", true,
     0},
    {"bus", "publish",
     "INSERT INTO bus_journal (id, topic, subject, sequence, at_us, data) VALUES"
     " (?1, ?2, ?3, 1, ?4, ?5)",
     true, 0},
};

static const char payload[PAYLOAD_BYTES + 1];

struct sale {
    struct arena *arena;
    const char *key, *order, *reservation, *payment, *sku[2];
    int64_t at_us;
};

/* What runs a sale's statements: the store, or a bare loop. */
struct runner {
    void *self;
    void (*begin)(void *self, const char *service);
    void (*run)(void *self, int statement, const struct value *in, size_t n);
    void (*end)(void *self);
    void (*wait)(void *self);
};

struct buyer {
    struct store *store;
    struct tx_scope scope;
    struct tx *tx;
};

struct bare {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
};

static int64_t stop_us;
static int sold, failed;
static bool hot; /* all buy the same */
static unsigned seed = 1;

static void
publish(const struct runner *r, struct sale *s, const char *topic)
{
    struct value in[] = {value_text(id_derive(s->arena, "evn", s->key, topic)),
                         value_text(topic),
                         value_text(s->order),
                         value_int(s->at_us),
                         {VALUE_BLOB, payload, PAYLOAD_BYTES}};
    r->run(r->self, PUBLISH, in, 5);
}

static void
sell_reserve(const struct runner *r, struct sale *s)
{
    struct value key[] = {value_text(s->key), value_text(s->order), value_int(s->at_us)};
    r->begin(r->self, "gateway");
    r->run(r->self, BEGIN_KEY, key, 3);
    r->end(r->self);

    struct value held[] = {value_text(s->reservation), value_int(s->at_us)};
    r->begin(r->self, "inventory");
    r->run(r->self, INSERT_RESERVATION, held, 2);
    for (int i = 0; i < 2; i++) {
        struct value line[] = {value_text(s->reservation), value_text(s->sku[i]), value_int(1)};
        r->run(r->self, RESERVE_STOCK, line + 1, 2);
        r->run(r->self, INSERT_RESERVED, line, 3);
    }
    publish(r, s, "inventory.stock_reserved");
    r->end(r->self);

    struct value order[] = {value_text(s->order), value_int(1998), value_text("ada@example.org"),
                            value_int(s->at_us)};
    r->begin(r->self, "orders");
    r->run(r->self, INSERT_ORDER, order, 4);
    for (int i = 0; i < 2; i++) {
        struct value line[] = {value_text(s->order), value_int(i), value_text(s->sku[i])};
        r->run(r->self, INSERT_LINE, line, 3);
    }
    publish(r, s, "orders.order_created");
    r->end(r->self);
}

static void
sell_pay(const struct runner *r, struct sale *s)
{
    struct value payment[] = {value_text(s->payment), value_text(s->order), value_int(1998),
                              value_int(s->at_us)};
    r->begin(r->self, "payments");
    r->run(r->self, INSERT_PAYMENT, payment, 4);
    r->end(r->self);
    r->wait(r->self); /* before the provider is called */
    r->begin(r->self, "payments");
    r->run(r->self, END_PAYMENT, payment, 2);
    publish(r, s, "payments.payment_processed");
    r->end(r->self);

    struct value order[] = {value_text(s->order)};
    r->begin(r->self, "orders");
    r->run(r->self, PAY_ORDER, order, 1);
    publish(r, s, "orders.order_paid");
    r->end(r->self);

    struct value answer[] = {value_text(s->key), {VALUE_BLOB, payload, PAYLOAD_BYTES}};
    r->begin(r->self, "gateway");
    r->run(r->self, END_KEY, answer, 2);
    r->end(r->self);
    r->wait(r->self); /* before the answer */
}

static void
sell(const struct runner *r, struct arena *a)
{
    struct sale s = {.arena = a, .at_us = env.now_us()};
    s.key = id_make(a, "req", s.at_us);
    s.order = id_derive(a, "ord", s.key, NULL);
    s.reservation = id_derive(a, "rsv", s.key, NULL);
    s.payment = id_derive(a, "pay", s.key, NULL);
    for (int i = 0; i < 2; i++)
        s.sku[i] =
            arena_printf(a, "sku-%d", i * SKUS / 2 + (hot ? 0 : rand_r(&seed) % (SKUS / 2)) + 1);
    sell_reserve(r, &s);
    sell_pay(r, &s);
}

/* ---- the store ---- */

static void
buyer_begin(void *self, const char *service)
{
    struct buyer *b = self;
    b->tx = tx_begin_in(b->store, service, &b->scope);
}

static void
buyer_run(void *self, int statement, const struct value *in, size_t n)
{
    struct buyer *b = self;
    sql_exec(b->tx, &statements[statement], in, n);
}

static void
buyer_end(void *self)
{
    struct buyer *b = self;
    failed += tx_commit(b->tx) != OK;
}

static void
buyer_wait(void *self)
{
    struct buyer *b = self;
    failed += store_wait(&b->scope) != OK;
}

static void
buy(void *store)
{
    struct buyer b = {.store = store};
    struct runner r = {&b, buyer_begin, buyer_run, buyer_end, buyer_wait};
    struct arena *a = arena_new();
    while (env.mono_us() < stop_us) {
        b.scope = (struct tx_scope){.arena = a};
        sell(&r, a);
        sold++;
        arena_reset(a);
    }
    arena_free(a);
}

/* ---- the bare loop ---- */

static void
bare_nothing(void *self)
{
    (void)self;
}

static void
bare_begin(void *self, const char *service)
{
    (void)self, (void)service;
}

static void
bare_run(void *self, int statement, const struct value *in, size_t n)
{
    sqlite3_stmt *stmt = ((struct bare *)self)->statements[statement];
    for (int i = 0; i < (int)n; i++) {
        if (in[i].kind == VALUE_INT)
            sqlite3_bind_int64(stmt, i + 1, in[i].num);
        else if (in[i].kind == VALUE_TEXT)
            sqlite3_bind_text(stmt, i + 1, in[i].text, -1, SQLITE_STATIC);
        else
            sqlite3_bind_blob(stmt, i + 1, in[i].text, (int)in[i].num, SQLITE_STATIC);
    }
    failed += sqlite3_step(stmt) != SQLITE_DONE;
    sqlite3_reset(stmt);
}

static void
bare_exec(struct bare *b, const char *sql)
{
    if (sqlite3_exec(b->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        failed++;
}

static void
bare_open(struct bare *b, const char *path)
{
    sqlite3_open_v2(path, &b->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                    NULL);
    bare_exec(b, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                 "PRAGMA cache_size=-8192; PRAGMA secure_delete=FAST");
    for (size_t i = 0; i < sizeof migrations / sizeof migrations[0]; i++)
        bare_exec(b, migrations[i].sql);
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_prepare_v2(b->db, statements[i].sql, -1, &b->statements[i], NULL);
}

static void
bare_close(struct bare *b)
{
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(b->statements[i]);
    sqlite3_close(b->db);
}

/* ---- telling ---- */

static int64_t
cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * SECOND_US + u.ru_utime.tv_usec +
           u.ru_stime.tv_usec;
}

static double
tell(const char *what, int64_t took_us, int64_t took_cpu_us)
{
    double a_second = sold * 1e6 / (double)took_us;
    printf("%-34s %8.0f sales/s %7.1f us a sale %7.1f us CPU a sale%s\n", what, a_second,
           (double)took_us / sold, (double)took_cpu_us / sold, failed ? "  FAILURES" : "");
    return a_second;
}

static double
run_bare(const char *dir, int sales_a_commit, int64_t for_us)
{
    struct bare b;
    char path[256], what[64];
    snprintf(path, sizeof path, "%s/bare-%d.db", dir, sales_a_commit);
    bare_open(&b, path);
    struct runner r = {&b, bare_begin, bare_run, bare_nothing, bare_nothing};
    struct arena *a = arena_new();
    sold = 0;
    int64_t began_us = env.mono_us(), began_cpu_us = cpu_us();
    while (env.mono_us() - began_us < for_us) {
        bare_exec(&b, "BEGIN IMMEDIATE");
        for (int i = 0; i < sales_a_commit; i++, sold++, arena_reset(a))
            sell(&r, a);
        bare_exec(&b, "COMMIT");
    }
    snprintf(what, sizeof what, "bare loop, %d sales a commit", sales_a_commit);
    double rate = tell(what, env.mono_us() - began_us, cpu_us() - began_cpu_us);
    arena_free(a);
    bare_close(&b);
    return rate;
}

/* The rate; figures says what of the store it took. */
static double
run_store(struct store_options *o, const char *what, int buyers, int64_t for_us,
          struct store_figures *figures)
{
    struct arena *a = arena_new();
    struct store *store;
    const char *why;
    o->migrations = migrations;
    o->n_migrations = sizeof migrations / sizeof migrations[0];
    if (store_open(o, a, &store, &why) != OK) {
        printf("%s\n", why);
        exit(1);
    }
    struct sched *s = sched_new("core", BUYERS_MAX);
    sold = 0;
    int64_t began_us = env.mono_us(), began_cpu_us = cpu_us();
    stop_us = began_us + for_us;
    for (int i = 0; i < buyers; i++)
        sched_spawn(s, buy, store);
    sched_free(s);
    double rate = tell(what, env.mono_us() - began_us, cpu_us() - began_cpu_us);
    *figures = store_figures(store);
    printf("    %.1f transactions a batch, %.0f batches/s, %.0f us a commit",
           (double)figures->transactions / (double)figures->batches,
           (double)figures->batches * 1e6 / (double)for_us,
           (double)figures->sync_us / (double)figures->batches);
    store_close(store);
    arena_free(a);
    return rate;
}

static double
run_file(const char *dir, int buyers, int64_t for_us)
{
    char path[256], what[64];
    struct store_figures figures;
    snprintf(path, sizeof path, "%s/store-%d.db", dir, buyers);
    snprintf(what, sizeof what, "store, %d buyers", buyers);
    struct store_options o = {.path = path};
    double rate = run_store(&o, what, buyers, for_us, &figures);
    printf("\n");
    return rate;
}

static void
run_server(const char *url, int buyers, int64_t for_us)
{
    char schema[40], what[64];
    struct store_figures f;
    snprintf(schema, sizeof schema, "bench%d_%d_%d", (int)getpid(), buyers, hot);
    snprintf(what, sizeof what, "postgresql, %d buyers, %s", buyers, hot ? "one sku" : "spread");
    struct store_options o = {.path = url, .schema = schema};
    double rate = run_store(&o, what, buyers, for_us, &f);
    printf(", %.0f transactions/s,\n    %.1f waits for the server a sale\n", rate * TRANSACTIONS,
           (double)f.round_trips / sold);
}

int
main(int argc, char **argv)
{
    int buyers = argc > 1 ? atoi(argv[1]) : 64;
    int64_t for_us = (argc > 2 ? atoi(argv[2]) : 2) * SECOND_US;
    if (argc > 3) {
        for (int i = 0; i < 4; i++) {
            hot = i % 2;
            run_server(argv[3], i < 2 ? 1 : buyers, for_us);
        }
        return failed != 0;
    }
    char dir[] = "/tmp/store-bench-XXXXXX";
    if (!mkdtemp(dir))
        return 1;
    double one = run_bare(dir, 1, for_us);
    double many = run_bare(dir, SALES_A_COMMIT, for_us);
    double single = run_file(dir, 1, for_us);
    double store = run_file(dir, buyers, for_us);
    printf("store, %d buyers: %.2f of the bare loop with %d sales a commit, %.2f of one with 1\n",
           buyers, store / many, SALES_A_COMMIT, store / one);
    printf("store, 1 buyer: %.2f of the bare loop with 1 sale a commit\n", single / one);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command) != 0 || failed != 0;
}
