/*
 * What the files of store/ share.  Transactions, group commit and rows are written once, above a
 * table of functions that a database fills: sqlite_*.c, or postgres_*.c.
 */
#pragma once
#include "base/text.h"
#include "fiber/wait.h"
#include "store/store.h"

enum {
    /* A batch that nobody waits for is committed when it is so old, for those who follow what is
     * durable. */
    BATCH_AGE_MAX_US = 5000,

    FAILED_RUNS_MAX = 1024, /* runs of failed batches that are remembered one by one */
    SAVEPOINTS_MAX = 256,   /* marks of one transaction */
};

/* A field that a column of a statement goes to. */
struct column;

/* How the columns of a statement fill messages of type, once they have filled one. */
struct mapping {
    const ProtobufCMessageDescriptor *type;
    struct column *columns;
    int n_columns;
};

/* A column of a row.  Bytes live until the next row; a '\0' stands behind text. */
struct cell {
    enum { CELL_NULL, CELL_INT, CELL_REAL, CELL_TEXT, CELL_BLOB } kind;
    int64_t num;
    double real;
    const char *bytes;
    size_t n;
};

/* A statement that gives rows, while it runs. */
struct cursor {
    struct tx *tx;
    struct statement *statement;
    struct mapping *mapping;
    void *handle; /* the database's */
    int n_columns;
    int row, n_rows;
};

struct dump;

/* One waits for a batch. */
struct waiter {
    uint64_t batch;
    struct fiber *fiber;
    struct waiter *next;
};

struct run {
    uint64_t first, last;
};

struct store {
    const struct database *database;
    char *path;
    int number;
    unsigned slot; /* in the list of open stores; batch numbers carry it */
    void (*on_durable)(void *arg, uint64_t batch);
    void *on_durable_arg;

    /* The open batch belongs to whoever holds the lock. */
    struct fiber_lock writer_lock;
    bool open;             /* BEGIN was done */
    uint64_t batch;        /* the number of the open batch, or of the next; read atomically */
    uint64_t transactions; /* in the open batch; read atomically */
    int64_t began_us;      /* when its first transaction was ordered; read atomically */

    /* What became of batches. */
    struct spin fate_lock;
    uint64_t decided; /* all up to this one are durable or failed; atomic */
    struct waiter *waiters;
    uint64_t asked;                     /* newest batch that has a waiter, or had one */
    struct run failed[FAILED_RUNS_MAX]; /* a ring */
    size_t n_failed;                    /* how many there ever were; atomic */
    uint64_t forgotten;                 /* failed runs up to this batch have left the ring */
    struct store_figures figures;

    uint64_t round_trips; /* atomic */

    /* The thread that commits. */
    pthread_t committer_thread;
    struct fiber *committer;
    uint64_t wanted; /* newest batch that somebody waits for; atomic */
    bool watching;   /* it looks at the batch's age by itself and need not be woken; atomic */
    bool stopping;   /* atomic */

    int fail_at; /* atomic */
};

struct tx {
    struct store *store;
    void *conn; /* the database's; NULL: failed from the start */
    const char *service;
    struct tx_scope *scope;
    enum status st;
    const char *message;
    int failed_at; /* how many savepoints were wanted when it failed */
    bool for_reading, in_writer;
    bool began;        /* a reader's: BEGIN was done */
    bool wrote;        /* in the writer's batch */
    bool trusting;     /* nobody asks what became of each statement */
    bool lost;         /* its batch was rolled back with all in it */
    uint64_t batch;    /* the one lost */
    int wanted, saved; /* savepoints: its own and its marks'; made at the first write behind them */
    int alone;         /* 1: first in its batch, which is its own savepoint */
};

/*
 * What a database does.  A function that gives bool says false when the connection or the disk has
 * failed; statements put their failure into the transaction instead (tx_failed, tx_lose).  All but
 * open, close, the readers, dump and leading are called with the writer's lock held.
 */
struct database {
    uint64_t transactions_max; /* of a batch, then it is committed */
    /* Other processes write in it too: who reads in the writer is in a batch as well, which holds
     * them off, and one that came to nothing ends at once.  So the first in it needs no savepoint.
     */
    bool shared;

    enum status (*open)(const struct store_options *options, struct arena *a, struct store **ret,
                        const char **why);
    void (*close)(struct store *store); /* and free it */

    bool (*begin)(struct store *store);
    bool (*commit)(struct store *store);    /* true: it is durable */
    void (*roll_back)(struct store *store); /* also what is not open any more */
    void (*committed)(struct store *store); /* without the lock, after each commit; may be NULL */

