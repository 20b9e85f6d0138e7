/* The embedded store: a SQLite file, its writer, its readers. */
#include <stdlib.h>

#include "base/env.h"
#include "store/sqlite.h"

enum { STMT_JOURNAL_BYTES = 256 << 10 };

static void prepare_sqlite(void);
static enum status say_why(struct sqlite *q, struct conn *c, struct arena *a, const char **why);

static enum status
open_sqlite(const struct store_options *options, struct arena *a, struct store **ret,
            const char **why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_sqlite);

    struct sqlite *q = calloc(1, sizeof *q);
    if (!q)
        abort();
    store_init(&q->store, &sqlite_database, options);
    enum status st = OK;
    if (conn_open(&q->writer, q, CONN_WRITER) != SQLITE_OK)
        st = say_why(q, &q->writer, a, why);
    if (st == OK)
        st = sqlite_migrate(&q->writer, options, a, why);
    if (st == OK && checkpoint_start(q) != SQLITE_OK)
        st = say_why(q, &q->copier, a, why);
    if (st)
        sqlite_database.close(&q->store);
    else
        *ret = &q->store;
    return st;
}

static void
close_sqlite(struct store *store)
{
    struct sqlite *q = sqlite_of(store);
    checkpoint_stop(q);
    readers_close(q);
    if (q->writer.db)
        conn_shut(&q->writer);
    store_forget(store);
}

static bool
begin(struct store *store)
{
    return conn_word(&sqlite_of(store)->writer, WORD_BEGIN) == SQLITE_OK;
}

static bool
commit(struct store *store)
{
    return conn_word(&sqlite_of(store)->writer, WORD_COMMIT) == SQLITE_OK;
}

static void
roll_back(struct store *store)
{
    struct conn *c = &sqlite_of(store)->writer;
    if (!sqlite3_get_autocommit(c->db))
        conn_word(c, WORD_ROLLBACK);
}

static void
enter(struct tx *tx)
{
    tx->conn = &sqlite_of(tx->store)->writer;
}

static bool
save(struct tx *tx)
{
    return conn_word(tx->conn, WORD_SAVE) == SQLITE_OK;
}

static bool
release(struct tx *tx)
{
    return conn_word(tx->conn, WORD_RELEASE) == SQLITE_OK;
}

static bool
undo(struct tx *tx)
{
    return conn_word(tx->conn, WORD_UNDO) == SQLITE_OK &&
           conn_word(tx->conn, WORD_RELEASE) == SQLITE_OK;
}

static const char *
trouble(struct store *store, struct arena *a)
{
    (void)a;
    return sqlite3_errmsg(sqlite_of(store)->writer.db);
}

static bool
take_reader(struct tx *tx)
{
    tx->conn = reader_take(sqlite_of(tx->store));
    return tx->conn != NULL;
}

static void
leave_reader(struct tx *tx)
{
    if (tx->began)
        conn_word(tx->conn, WORD_COMMIT);
    reader_give_back(tx->conn);
}

/* Connections are guarded by us, and nobody asks for its counts of memory.  What a savepoint keeps
 * stays in memory up to the size of a large transaction. */
static void
prepare_sqlite(void)
{
    sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite3_config(SQLITE_CONFIG_STMTJRNL_SPILL, STMT_JOURNAL_BYTES);
    if (sqlite3_initialize() != SQLITE_OK)
        abort();
}

static enum status
say_why(struct sqlite *q, struct conn *c, struct arena *a, const char **why)
{
    *why =
        arena_printf(a, "%s: %s", q->store.path, c->db ? sqlite3_errmsg(c->db) : "out of memory");
    return UNAVAILABLE;
}

const struct database sqlite_database = {
    .transactions_max = BATCH_TRANSACTIONS_MAX,
    .open = open_sqlite,
    .close = close_sqlite,
    .begin = begin,
    .commit = commit,
    .roll_back = roll_back,
    .committed = checkpoint_look,
    .enter = enter,
    .save = save,
    .release = release,
    .undo = undo,
    .trouble = trouble,
    .take_reader = take_reader,
    .leave_reader = leave_reader,
    .exec = sqlite_exec,
    .count = sqlite_count,
    .query = sqlite_query,
    .next = sqlite_next,
    .cell = sqlite_cell,
    .column_name = sqlite_column_name,
    .finish = sqlite_finish,
    .dump = sqlite_dump,
};
