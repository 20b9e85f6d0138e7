/* The store on PostgreSQL: a schema, a session that writes, sessions that read. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "store/postgres.h"

static bool is_schema_name(const char *s);
static const char *trouble(struct store *store, struct arena *a);

static enum status
open_postgres(const struct store_options *options, struct arena *a, struct store **ret,
              const char **why)
{
    if (!options->schema || !is_schema_name(options->schema)) {
        *why = "a store on PostgreSQL has a schema, named in small letters";
        return INVALID_ARGUMENT;
    }
    struct postgres *pg = calloc(1, sizeof *pg);
    if (!pg)
        abort();
    store_init(&pg->store, &postgres_database, options);
    snprintf(pg->schema, sizeof pg->schema, "%s", options->schema);
    snprintf(pg->lock_sql, sizeof pg->lock_sql, "SELECT pg_advisory_xact_lock(%lld)",
             (long long)pg_lock_key("batch", pg->schema, ""));
    pg->readers_max = options->readers_max ? options->readers_max : PG_READERS_DEFAULT;
    pg->writer.pg = pg->leader.pg = pg;

    enum status st = OK;
    if (pg_ready(&pg->writer)) {
        st = pg_migrate(pg, options, a, why);
    } else {
        *why = trouble(&pg->store, a);
        st = UNAVAILABLE;
    }
    if (st)
        postgres_database.close(&pg->store);
    else
        *ret = &pg->store;
    return st;
}

static void
close_postgres(struct store *store)
{
    struct postgres *pg = postgres_of(store);
    pg_leads_close(pg);
    pg_close_readers(pg);
    pg_break(&pg->writer);
    pg_free_rows(pg);
    pg_forget_tables(pg);
    store_forget(store);
}

static bool
begin(struct store *store)
{
    struct pg_conn *c = &postgres_of(store)->writer;
    if (!pg_ready(c))
        return false;
    c->committed = false;
    pg_send_word(c, PG_BEGIN);
    pg_send_word(c, PG_LOCK);
    return c->link != NULL;
}

static bool
commit(struct store *store)
{
    struct pg_conn *c = &postgres_of(store)->writer;
    struct pg_failure failure;
    pg_send_word(c, PG_COMMIT);
    return pg_take_answers(c, &failure, NULL) && c->committed;
}

/* What is on its way may fail, and is not to take the ROLLBACK with it: there is a sync between. */
static void
roll_back(struct store *store)
{
    struct pg_conn *c = &postgres_of(store)->writer;
    if (!c->link)
        return;
    pg_forget(c);
    pg_push(c);
    pg_send_word(c, PG_ROLLBACK);
    pg_push(c);
}

static void
enter(struct tx *tx)
{
    tx->conn = &postgres_of(tx->store)->writer;
}

static bool
send_word(struct tx *tx, enum pg_word word)
{
    struct pg_conn *c = tx->conn;
    if (c->n_held)
        pg_send_held(tx);
    if (c->link)
        pg_send_word(c, word);
    return c->link != NULL;
}

static bool
save(struct tx *tx)
{
    return send_word(tx, PG_SAVE);
}

static bool
release(struct tx *tx)
{
    return send_word(tx, PG_RELEASE);
}

static bool
undo(struct tx *tx)
{
    return send_word(tx, PG_UNDO) && send_word(tx, PG_RELEASE);
}

static const char *
trouble(struct store *store, struct arena *a)
{
    struct postgres *pg = postgres_of(store);
    char words[PG_WORDS_MAX];
    spin_lock(&pg->away_lock);
    memcpy(words, pg->away_words, sizeof words);
    spin_unlock(&pg->away_lock);
    return arena_strdup(a, words[0] ? words : "the connection to the server is lost");
}

static bool
is_schema_name(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return islower((unsigned char)s[0]) && s[n] == '\0' && n <= PG_SCHEMA_CHARS_MAX &&
           !text_starts(s, "pg_");
}

const struct database postgres_database = {
    .transactions_max = PG_TRANSACTIONS_MAX,
    .shared = true,
    .open = open_postgres,
    .close = close_postgres,
    .begin = begin,
    .commit = commit,
    .roll_back = roll_back,
    .enter = enter,
    .save = save,
    .release = release,
    .undo = undo,
    .trouble = trouble,
    .settle = pg_settle,
    .take_reader = pg_take_reader,
    .leave_reader = pg_leave_reader,
    .exec = pg_exec,
    .count = pg_count,
    .query = pg_query,
    .next = pg_next,
    .cell = pg_cell,
    .column_name = pg_column_name,
    .finish = pg_finish,
    .dump = pg_dump,
    .leads = pg_leads,
    .leads_drop = pg_leads_drop,
};
