/*
 * The store: transactions, typed statements, and what has to be durable before an answer leaves.
 *
 * A store is one SQLite file in WAL mode, or one schema of a PostgreSQL database; both have one
 * writer, and mean the same.  A transaction's statements run in a savepoint inside the writer's
 * open batch (or are its first); the batch is committed (and synced) as soon as the disk is free,
 * so many transactions share one sync.  tx_commit orders a transaction; store_wait waits for the
 * disk, and the kit calls it before any byte leaves the process.
 *
 * On PostgreSQL statements that give nothing back are only sent (sql_exec), and an INSERT of a row
 * not before something else is, so that rows go together.  What gives something waits for the
 * server, and so do tx_status, tx_message, tx_undo_to and tx_commit where the outcome of something
 * sent is not known yet.  A fiber that waits lets its neighbours run.  If the server is away, or a
 * connection breaks, the open batch has failed, and transactions fail at their first statement
 * until it is back.
 *
 * Transactions are sticky: after the first failure the rest are no-ops and tx_commit says why.
 * Readers run beside the writer and see only what is on disk; a scope that has written (or run in
 * the writer) reads there again, so that it sees its own writes.
 *
 * Ownership: a statement may name only tables whose name starts with the service's own
 * ("inventory_"); anything else is an assertion, at the first use.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

struct store;
struct tx;

enum { STORES_MAX = 40 };

/* What a piece of work carries of the stores it touched. */
struct tx_scope {
    struct arena *arena;        /* where rows and messages of failure go */
    uint64_t batch[STORES_MAX]; /* newest batch it wrote or read in, by store; 0 is none */
    struct tx *open;            /* at most one */
};

struct value {
    enum { VALUE_NULL, VALUE_TEXT, VALUE_INT, VALUE_BLOB } kind;
    const char *text; /* VALUE_TEXT: NUL-terminated; VALUE_BLOB: the bytes */
    int64_t num;      /* VALUE_INT; VALUE_BLOB: their count */
};
static inline struct value
value_text(const char *s)
{
    return (struct value){VALUE_TEXT, s ? s : "", 0};
}
static inline struct value
value_int(int64_t n)
{
    return (struct value){VALUE_INT, NULL, n};
}
static inline struct value
value_blob(ProtobufCBinaryData b)
{
    return (struct value){VALUE_BLOB, (const char *)b.data, (int64_t)b.len};
}
/* "" is stored as NULL, for keys that may be absent. */
static inline struct value
value_text_or_null(const char *s)
{
    return s && s[0] ? value_text(s) : (struct value){VALUE_NULL, NULL, 0};
}

/* One statement; generated from a service's .sql.  Its address is its identity. */
struct statement {
    const char *service; /* whose tables it may touch */
    const char *name;    /* "insert_order" */
    const char *sql;     /* placeholders ?1, ?2, … */
    bool writes;         /* refused in a transaction begun for reading */
    int number;          /* set by the store at first use, under its lock: leave 0 */
};

/*
 * A migration: applied once, in the order of number, at store_open.  The text may hold several
 * statements.  A service's tables stand in the file that store_plan gives it.
 */
struct migration {
    const char *service;
    int number;
    const char *name; /* "001_init" */
    const char *sql;
};

struct store_options {
    /* The database file (":memory:" is not allowed), or "postgresql://…". */
    const char *path;
    /* On PostgreSQL: the schema, made at the first open, that its tables stand in, and they alone.
     */
    const char *schema;
    int readers_max;                    /* on PostgreSQL: connections that read; 0 is 8 */
    int number;                         /* its place in tx_scope.batch, 0 to STORES_MAX - 1 */
    const struct migration *migrations; /* of all services whose tables stand here, in any order */
    size_t n_migrations;
    /* Called on the committing side after a batch is durable, before its waiters wake.  May be
     * NULL. */
    void (*on_durable)(void *arg, uint64_t batch);
    void *on_durable_arg;
};

/* Opens or creates; applies migrations under a lock; *why (in a) says what is wrong on failure. */
enum status store_open(const struct store_options *options, struct arena *a, struct store **ret,
                       const char **why);
/* Commits and waits for what is open, checkpoints, closes. */
void store_close(struct store *store);

/* A transaction that writes.  Waits (parks) for the writer; never fails by itself: a store in
 * trouble gives a transaction that is failed from the start, or fails at its first statement.
 * service is the name its statements must have. */
struct tx *tx_begin_in(struct store *store, const char *service, struct tx_scope *scope);
/* One that reads, as of one moment. */
struct tx *tx_begin_read_in(struct store *store, const char *service, struct tx_scope *scope);

