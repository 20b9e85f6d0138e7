/*
 * The inbox: which events a subscriber has taken from a broker, behind the cursor up to which it
 * has compared with their publisher's outbox.  A row is written in the transaction of the effect.
 */
#include "bus/bus_private.h"

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
