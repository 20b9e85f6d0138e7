/*
 * The inbox: which events a subscriber has taken from a broker, behind the cursor up to which it
 * has compared with their publisher's outbox.  A row is written in the transaction of the effect.
 */
#include "bus/bus_private.h"

enum { TAKE_ROWS = 16, TAKE_VALUES = 3 }; /* of take_all, and of each row */

static struct statement take = {
    .service = "bus",
    .name = "take_into_inbox",
    .sql = "INSERT INTO bus_inbox (subscriber, publisher, position, event_id) "
           "SELECT CAST(?1 AS TEXT), CAST(?2 AS TEXT), CAST(?3 AS BIGINT), CAST(?4 AS TEXT) "
           "WHERE NOT EXISTS (SELECT 1 FROM bus_cursor "
           "WHERE subscriber = ?5 AND position >= CAST(?3 AS BIGINT)) "
           "ON CONFLICT DO NOTHING",
    .writes = true,
};
/* Many at once, and no answer to wait for: what was taken breaks the key, or has no position.  What
 * has no event_id is no row. */
static struct statement take_all = {
    .service = "bus",
    .name = "take_all_into_inbox",
    .sql = "INSERT INTO bus_inbox (subscriber, publisher, position, event_id) "
           "SELECT CAST(?1 AS TEXT), column1, CASE WHEN EXISTS (SELECT 1 FROM bus_cursor "
           "WHERE subscriber = CAST(?1 AS TEXT) || '<' || column1 AND position >= column2) "
           "THEN NULL ELSE column2 END, column3 "
           "FROM (VALUES (CAST(?2 AS TEXT), CAST(?3 AS BIGINT), CAST(?4 AS TEXT)), "
           "(?5, ?6, ?7), (?8, ?9, ?10), (?11, ?12, ?13), "
           "(?14, ?15, ?16), (?17, ?18, ?19), (?20, ?21, ?22), "
           "(?23, ?24, ?25), (?26, ?27, ?28), (?29, ?30, ?31), "
           "(?32, ?33, ?34), (?35, ?36, ?37), (?38, ?39, ?40), "
           "(?41, ?42, ?43), (?44, ?45, ?46), (?47, ?48, ?49)) AS v "
           "WHERE column3 IS NOT NULL",
    .writes = true,
};
static struct statement clear = {
    .service = "bus",
    .name = "clear_inbox",
    .sql = "DELETE FROM bus_inbox WHERE subscriber = ?1 AND publisher = ?2 AND position <= ?3",
    .writes = true,
};
static struct statement find_any = {
    .service = "bus",
    .name = "find_any_in_inbox",
    .sql = "SELECT 1 FROM bus_inbox WHERE subscriber = ?1 LIMIT 1",
};
static struct statement list_positions = {
    .service = "bus",
    .name = "list_inbox",
    .sql = "SELECT position FROM bus_inbox WHERE subscriber = ?1 AND publisher = ?2 "
           "AND position > ?3 AND position <= ?4 ORDER BY position",
};

bool
inbox_take(struct tx *tx, const char *subscriber, const struct event *e)
{
    struct value in[] = {value_text(subscriber), value_text(e->publisher), value_int(e->position),
                         value_text(e->id),
                         value_text(cursor_key(tx_scope_of(tx)->arena, subscriber, e->publisher))};
    return sql_count(tx, &take, in, 5) == 1;
}

const struct event *
inbox_copy(struct tx *tx, const struct event *e)
{
    struct arena *a = tx_scope_of(tx)->arena;
    struct event *ret = arena_alloc(a, sizeof *ret);
    ret->publisher = arena_strdup(a, e->publisher);
    ret->position = e->position;
    ret->id = arena_strdup(a, e->id);
    return ret;
}

void
inbox_take_all(struct tx *tx, const char *subscriber, const struct event *const *events, size_t n)
{
    for (size_t i = 0; i < n; i += TAKE_ROWS) {
        struct value in[1 + TAKE_VALUES * TAKE_ROWS];
        in[0] = value_text(subscriber);
        for (size_t j = 0; j < TAKE_ROWS; j++) {
            const struct event *e = i + j < n ? events[i + j] : NULL;
            struct value *row = &in[1 + TAKE_VALUES * j];
            row[0] = value_text(e ? e->publisher : "");
            row[1] = value_int(e ? e->position : 0);
            row[2] = value_text_or_null(e ? e->id : NULL);
        }
        sql_exec(tx, &take_all, in, sizeof in / sizeof in[0]);
    }
}

void
inbox_clear(struct tx *tx, const char *subscriber, const char *publisher, int64_t position)
{
    struct value in[] = {value_text(subscriber), value_text(publisher), value_int(position)};
    sql_exec(tx, &clear, in, 3);
}

enum status
inbox_used(struct tx *tx, const char *subscriber, bool *ret)
{
    struct value in[] = {value_text(subscriber)};
    int64_t one;
    enum status st = sql_int(tx, &find_any, in, 1, &one);
    if (st && st != NOT_FOUND)
        return st;
    *ret = st == OK;
    return OK;
}

enum status
inbox_positions(const struct subscriber *s, const char *publisher, int64_t after, int64_t upto,
                struct arena *a, int64_t **ret, size_t *ret_n)
{
    struct value in[] = {value_text(s->service), value_text(publisher), value_int(after),
                         value_int(upto)};
    struct tx_scope scope = {.arena = a};
    EventRow **rows;
    size_t n = 0;
    struct tx *tx = tx_begin_read_in(s->store, "bus", &scope);
    enum status st =
        sql_many(tx, &list_positions, in, 4, &souk__bus__event_row__descriptor, &rows, &n);
    tx_end(tx);
    if (st)
        return st;
    int64_t *positions = arena_alloc(a, n * sizeof *positions);
    for (size_t i = 0; i < n; i++)
        positions[i] = rows[i]->position;
    *ret = positions;
    *ret_n = n;
    return OK;
}
