/* What the files of the SQLite store share. */
#pragma once
#include <sqlite3.h>

#include "store/inside.h"

enum {
    BATCH_TRANSACTIONS_MAX = 1024,
    READERS_MAX = 64, /* connections that read at once */

    PAGE_BYTES = 4096,
    /* A WAL of so many pages is copied to the file beside the writer; of so many, it is also begun
     * anew, for which the writer stands still a moment. */
    CHECKPOINT_PAGES = 2048,
    RESTART_PAGES = 4096,
};

/* A statement as one connection has it. */
struct prepared {
    sqlite3_stmt *stmt;
    int n_params;
    struct mapping mapping;
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
    struct sqlite *sqlite;
    sqlite3 *db;
    struct prepared **prepared; /* by statement->number */
    int room;
    sqlite3_stmt *words[WORDS];
    const char *owner; /* while a statement is prepared: whose tables it may touch */
    char strange[128]; /* the table that was not */
    struct conn *next; /* in the list of idle readers */
};

struct sqlite {
    struct store store; /* first, so that a store is its sqlite */
    struct conn writer;

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
};
static inline struct sqlite *
sqlite_of(struct store *store)
{
    return (struct sqlite *)store;
}

/* ---- sqlite_conn.c: connections and their statements ---- */

enum conn_kind { CONN_WRITER, CONN_READER, CONN_COPIER };
int conn_open(struct conn *c, struct sqlite *q, enum conn_kind kind);
void conn_shut(struct conn *c);
/* The statement on c, prepared under its owner's name; NULL: *ret_code says why. */
struct prepared *conn_prepare(struct conn *c, struct statement *s, int *ret_code);
/* BEGIN and its like; gives SQLite's code. */
int conn_word(struct conn *c, enum word word);
/* A reader's connection, idle until now; NULL if none can be opened. */
struct conn *reader_take(struct sqlite *q);
void reader_give_back(struct conn *c);
void readers_close(struct sqlite *q);

/* ---- sqlite_checkpoint.c ---- */

int checkpoint_start(struct sqlite *q);
void checkpoint_stop(struct sqlite *q);
/* After a commit: looks at how long the WAL has become. */
void checkpoint_look(struct store *store);

/* ---- sqlite_sql.c ---- */

void sqlite_exec(struct tx *tx, struct statement *s, const struct value *in, size_t n);
int64_t sqlite_count(struct tx *tx, struct statement *s, const struct value *in, size_t n);
bool sqlite_query(struct tx *tx, struct statement *s, const struct value *in, size_t n,
                  struct cursor *ret);
bool sqlite_next(struct cursor *c);
void sqlite_cell(struct cursor *c, int i, struct cell *ret);
const char *sqlite_column_name(struct cursor *c, int i);
bool sqlite_finish(struct cursor *c);
void sqlite_read_cell(sqlite3_stmt *stmt, int i, struct cell *ret);

/* ---- sqlite_migrate.c, sqlite_dump.c ---- */

enum status sqlite_migrate(struct conn *c, const struct store_options *options, struct arena *a,
                           const char **why);
enum status sqlite_dump(struct store *store, struct dump *d);
