/* Statements on PostgreSQL: sent at once, answered when somebody asks. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "store/postgres.h"

/* Types by number, as pg_type.h has them. */
enum {
    TYPE_BOOL = 16,
    TYPE_BYTEA = 17,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_TEXT = 25,
    TYPE_FLOAT4 = 700,
    TYPE_FLOAT8 = 701,
    TYPE_NUMERIC = 1700,
};

static struct pg_prepared *prepared_for(struct pg_conn *c, struct statement *s,
                                        const struct value *in, size_t n);
static struct pg_prepared *find_prepared(struct pg_conn *c, struct statement *s);
static bool set_types(struct pg_prepared *p, const struct value *in);
static bool run(struct pg_conn *c, struct pg_prepared *p, const struct value *in);
static PGresult *take(struct tx *tx);
static void fail(struct tx *tx, struct pg_conn *c, const struct pg_failure *f);
static enum status status_of(const char *state);
static bool batch_survives(const char *state);
static size_t decode_hex(char *bytes);

void
pg_exec(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    struct pg_conn *c = tx->conn;
    if (pg_hold(tx, s, in, n) || !pg_send(tx, s, in, n))
        return;
    if (!tx->in_writer || ++c->unknown >= PG_QUEUE_MAX)
        PQclear(take(tx));
}

int64_t
pg_count(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    PGresult *answer = pg_send(tx, s, in, n) ? take(tx) : NULL;
    int64_t count = answer ? atoll(PQcmdTuples(answer)) : 0;
    PQclear(answer);
    return count;
}

bool
pg_query(struct tx *tx, struct statement *s, const struct value *in, size_t n, struct cursor *ret)
{
    PGresult *answer = pg_send(tx, s, in, n) ? take(tx) : NULL;
    if (!answer)
        return false;
    ret->handle = answer;
    ret->mapping = &find_prepared(tx->conn, s)->mapping;
    ret->n_columns = PQnfields(answer);
    ret->n_rows = PQntuples(answer);
    ret->row = -1;
    return true;
}

bool
pg_next(struct cursor *c)
{
    return ++c->row < c->n_rows;
}

void
pg_cell(struct cursor *c, int i, struct cell *ret)
{
    pg_read_cell(c->handle, c->row, i, ret);
}

const char *
pg_column_name(struct cursor *c, int i)
{
    return PQfname(c->handle, i);
}

bool
pg_finish(struct cursor *c)
{
    PQclear(c->handle);
    return true;
}

void
pg_settle(struct tx *tx)
{
    struct pg_conn *c = tx->conn;
    if (c && c->n_held)
        pg_send_held(tx);
    if (c && c->unknown)
        PQclear(take(tx));
}

bool
pg_send(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    struct pg_conn *c = tx->conn;
    if (c->n_held)
        pg_send_held(tx);
    if (tx->st)
        return false;
    if (!tx->in_writer && !tx->began) {
        pg_send_word(c, PG_BEGIN_READ);
        tx->began = true;
    }
    struct pg_prepared *p = prepared_for(c, s, in, n);
    if (p && run(c, p, in)) {
        pg_note(c, (struct pg_op){
                       .kind = PG_OP_RUN, .statement = s, .prepared = p, .wanted = tx->wanted});
        return true;
    }
    pg_break(c);
    tx_failed(tx, s, UNAVAILABLE, "the connection to the server is lost");
    if (tx->in_writer)
        tx_lose(tx);
    return false;
}

/* Each is read once: bytes are decoded where they stand. */
void
pg_read_cell(PGresult *rows, int row, int i, struct cell *ret)
{
    if (PQgetisnull(rows, row, i)) {
        ret->kind = CELL_NULL;
        return;
    }
    char *bytes = PQgetvalue(rows, row, i);
    ret->bytes = bytes;
    ret->n = (size_t)PQgetlength(rows, row, i);
    switch (PQftype(rows, i)) {
    case TYPE_BOOL:
        ret->kind = CELL_INT;
        ret->num = bytes[0] == 't';
        break;
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8:
        ret->kind = CELL_INT;
        ret->num = atoll(bytes);
        break;
    case TYPE_NUMERIC: /* a sum of integers is one */
    case TYPE_FLOAT4:
    case TYPE_FLOAT8:
        ret->kind = int_parse(bytes, &ret->num) ? CELL_INT : CELL_REAL;
        ret->real = strtod(bytes, NULL);
        break;
    case TYPE_BYTEA:
        ret->kind = CELL_BLOB;
        ret->n = decode_hex(bytes);
        break;
    default:
        ret->kind = CELL_TEXT;
    }
}

/* Its preparation is sent before it, with no wait between them.  NULL: the connection is lost. */
static struct pg_prepared *
prepared_for(struct pg_conn *c, struct statement *s, const struct value *in, size_t n)
{
    if (!c->link)
        return NULL;
    struct pg_prepared *p = find_prepared(c, s);
    bool fits = p->sent && (size_t)p->n_params <= n && set_types(p, in);
    if (fits)
        return p;
    char *sql = pg_statement(c->pg, s, in, n, &p->n_params);
    free(p->types);
    p->types = calloc((size_t)p->n_params + 1, sizeof *p->types);
    if (!p->types)
        abort();
    set_types(p, in);
    bool good = pg_prepare(c, p, sql, s);
    free(sql);
    return good ? p : NULL;
}