    /* A transaction in the writer: its connection, and its innermost savepoint. */
    void (*enter)(struct tx *tx);
    bool (*save)(struct tx *tx);
    bool (*release)(struct tx *tx);
    bool (*undo)(struct tx *tx); /* and release it */
    /* What begin or save have failed by, at most in a. */
    const char *(*trouble)(struct store *store, struct arena *a);
    /* Waits until it is known what became of the statements so far.  NULL: it always is. */
    void (*settle)(struct tx *tx);

    bool (*take_reader)(struct tx *tx);
    void (*leave_reader)(struct tx *tx);

    void (*exec)(struct tx *tx, struct statement *s, const struct value *in, size_t n);
    int64_t (*count)(struct tx *tx, struct statement *s, const struct value *in, size_t n);
    /* Rows: query, then next until it gives false, then finish, which gives false on a failure. */
    bool (*query)(struct tx *tx, struct statement *s, const struct value *in, size_t n,
                  struct cursor *ret);
    bool (*next)(struct cursor *c);
    void (*cell)(struct cursor *c, int i, struct cell *ret);
    const char *(*column_name)(struct cursor *c, int i);
    bool (*finish)(struct cursor *c);

    enum status (*dump)(struct store *store, struct dump *dump);
    bool (*leads)(struct store *store, const char *what);      /* NULL: always */
    void (*leads_drop)(struct store *store, const char *what); /* NULL with leads */
};

extern const struct database sqlite_database, postgres_database;

/* ---- tx.c ---- */

/* Before a statement runs: opens the batch, and the savepoints that tx wants.  False: tx failed. */
bool tx_prepare_to_run(struct tx *tx, const struct statement *s);
/* The statement has failed, by the database's words. */
void tx_failed(struct tx *tx, const struct statement *s, enum status st, const char *words);
/* The open batch is gone, with all in it. */
void tx_lose(struct tx *tx);

/* ---- batch.c: group commit ---- */

void batch_start(struct store *store);
void batch_stop(struct store *store);
/* With the writer's lock held: opens the batch if it is not. */
bool batch_open(struct store *store);
/* A transaction in the open batch was ordered. */
void batch_ordered(struct store *store);
/* The open batch is gone, with all in it. */
void batch_lost(struct store *store);
/* The open batch has nothing in it: ends it.  With the writer's lock held. */
void batch_drop_empty(struct store *store);
/* Takes the lock, commits the open batch, does more with the writer idle, and gives the lock back.
 */
void batch_commit(struct store *store, void (*more)(struct store *store));
/* Waits until batch is decided; UNAVAILABLE if it failed. */
enum status batch_wait(struct store *store, uint64_t batch);
bool batch_decided(struct store *store, uint64_t batch);
bool batch_failed(struct store *store, uint64_t batch);
void writer_lock(struct store *store);
void writer_unlock(struct store *store);

/* ---- rows.c: rows as messages ---- */

/* A new message from the row that c is at.  On failure *why says it, and NULL is given. */
ProtobufCMessage *row_message(struct cursor *c, const ProtobufCMessageDescriptor *type,
                              struct arena *a, const char **why);
void mapping_free(struct mapping *m);

/* ---- migrate.c: what migrations are on both databases ---- */

extern const char migration_table_sql[];

/* A row of store_migration. */
struct applied {
    const char *service;
    int64_t number;
    const char *name, *checksum;
};
/* The options' migrations in the order in which they are applied. */
const struct migration **migrations_in_order(const struct store_options *options, struct arena *a);
/* What was applied before must be known and unchanged. */
enum status migration_check(const struct store_options *options, const struct applied *row,
                            struct arena *a, const char **why);
const char *migration_checksum(const struct migration *m, struct arena *a);

/* ---- dump.c ---- */

struct dump {
    struct text *text;
    bool (*accept)(const char *table, void *arg);
    void *arg;
};
void dump_head(struct dump *d, const char *table, const char *const *columns, int n);
void dump_row(struct dump *d, const struct cell *cells, int n);
void dump_name(struct text *t, const char *name); /* quoted */

/* ---- store.c ---- */

/* What a database's open fills first; for free: store_forget. */
void store_init(struct store *store, const struct database *database,
                const struct store_options *options);
void store_forget(struct store *store);
struct store *store_of_batch(uint64_t batch);
/* A statement has one number in all stores, given at its first use. */
int statement_number(struct statement *s);
/* True if this is the statement that store_fail_at meant. */
bool store_fails_now(struct store *store);
/* True if name is service's, or the database's own. */
bool owns_table(const char *service, const char *name);
/* Our own mistake: says it and aborts. */
_Noreturn void store_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
