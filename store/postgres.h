/* What the files of the PostgreSQL store share. */
#pragma once
#include <libpq-fe.h>

#include "store/inside.h"

enum {
    /* PostgreSQL keeps up to 64 savepoints of a session at hand; with more, all readers get slower.
     */
    PG_TRANSACTIONS_MAX = 60,
    PG_READERS_DEFAULT = 8,
    PG_PARAMS_MAX = 256,
    PG_ROWS_LOG2_MAX = 4,
    PG_ROWS_MAX = 1 << PG_ROWS_LOG2_MAX, /* sent as one statement */
    PG_HELD_MAX = 8,                     /* statements of which rows are held */
    PG_QUEUE_MAX = 256,                  /* statements sent whose outcome is not known */
    PG_SCHEMA_CHARS_MAX = 40,
    PG_WORDS_MAX = 256, /* characters of a failure's words */

    PG_CONNECT_S = 3,
    PG_STATEMENT_MS = 5000,
    PG_ANSWER_US = 7000000,     /* how long a server may be silent */
    PG_PATIENT_US = 1800000000, /* when it makes tables, or is read as a whole */
    PG_BACKOFF_FIRST_US = 100000,
    PG_BACKOFF_MOST_US = 5000000,
};

enum pg_word {
    PG_BEGIN,
    PG_BEGIN_READ,
    PG_LOCK, /* who has it writes; held until the batch is decided */
    PG_SAVE,
    PG_RELEASE,
    PG_UNDO,
    PG_COMMIT,
    PG_ROLLBACK,
    PG_WORDS
};

/* A statement as one connection has it. */
struct pg_prepared {
    char name[24];
    bool sent; /* PREPARE was sent, or is known to have worked */
    int n_params;
    Oid *types;
    struct mapping mapping;
};

struct pg_rows;

/* Rows of one statement that are held back, to be sent together. */
struct pg_held {
    struct pg_rows *rows;
    struct value *in; /* n_params of each row */
    size_t n_rows;
};

/* What was sent, in order: each is answered. */
struct pg_op {
    enum { PG_OP_SYNC, PG_OP_WORD, PG_OP_PREPARE, PG_OP_RUN } kind;
    enum pg_word word;
    const struct statement *statement;
    struct pg_prepared *prepared;
    int wanted;     /* the savepoints of its transaction when it was sent */
    bool forgotten; /* nobody asks what became of it */
};

/* The first that failed. */
struct pg_failure {
    bool happened;
    struct pg_op op;
    char state[6]; /* SQLSTATE; "" when the connection is lost */
    char words[PG_WORDS_MAX];
};

/* A connection; used by one fiber or thread at a time. */
struct pg_conn {
    struct postgres *pg;
    PGconn *link;                  /* NULL: there is none */
    unsigned session;              /* counts those that were opened */
    struct pg_prepared **prepared; /* by statement->number */
    struct pg_prepared words[PG_WORDS];
    int room;
    int names;           /* how many statements were ever named on it */
    int64_t patience_us; /* a server silent for so long is taken for gone */
    struct pg_op *ops;
    int first_op, n_ops, ops_room;
    int unsynced; /* ops since the last sync */
    int unknown;  /* statements of the transaction whose outcome nobody has looked at */
    struct pg_held held[PG_HELD_MAX];
    int n_held;
    int held_at;          /* the savepoints wanted when they were held */
    int depth;            /* savepoints there are, as far as answers were taken */
    bool committed;       /* what the last COMMIT gave */
    int64_t idle_us;      /* since when */
    struct pg_conn *next; /* in the list of idle readers, the newest first */
};

struct pg_waiter {
    struct fiber *fiber;
    struct pg_conn *conn; /* handed to it; NULL with woken: it may open one */
    bool woken;
    struct pg_waiter *next;
};

struct pg_table {
    char *name;
    bool refers; /* to a row of another: it has a foreign key */
};

struct pg_lead;

struct postgres {
    struct store store; /* first, so that a store is its postgres */
    char schema[PG_SCHEMA_CHARS_MAX + 1];
    char lock_sql[80];
    struct pg_table *tables; /* of the schema; sorted */
    size_t n_tables;
    struct pg_conn writer;
    struct pg_rows **rows; /* by statement->number; the writer's */
    int rows_room;

    /* After a failure to connect there are no tries until so late, and then one at a time. */
    struct spin away_lock;
    int64_t away_until_us, backoff_us;
    bool connecting;
    char away_words[PG_WORDS_MAX];

    struct spin readers_lock;
    int readers_max, n_readers; /* open, or being opened */
    struct pg_conn *idle_readers;
    struct pg_waiter *first_waiter, *last_waiter;

