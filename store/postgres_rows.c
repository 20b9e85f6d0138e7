/*
 * Rows that are sent together.  An INSERT of one row is held back until its transaction sends or
 * asks something else, or ends; several of one statement then go as one INSERT of many rows, which
 * is a fraction of the work for the server.  What refers to a row of another table is not held
 * back, so that it comes behind that.
 */
#include <stdlib.h>
#include <string.h>

#include "store/postgres.h"

/* A statement as it is for 1, 2, 4 … rows. */
struct pg_rows {
    struct arena *arena;
    bool can; /* have several rows */
    size_t n_params;
    struct statement of[PG_ROWS_LOG2_MAX + 1];
};

static struct pg_rows *rows_of(struct postgres *pg, struct statement *s);
static struct pg_rows *make_rows(struct postgres *pg, const struct statement *s);
static struct pg_held *find_held(struct pg_conn *c, const struct pg_rows *rows);
static struct pg_held *begin_held(struct tx *tx, struct pg_rows *rows);
static struct value *add_row(struct arena *a, struct pg_held *held);
static struct value keep_value(struct arena *a, const struct value *v);

bool
pg_hold(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    struct pg_rows *rows = tx->in_writer ? rows_of(postgres_of(tx->store), s) : NULL;
    if (!rows || !rows->can)
        return false;
    if (rows->n_params > n)
        store_die("statement %s.%s has %zu parameters, not %zu", s->service, s->name,
                  rows->n_params, n);
    struct pg_held *held = find_held(tx->conn, rows);
    if (!held || held->n_rows == PG_ROWS_MAX)
        held = begin_held(tx, rows);
    struct value *row = add_row(tx->scope->arena, held);
    for (size_t i = 0; i < rows->n_params; i++)
        row[i] = keep_value(tx->scope->arena, &in[i]);
    return true;
}

/* Of a transaction that has failed there is nothing more to send. */
void
pg_send_held(struct tx *tx)
{
    struct pg_conn *c = tx->conn;
    int n_held = c->n_held, wanted = tx->wanted;
    c->n_held = 0; /* who sends them comes by here */
    tx->wanted = c->held_at;
    for (int i = 0; i < n_held; i++) {
        struct pg_held *held = &c->held[i];
        struct pg_rows *rows = held->rows;
        for (size_t at = 0, n; at < held->n_rows && !tx->st; at += n) {
            int log2 = 0;
            while ((size_t)2 << log2 <= held->n_rows - at)
                log2++;
            n = (size_t)1 << log2;
            c->unknown +=
                pg_send(tx, &rows->of[log2], held->in + at * rows->n_params, n * rows->n_params);
        }
    }
    tx->wanted = wanted;
}

void
pg_free_rows(struct postgres *pg)
{
    for (int i = 0; i < pg->rows_room; i++)
        if (pg->rows[i])
            arena_free(pg->rows[i]->arena);
    free(pg->rows);
}

/* Of the writer, whose lock we hold. */
static struct pg_rows *
rows_of(struct postgres *pg, struct statement *s)
{
    int number = statement_number(s);
    if (number >= pg->rows_room) {
        int room = 2 * number;
        pg->rows = realloc(pg->rows, (size_t)room * sizeof(struct pg_rows *));
        if (!pg->rows)
            abort();
        memset(pg->rows + pg->rows_room, 0,
               (size_t)(room - pg->rows_room) * sizeof(struct pg_rows *));
        pg->rows_room = room;
    }
    if (!pg->rows[number])
        pg->rows[number] = make_rows(pg, s);
    return pg->rows[number];
}

static struct pg_rows *
make_rows(struct postgres *pg, const struct statement *s)
{
    struct arena *a = arena_new();
    struct pg_rows *rows = arena_alloc(a, sizeof *rows);
    *rows = (struct pg_rows){.arena = a, .can = true};
    for (size_t i = 0; i <= PG_ROWS_LOG2_MAX && rows->can; i++) {
        size_t n = (size_t)1 << i;
        char *sql = pg_rows_text(pg, s, n, a, &rows->n_params);
        rows->can = sql && n * rows->n_params <= PG_PARAMS_MAX;
        rows->of[i] =
            (struct statement){.service = s->service, .name = s->name, .sql = sql, .writes = true};
    }
    return rows;
}

static struct pg_held *
find_held(struct pg_conn *c, const struct pg_rows *rows)
{
    for (int i = 0; i < c->n_held; i++)
        if (c->held[i].rows == rows)
            return &c->held[i];
    return NULL;
}

static struct pg_held *
begin_held(struct tx *tx, struct pg_rows *rows)
{
    struct pg_conn *c = tx->conn;
    if (c->n_held == PG_HELD_MAX || find_held(c, rows))
        pg_send_held(tx);
    struct pg_held *held = &c->held[c->n_held++];
    *held = (struct pg_held){.rows = rows};
    c->held_at = tx->wanted;
    return held;
}

/* There is room for 1, 2, 4 … of them. */
static struct value *
add_row(struct arena *a, struct pg_held *held)
{
    size_t n = held->n_rows++, n_params = held->rows->n_params;
    if ((n & (n - 1)) == 0) {
        struct value *more = arena_alloc(a, (n ? 2 * n : 1) * n_params * sizeof *more);
        if (n > 0)
            memcpy(more, held->in, n * n_params * sizeof *more);
        held->in = more;
    }
    return held->in + n * n_params;
}

static struct value
keep_value(struct arena *a, const struct value *v)
{
    struct value kept = *v;
    if (v->kind == VALUE_TEXT)
        kept.text = arena_strdup(a, v->text);
    else if (v->kind == VALUE_BLOB)
        kept.text = arena_copy(a, v->text, (size_t)v->num);
    return kept;
}