/*
 * Ends tx.  OK: its writes are ordered and visible, and durable once store_wait says OK.
 * Otherwise nothing of it happened: the first failure of its statements (ALREADY_EXISTS for a
 * unique or primary key, FAILED_PRECONDITION for any other constraint, UNAVAILABLE if the disk is
 * full or failing or the server away, INVALID_ARGUMENT for text that PostgreSQL does not take,
 * which is what is not UTF-8), or tx_fail's.
 */
enum status tx_commit(struct tx *tx);
/* Ends tx; what it wrote is undone.  The way to end one begun for reading. */
void tx_end(struct tx *tx);

/* Makes tx fail with st (the first failure stays).  Returns st. */
enum status tx_fail(struct tx *tx, enum status st);
/* For many small steps in one tx: from here on tx_status and tx_message tell what is known without
 * waiting for the database (tx_undo_to waits still).  What fails meanwhile fails the commit. */
void tx_trust(struct tx *tx);
enum status tx_status(struct tx *tx);  /* OK while nothing failed */
const char *tx_message(struct tx *tx); /* the store's words for the failure, for the log; or "" */
struct tx_scope *tx_scope_of(const struct tx *tx);
struct store *tx_store(const struct tx *tx);

/*
 * Waits until every batch the scope wrote or read in is durable.  UNAVAILABLE if one of them
 * failed: then none of its transactions happened, whatever tx_commit said.
 */
enum status store_wait(struct tx_scope *scope);
/* True if store_wait would return at once. */
bool store_settled(const struct tx_scope *scope);

/* What generated statement functions call.  In a failed tx they do nothing. */
void sql_exec(struct tx *tx, struct statement *s, const struct value *in, size_t n);
/* The count of rows changed; 0 in a failed tx. */
int64_t sql_count(struct tx *tx, struct statement *s, const struct value *in, size_t n);
/*
 * The first row as a new message of type: a column goes to the field of its name, "total.amount" to
 * the field of a nested message (made when a column of it is not NULL).  NULL leaves a field at its
 * default.  Text goes to string fields, or to enum fields by the value's name; integers to integer,
 * bool and enum fields; blobs to bytes fields.  NOT_FOUND (which does not fail tx) without a row.
 */
enum status sql_one(struct tx *tx, struct statement *s, const struct value *in, size_t n,
                    const ProtobufCMessageDescriptor *type, void *ret_message);
/* All rows, as an array in the scope's arena.  ret_messages is a Type ***. */
enum status sql_many(struct tx *tx, struct statement *s, const struct value *in, size_t n,
                     const ProtobufCMessageDescriptor *type, void *ret_messages, size_t *ret_n);
/* One integer: the first column of the first row.  NOT_FOUND (which does not fail tx) without a
 * row. */
enum status sql_int(struct tx *tx, struct statement *s, const struct value *in, size_t n,
                    int64_t *ret);
enum status sql_text(struct tx *tx, struct statement *s, const struct value *in, size_t n,
                     const char **ret);

/* Begin and undo a part of a transaction: after tx_undo_to the tx is as it was at tx_mark, its
 * failure forgotten.  For a subscriber that must go on past one bad event. */
int tx_mark(struct tx *tx);
void tx_undo_to(struct tx *tx, int mark);

/*
 * True while this process leads what ("relay") in the store.  On SQLite it always does.  On
 * PostgreSQL a session's advisory lock says so; without it, it is tried for about once a second,
 * and with it the session is looked after as often, so that for some seconds after a leader was cut
 * off two may believe to lead.  Leading spares work; what may happen once only is guarded by rows.
 */
bool store_leads(struct store *store, const char *what);
/* Lets another lead.  store_close does so for all. */
void store_leads_drop(struct store *store, const char *what);

/* Figures for /metrics: batches committed, transactions in them, the sum of sync times, and how
 * often a server was waited for. */
struct store_figures {
    uint64_t batches, transactions, failed_batches;
    int64_t sync_us;
    uint64_t round_trips;
};
struct store_figures store_figures(struct store *store);

/*
 * A canonical dump of the tables whose name passes accept, ordered by name, then by primary key,
 * each row as one line of SQL literals: equal content gives equal bytes.
 */
enum status store_dump(struct store *store, bool (*accept)(const char *table, void *arg), void *arg,
                       struct arena *a, char **ret);

/* For tests: the k-th statement from now fails as a full disk would, and if it runs in the writer
 * the open batch is rolled back with it; a batch's COMMIT counts as one.  0 turns it off. */
void store_fail_at(struct store *store, int k);
