/* Statements on SQLite. */
#include "store/sqlite.h"

static struct prepared *start(struct tx *tx, struct statement *s, const struct value *in, size_t n);
static int bind(sqlite3_stmt *stmt, int i, const struct value *v);
static bool finish(struct tx *tx, struct statement *s, struct prepared *p, int code);
static void failed(struct tx *tx, const struct statement *s, int code);
static enum status status_of(int code);

void
sqlite_exec(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    struct prepared *p = start(tx, s, in, n);
    if (p)
        finish(tx, s, p, sqlite3_step(p->stmt));
}

int64_t
sqlite_count(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    struct prepared *p = start(tx, s, in, n);
    if (!p || !finish(tx, s, p, sqlite3_step(p->stmt)))
        return 0;
    return sqlite3_changes64(((struct conn *)tx->conn)->db);
}

bool
sqlite_query(struct tx *tx, struct statement *s, const struct value *in, size_t n,
             struct cursor *ret)
{
    struct prepared *p = start(tx, s, in, n);
    if (!p)
        return false;
    ret->handle = p;
    ret->mapping = &p->mapping;
    ret->n_columns = sqlite3_column_count(p->stmt);
    ret->row = SQLITE_OK; /* what the last step gave */
    return true;
}

bool
sqlite_next(struct cursor *c)
{
    c->row = sqlite3_step(((struct prepared *)c->handle)->stmt);
    return c->row == SQLITE_ROW;
}

void
sqlite_cell(struct cursor *c, int i, struct cell *ret)
{
    sqlite_read_cell(((struct prepared *)c->handle)->stmt, i, ret);
}

const char *
sqlite_column_name(struct cursor *c, int i)
{
    return sqlite3_column_name(((struct prepared *)c->handle)->stmt, i);
}

bool
sqlite_finish(struct cursor *c)
{
    return finish(c->tx, c->statement, c->handle, c->row);
}

void
sqlite_read_cell(sqlite3_stmt *stmt, int i, struct cell *ret)
{
    switch (sqlite3_column_type(stmt, i)) {
    case SQLITE_INTEGER:
        ret->kind = CELL_INT;
        ret->num = sqlite3_column_int64(stmt, i);
        break;
    case SQLITE_FLOAT:
        ret->kind = CELL_REAL;
        ret->real = sqlite3_column_double(stmt, i);
        break;
    case SQLITE_TEXT:
        ret->kind = CELL_TEXT;
        ret->bytes = (const char *)sqlite3_column_text(stmt, i);
        ret->n = (size_t)sqlite3_column_bytes(stmt, i);
        break;
    case SQLITE_BLOB:
        ret->kind = CELL_BLOB;
        ret->bytes = sqlite3_column_blob(stmt, i);
        ret->n = (size_t)sqlite3_column_bytes(stmt, i);
        break;
    default:
        ret->kind = CELL_NULL;
    }
}

/* The statement with its parameters, ready to be stepped; NULL: tx failed. */
static struct prepared *
start(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    int code = SQLITE_OK;
    if (!tx->in_writer && !tx->began) {
        code = conn_word(tx->conn, WORD_BEGIN_READ);
        tx->began = code == SQLITE_OK;
    }
    struct prepared *p = code == SQLITE_OK ? conn_prepare(tx->conn, s, &code) : NULL;
    if (p && p->n_params > (int)n)
        store_die("statement %s.%s has %d parameters, not %zu", s->service, s->name, p->n_params,
                  n);
    for (int i = 0; p && i < p->n_params && code == SQLITE_OK; i++)
        code = bind(p->stmt, i + 1, &in[i]);
    if (p && code == SQLITE_OK)
        return p;
    failed(tx, s, code);
    return NULL;
}

/* The values live until the statement has run. */
static int
bind(sqlite3_stmt *stmt, int i, const struct value *v)
{
    switch (v->kind) {
    case VALUE_TEXT:
        return sqlite3_bind_text(stmt, i, v->text, -1, SQLITE_STATIC);
    case VALUE_INT:
        return sqlite3_bind_int64(stmt, i, v->num);
    case VALUE_BLOB:
        return sqlite3_bind_blob64(stmt, i, v->num ? v->text : "", (sqlite3_uint64)v->num,
                                   SQLITE_STATIC);
    default:
        return sqlite3_bind_null(stmt, i);
    }
}

/* Ends the statement; code is what its last step gave.  One that writes runs to its end. */
static bool
finish(struct tx *tx, struct statement *s, struct prepared *p, int code)
{
    while (code == SQLITE_ROW && s->writes)
        code = sqlite3_step(p->stmt);
    bool good = code == SQLITE_DONE || code == SQLITE_ROW;
    if (!good)
        failed(tx, s, code);
    sqlite3_reset(p->stmt);
    return good;
}

/* Some failures roll the whole batch back: a full disk, for one. */
static void
failed(struct tx *tx, const struct statement *s, int code)
{
    sqlite3 *db = ((struct conn *)tx->conn)->db;
    bool lost = tx->in_writer && tx->store->open && sqlite3_get_autocommit(db);
    tx_failed(tx, s, lost ? UNAVAILABLE : status_of(code), sqlite3_errmsg(db));
    if (lost)
        tx_lose(tx);
}

static enum status
status_of(int code)
{
    switch (code) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        return ALREADY_EXISTS;
    default:
        break;
    }
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
        return FAILED_PRECONDITION;
    case SQLITE_ERROR: /* an integer overflow, for one */
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
    case SQLITE_MISUSE:
        return INTERNAL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return DATA_LOSS;
    default:
        return UNAVAILABLE;
    }
}