static struct pg_prepared *
find_prepared(struct pg_conn *c, struct statement *s)
{
    int number = statement_number(s);
    if (number >= c->room) {
        int room = number < 64 ? 128 : 2 * number;
        c->prepared = realloc(c->prepared, (size_t)room * sizeof(struct pg_prepared *));
        if (!c->prepared)
            abort();
        memset(c->prepared + c->room, 0, (size_t)(room - c->room) * sizeof(struct pg_prepared *));
        c->room = room;
    }
    if (!c->prepared[number])
        c->prepared[number] = calloc(1, sizeof(struct pg_prepared));
    if (!c->prepared[number])
        abort();
    return c->prepared[number];
}

/* False if p was of other types.  A NULL is of any; where no more is known, of text. */
static bool
set_types(struct pg_prepared *p, const struct value *in)
{
    static const Oid types[] = {
        [VALUE_TEXT] = TYPE_TEXT, [VALUE_INT] = TYPE_INT8, [VALUE_BLOB] = TYPE_BYTEA};
    bool same = true;
    for (int i = 0; i < p->n_params; i++) {
        Oid type = in[i].kind == VALUE_NULL ? p->types[i] : types[in[i].kind];
        type = type ? type : TYPE_TEXT;
        same &= p->types[i] == type;
        p->types[i] = type;
    }
    return same;
}

/* The values are copied into what is sent. */
static bool
run(struct pg_conn *c, struct pg_prepared *p, const struct value *in)
{
    const char *values[PG_PARAMS_MAX];
    int lengths[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
    uint64_t numbers[PG_PARAMS_MAX];
    for (int i = 0; i < p->n_params; i++) {
        values[i] = in[i].kind == VALUE_NULL ? NULL : in[i].text;
        formats[i] = in[i].kind == VALUE_INT || in[i].kind == VALUE_BLOB;
        lengths[i] = in[i].kind == VALUE_BLOB ? (int)in[i].num : (int)sizeof numbers[i];
        if (in[i].kind == VALUE_BLOB && in[i].num == 0)
            values[i] = "";
        if (in[i].kind == VALUE_INT) {
            numbers[i] = htobe64((uint64_t)in[i].num);
            values[i] = (const char *)&numbers[i];
        }
    }
    return PQsendQueryPrepared(c->link, p->name, p->n_params, values, lengths, formats, 0);
}

/* Waits for what was sent.  The answer to the last statement; NULL: tx failed. */
static PGresult *
take(struct tx *tx)
{
    struct pg_conn *c = tx->conn;
    struct pg_failure failure;
    PGresult *last;
    pg_take_answers(c, &failure, &last);
    if (tx->in_writer)
        tx->saved = c->depth + tx->alone;
    if (failure.happened)
        fail(tx, c, &failure);
    return last;
}

static void
fail(struct tx *tx, struct pg_conn *c, const struct pg_failure *f)
{
    static const struct statement batch = {.service = "store", .name = "batch"};
    const struct statement *s = f->op.statement ? f->op.statement : &batch;
    if (strncmp(f->state, "42", 2) == 0)
        store_die("statement %s.%s: %s", s->service, s->name, f->words);
    if (strcmp(f->state, "25006") == 0)
        store_die("statement %s.%s writes, and is said not to", s->service, s->name);
    bool first = !tx->st;
    tx_failed(tx, s, status_of(f->state), f->words);
    if (first && f->op.statement)
        tx->failed_at = f->op.wanted;
    if (batch_survives(f->state))
        return;
    /* What the server has said of itself and not of the statement may hold for the session. */
    bool lost_a_race = strncmp(f->state, "40", 2) == 0;
    if (!lost_a_race)
        pg_break(c);
    if (tx->in_writer)
        tx_lose(tx);
}

static enum status
status_of(const char *state)
{
    if (strcmp(state, "23505") == 0) /* unique_violation */
        return ALREADY_EXISTS;
    if (strncmp(state, "23", 2) == 0)
        return FAILED_PRECONDITION;
    if (strcmp(state, "22021") == 0) /* what is no UTF-8 */
        return INVALID_ARGUMENT;
    return strncmp(state, "22", 2) == 0 ? INTERNAL : UNAVAILABLE;
}

/* True if the statement alone has failed, for what it was given. */
static bool
batch_survives(const char *state)
{
    return strncmp(state, "23", 2) == 0 || strncmp(state, "22", 2) == 0;
}

/* "\x00ff", as the server writes bytes; gives their count. */
static size_t
decode_hex(char *bytes)
{
    static const signed char digit[256] = {
        ['1'] = 1, ['2'] = 2,  ['3'] = 3,  ['4'] = 4,  ['5'] = 5,  ['6'] = 6,  ['7'] = 7, ['8'] = 8,
        ['9'] = 9, ['a'] = 10, ['b'] = 11, ['c'] = 12, ['d'] = 13, ['e'] = 14, ['f'] = 15};
    size_t n = 0;
    for (const unsigned char *at = (unsigned char *)bytes + 2; at[0] && at[1]; at += 2)
        bytes[n++] = (char)(digit[at[0]] << 4 | digit[at[1]]);
    return n;
}