    struct fiber_lock lead_lock;
    struct pg_conn leader; /* its session holds what is led */
    struct pg_lead *leads;
};
static inline struct postgres *
postgres_of(struct store *store)
{
    return (struct postgres *)store;
}

/* ---- postgres_conn.c: a connection, what is sent over it and what comes back ---- */

/* True if c is open; opens it if it is not and the server is not known to be away. */
bool pg_ready(struct pg_conn *c);
/* Closes; what was sent is forgotten. */
void pg_break(struct pg_conn *c);
void pg_send_word(struct pg_conn *c, enum pg_word word);
/* Sends PREPARE for p, whose parameters are known; s, if it is a statement's, is named by a
 * failure. False: the connection is lost. */
bool pg_prepare(struct pg_conn *c, struct pg_prepared *p, const char *sql,
                const struct statement *s);
/* Sends what the server holds back until then, and does not wait. */
void pg_push(struct pg_conn *c);
/* All that was sent and not answered yet is nobody's any more. */
void pg_forget(struct pg_conn *c);
/* Waits until all that was sent is answered.  ret_last (may be NULL) gets the answer to the last
 * statement, or NULL if that failed.  False: the connection is lost (and closed). */
bool pg_take_answers(struct pg_conn *c, struct pg_failure *ret_failure, PGresult **ret_last);
/* What was just sent. */
void pg_note(struct pg_conn *c, struct pg_op op);
/* One or more statements at once, outside of the pipeline; NULL: *why (in a) says it. */
PGresult *pg_run_plain(struct pg_conn *c, const char *sql, struct arena *a, const char **why);
/* Begins or ends the pipeline, which pg_ready has begun. */
bool pg_pipeline(struct pg_conn *c, bool on);
int64_t pg_lock_key(const char *what, const char *schema, const char *which);

/* ---- postgres_sql.c: statements ---- */

void pg_exec(struct tx *tx, struct statement *s, const struct value *in, size_t n);
int64_t pg_count(struct tx *tx, struct statement *s, const struct value *in, size_t n);
bool pg_query(struct tx *tx, struct statement *s, const struct value *in, size_t n,
              struct cursor *ret);
bool pg_next(struct cursor *c);
void pg_cell(struct cursor *c, int i, struct cell *ret);
const char *pg_column_name(struct cursor *c, int i);
bool pg_finish(struct cursor *c);
void pg_settle(struct tx *tx);
void pg_read_cell(PGresult *rows, int row, int i, struct cell *ret);

/* Sends s; false: tx failed. */
bool pg_send(struct tx *tx, struct statement *s, const struct value *in, size_t n);

/* ---- postgres_rows.c: rows that are sent together ---- */

/* Holds s back, until something else is sent or asked, if it is an INSERT of a row.  False: it is
 * not. */
bool pg_hold(struct tx *tx, struct statement *s, const struct value *in, size_t n);
void pg_send_held(struct tx *tx);
void pg_free_rows(struct postgres *pg);

/* ---- postgres_dialect.c: what is spelt otherwise ---- */

/* A statement's text with $1 for ?1; the caller frees it. */
char *pg_statement(struct postgres *pg, const struct statement *s, const struct value *in, size_t n,
                   int *ret_n_params);
/* If s inserts one row of values, into a table that refers to no other, so that several mean the
 * same: its text for so many, in arena.  Otherwise NULL.  *ret_n_params: of one row. */
char *pg_rows_text(struct postgres *pg, const struct statement *s, size_t rows, struct arena *a,
                   size_t *ret_n_params);
/* A migration's text with PostgreSQL's types; NULL if it makes what is not its service's. */
char *pg_migration(struct postgres *pg, const struct migration *m, struct arena *a,
                   const char **why);
/* Learns which tables there are, so that statements which name another service's are told. */
bool pg_learn_tables(struct postgres *pg, struct arena *a, const char **why);
void pg_forget_tables(struct postgres *pg);

/* ---- postgres_readers.c ---- */

bool pg_take_reader(struct tx *tx);
void pg_leave_reader(struct tx *tx);
void pg_close_readers(struct postgres *pg);
/* NULL: none could be had. */
struct pg_conn *pg_reader(struct postgres *pg);
void pg_give_back_reader(struct pg_conn *c);

/* ---- postgres_migrate.c, postgres_dump.c, postgres_lead.c ---- */

enum status pg_migrate(struct postgres *pg, const struct store_options *options, struct arena *a,
                       const char **why);
enum status pg_dump(struct store *store, struct dump *d);
bool pg_leads(struct store *store, const char *what);
void pg_leads_drop(struct store *store, const char *what);
void pg_leads_close(struct postgres *pg);
