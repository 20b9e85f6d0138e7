/* What the files of store/ share: the embedded store, on SQLite. */
#pragma once
#include <sqlite3.h>

#include "fiber/wait.h"
#include "store/store.h"

enum {
    /* A batch that nobody waits for is committed when it is so old, for those who follow what is
     * durable; or when it has so many transactions. */
    BATCH_AGE_MAX_US = 5000,
    BATCH_TRANSACTIONS_MAX = 1024,

    FAILED_RUNS_MAX = 1024, /* runs of failed batches that are remembered one by one */
    READERS_MAX = 64,       /* connections that read at once */
    SAVEPOINTS_MAX = 256,   /* marks of one transaction */

    PAGE_BYTES = 4096,
    /* A WAL of so many pages is copied to the file beside the writer; of so many, it is also begun
     * anew, for which the writer stands still a moment. */
    CHECKPOINT_PAGES = 2048,
    RESTART_PAGES = 4096,
};

/* A field that a column of a statement goes to. */
struct column;

/* A statement as one connection has it. */
struct prepared {
    sqlite3_stmt *stmt;
    int n_params;
    /* How its columns fill messages of type, once it has filled one. */
    const ProtobufCMessageDescriptor *type;
    struct column *columns;
    int n_columns;
};

enum word {
    WORD_BEGIN,
    WORD_BEGIN_READ,
    WORD_COMMIT,
    WORD_ROLLBACK,
    WORD_SAVE,
    WORD_RELEASE,
    WORD_UNDO,
    WORDS
};

/* A connection; used by one thread at a time. */
struct conn {
    struct store *store;
    sqlite3 *db;
    struct prepared **prepared; /* by statement->number */
    int room;
    sqlite3_stmt *words[WORDS];
    const char *owner; /* while a statement is prepared: whose tables it may touch */
    char strange[128]; /* the table that was not */
    struct conn *next; /* in the list of idle readers */
};

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
    char *path;
    int number;
    unsigned slot; /* in the list of open stores; batch numbers carry it */
    void (*on_durable)(void *arg, uint64_t batch);
    void *on_durable_arg;

    /* The writer's connection and its open batch belong to whoever holds the lock. */
    struct fiber_lock writer_lock;
    struct conn writer;
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

    /* The thread that commits. */
    pthread_t committer_thread;
    struct fiber *committer;
    uint64_t wanted; /* newest batch that somebody waits for; atomic */
    bool watching;   /* it looks at the batch's age by itself and need not be woken; atomic */
    bool stopping;   /* atomic */

    /* The thread that copies the WAL to the file. */
    pthread_t checkpointer_thread;
    struct fiber *checkpointer;
    struct conn copier;
    int wal_pages;       /* atomic */
    int copied_at;       /* how many there were at the last copying; atomic */
    bool copying;        /* atomic: it has been told */
    bool readers_stayed; /* so that it could not begin anew */

    struct spin readers_lock;
    struct conn *idle_readers;
    int n_readers;

    int fail_at; /* atomic */
};

struct tx {
    struct store *store;
    struct conn *conn; /* NULL: failed from the start */
    const char *service;
    struct tx_scope *scope;
    enum status st;
    const char *message;
    int failed_at; /* how many savepoints were wanted when it failed */
    bool for_reading, in_writer;
    bool began;        /* a reader's: BEGIN was done */
    bool wrote;        /* in the writer's batch */
    bool lost;         /* its batch was rolled back with all in it */
    uint64_t batch;    /* the one lost */
    int wanted, saved; /* savepoints: its own and its marks'; made at the first write behind them */
};

/* ---- conn.c: connections and their statements ---- */

enum conn_kind { CONN_WRITER, CONN_READER, CONN_COPIER };
int conn_open(struct conn *c, struct store *store, enum conn_kind kind);
void conn_shut(struct conn *c);
/* The statement on c, prepared under its owner's name; NULL: *ret_code says why. */
struct prepared *conn_prepare(struct conn *c, struct statement *s, int *ret_code);
/* BEGIN and its like; gives SQLite's code. */
int conn_word(struct conn *c, enum word word);
/* A reader's connection, idle until now; NULL if none can be opened. */
struct conn *reader_take(struct store *store);
void reader_give_back(struct conn *c);
void readers_close(struct store *store);
/* True if name is service's, or one of bus's. */
bool owns_table(const char *service, const char *name);

/* ---- tx.c ---- */

/* Opens the batch, and the savepoints that tx wants; gives SQLite's code. */
int tx_before_write(struct tx *tx);
/* After an error: true if SQLite has rolled the whole batch back. */
bool tx_is_lost(struct tx *tx);

/* ---- batch.c: group commit ---- */

void batch_start(struct store *store);
void batch_stop(struct store *store);
/* With the writer's lock held: opens the batch if it is not; gives SQLite's code. */
int batch_open(struct store *store);
/* A transaction in the open batch was ordered. */
void batch_ordered(struct store *store);
/* The open batch is gone, with all in it. */
void batch_lost(struct store *store);
/* Takes the lock, commits the open batch, does more with the writer idle, and gives the lock back.
 */
void batch_commit(struct store *store, void (*more)(struct store *store));
/* Waits until batch is decided; UNAVAILABLE if it failed. */
enum status batch_wait(struct store *store, uint64_t batch);
bool batch_decided(struct store *store, uint64_t batch);
bool batch_failed(struct store *store, uint64_t batch);
void writer_lock(struct store *store);
void writer_unlock(struct store *store);

/* ---- checkpoint.c ---- */

int checkpoint_start(struct store *store);
void checkpoint_stop(struct store *store);
/* After a commit: looks at how long the WAL has become. */
void checkpoint_look(struct store *store);

/* ---- rows.c: rows as messages ---- */

/* A new message from the row that p is at.  On failure *why says it, and NULL is given. */
ProtobufCMessage *row_message(struct prepared *p, const struct statement *s,
                              const ProtobufCMessageDescriptor *type, struct arena *a,
                              const char **why);
void columns_free(struct prepared *p);

/* ---- migrate.c ---- */

enum status migrate(struct conn *c, const struct store_options *options, struct arena *a,
                    const char **why);

/* ---- store.c ---- */

struct store *store_of_batch(uint64_t batch);
/* True if this is the statement that store_fail_at meant. */
bool store_fails_now(struct store *store);
/* Our own mistake: says it and aborts. */
_Noreturn void store_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
