/* What generated statement functions call. */
#include <assert.h>
#include <string.h>

#include "store/inside.h"

static struct prepared *start(struct tx *tx, struct statement *s, const struct value *in, size_t n);
static void check_owner(const struct tx *tx, const struct statement *s);
static int before(struct tx *tx, const struct statement *s);
static int bind(sqlite3_stmt *stmt, int i, const struct value *v);
static bool finish(struct tx *tx, struct statement *s, struct prepared *p, int code);
static void failed(struct tx *tx, const struct statement *s, int code, const char *words);
static void fail_as_full_disk(struct tx *tx, const struct statement *s);
static enum status status_of(int code);
static bool first_row(struct prepared *p, int *ret_code);
static ProtobufCMessage *message_of(struct tx *tx, struct statement *s, struct prepared *p,
                                    const ProtobufCMessageDescriptor *type);

void
sql_exec(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    struct prepared *p = start(tx, s, in, n);
    if (p)
        finish(tx, s, p, sqlite3_step(p->stmt));
}

int64_t
sql_count(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    struct prepared *p = start(tx, s, in, n);
    if (!p || !finish(tx, s, p, sqlite3_step(p->stmt)))
        return 0;
    return sqlite3_changes64(tx->conn->db);
}

enum status
sql_one(struct tx *tx, struct statement *s, const struct value *in, size_t n,
        const ProtobufCMessageDescriptor *type, void *ret_message)
{
    struct prepared *p = start(tx, s, in, n);
    int code;
    if (!p)
        return tx->st;
    ProtobufCMessage *message = NULL;
    if (first_row(p, &code) && !(message = message_of(tx, s, p, type)))
        code = SQLITE_DONE;
    if (!finish(tx, s, p, code) || tx->st)
        return tx->st;
    if (!message)
        return NOT_FOUND;
    *(ProtobufCMessage **)ret_message = message;
    return OK;
}

enum status
sql_many(struct tx *tx, struct statement *s, const struct value *in, size_t n,
         const ProtobufCMessageDescriptor *type, void *ret_messages, size_t *ret_n)
{
    struct prepared *p = start(tx, s, in, n);
    if (!p)
        return tx->st;
    size_t got = 0, room = 16;
    struct arena *a = tx->scope->arena;
    ProtobufCMessage **rows = arena_alloc(a, room * sizeof(ProtobufCMessage *));
    int code;
    while ((code = sqlite3_step(p->stmt)) == SQLITE_ROW) {
        if (got == room) {
            ProtobufCMessage **more = arena_alloc(a, 2 * room * sizeof(ProtobufCMessage *));
            memcpy(more, rows, room * sizeof(ProtobufCMessage *));
            rows = more;
            room *= 2;
        }
        rows[got] = message_of(tx, s, p, type);
        if (!rows[got++])
            break;
    }
    if (!finish(tx, s, p, code) || tx->st)
        return tx->st;
    *(ProtobufCMessage ***)ret_messages = rows;
    *ret_n = got;
    return OK;
}

enum status
sql_int(struct tx *tx, struct statement *s, const struct value *in, size_t n, int64_t *ret)
{
    struct prepared *p = start(tx, s, in, n);
    if (!p)
        return tx->st;
    int code;
    bool found = first_row(p, &code);
    int64_t number = found ? sqlite3_column_int64(p->stmt, 0) : 0;
    if (!finish(tx, s, p, code))
        return tx->st;
    if (found)
        *ret = number;
    return found ? OK : NOT_FOUND;
}

enum status
sql_text(struct tx *tx, struct statement *s, const struct value *in, size_t n, const char **ret)
{
    struct prepared *p = start(tx, s, in, n);
    if (!p)
        return tx->st;
    int code;
    bool found = first_row(p, &code);
    const char *text = NULL;
    if (found)
        text = arena_strdup(tx->scope->arena, (const char *)sqlite3_column_text(p->stmt, 0));
    if (!finish(tx, s, p, code))
        return tx->st;
    if (found)
        *ret = text;
    return found ? OK : NOT_FOUND;
}

/* The statement with its parameters, ready to be stepped; NULL in a failed tx. */
static struct prepared *
start(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    if (tx->st)
        return NULL;
    check_owner(tx, s);
    if (store_fails_now(tx->store)) {
        fail_as_full_disk(tx, s);
        return NULL;
    }
    int code = before(tx, s);
    struct prepared *p = code == SQLITE_OK ? conn_prepare(tx->conn, s, &code) : NULL;
    if (p && p->n_params > (int)n)
        store_die("statement %s.%s has %d parameters, not %zu", s->service, s->name, p->n_params,
                  n);
    for (int i = 0; p && i < p->n_params && code == SQLITE_OK; i++)
        code = bind(p->stmt, i + 1, &in[i]);
    if (p && code == SQLITE_OK)
        return p;
    failed(tx, s, code, sqlite3_errmsg(tx->conn->db));
    return NULL;
}

static void
check_owner(const struct tx *tx, const struct statement *s)
{
    if (s->service != tx->service && strcmp(s->service, tx->service) != 0 &&
        strcmp(s->service, "bus") != 0)
        store_die("statement %s.%s is run in a transaction of %s", s->service, s->name,
                  tx->service);
    if (s->writes && tx->for_reading)
        store_die("statement %s.%s writes, in a transaction for reading", s->service, s->name);
}

static int
before(struct tx *tx, const struct statement *s)
{
    if (s->writes)
        return tx_before_write(tx);
    if (tx->in_writer || tx->began)
        return SQLITE_OK;
    int code = conn_word(tx->conn, WORD_BEGIN_READ);
    tx->began = code == SQLITE_OK;
    return code;
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

/* Steps to the first row, if there is one. */
static bool
first_row(struct prepared *p, int *ret_code)
{
    *ret_code = sqlite3_step(p->stmt);
    return *ret_code == SQLITE_ROW;
}

static ProtobufCMessage *
message_of(struct tx *tx, struct statement *s, struct prepared *p,
           const ProtobufCMessageDescriptor *type)
{
    const char *why;
    ProtobufCMessage *message = row_message(p, s, type, tx->scope->arena, &why);
    if (!message) {
        tx_fail(tx, INTERNAL);
        tx->message = why;
    }
    return message;
}

/* Ends the statement; code is what its last step gave.  One that writes runs to its end. */
static bool
finish(struct tx *tx, struct statement *s, struct prepared *p, int code)
{
    while (code == SQLITE_ROW && s->writes)
        code = sqlite3_step(p->stmt);
    bool good = code == SQLITE_DONE || code == SQLITE_ROW;
    if (!good)
        failed(tx, s, code, sqlite3_errmsg(tx->conn->db));
    sqlite3_reset(p->stmt);
    return good;
}

static void
failed(struct tx *tx, const struct statement *s, int code, const char *words)
{
    enum status st = status_of(code);
    tx->message = arena_printf(tx->scope->arena, "%s.%s: %s", s->service, s->name, words);
    tx_fail(tx, tx->in_writer && tx_is_lost(tx) ? UNAVAILABLE : st);
}

/* As SQLite does it: the whole open batch is rolled back. */
static void
fail_as_full_disk(struct tx *tx, const struct statement *s)
{
    if (tx->in_writer && tx->store->open)
        conn_word(tx->conn, WORD_ROLLBACK);
    failed(tx, s, SQLITE_FULL, sqlite3_errstr(SQLITE_FULL));
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
