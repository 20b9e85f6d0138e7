/*
 * The inbox: which events a subscriber has taken from a broker, behind the cursor up to which it
 * has compared with their publisher's outbox.  A row is written in the transaction of the effect.
 */
#include <string.h>

#include "bus/bus_private.h"

/* Who is told of a row takes its event.  What is not behind the cursor was taken long ago. */
#define TAKE(name_, rows)                                                                          \
    {                                                                                              \
        .service = "bus", .name = name_,                                                           \
        .sql = "WITH given (publisher, position, event_id) AS (VALUES " rows ") "                  \
               "INSERT INTO bus_inbox (subscriber, publisher, position, event_id) "                \
               "SELECT ?1, publisher, position, event_id FROM given WHERE NOT EXISTS "             \
               "(SELECT 1 FROM bus_cursor WHERE subscriber = ?1 || '<' || given.publisher "        \
               "AND bus_cursor.position >= given.position) "                                       \
               "ON CONFLICT DO NOTHING RETURNING publisher, position",                             \
        .writes = true,                                                                            \
    }
#define ROW    "(?2, ?3, ?4)"
#define ROWS_4 ROW ", (?5, ?6, ?7), (?8, ?9, ?10), (?11, ?12, ?13)"
#define ROWS_16                                                                                    \
    ROWS_4 ", (?14, ?15, ?16), (?17, ?18, ?19), (?20, ?21, ?22), (?23, ?24, ?25), "                \
           "(?26, ?27, ?28), (?29, ?30, ?31), (?32, ?33, ?34), (?35, ?36, ?37), "                  \
           "(?38, ?39, ?40), (?41, ?42, ?43), (?44, ?45, ?46), (?47, ?48, ?49)"

static struct take {
    size_t rows;
    struct statement statement;
} takes[] = {
    {1, TAKE("take_into_inbox", ROW)},
    {4, TAKE("take_4_into_inbox", ROWS_4)},
    {HAND_EVENTS_MAX, TAKE("take_16_into_inbox", ROWS_16)},
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

static void note_taken(struct hand *hand, const EventRow *row);

enum status
inbox_take(struct tx *tx, const char *subscriber, struct hand *hand)
{
    struct take *take = takes;
    while (take->rows < hand->n)
        take++;
    struct value in[1 + 3 * HAND_EVENTS_MAX] = {value_text(subscriber)};
    for (size_t i = 0; i < take->rows; i++) { /* the last stands in for those that are not there */
        const struct event *e = hand->events[i < hand->n ? i : hand->n - 1];
        in[1 + 3 * i] = value_text(e->publisher);
        in[2 + 3 * i] = value_int(e->position);
        in[3 + 3 * i] = value_text(e->id);
    }
    EventRow **taken;
    size_t n_taken;
    enum status st = sql_many(tx, &take->statement, in, 1 + 3 * take->rows,
                              &souk__bus__event_row__descriptor, &taken, &n_taken);
    for (size_t i = 0; i < hand->n; i++)
        hand->takes[i] = false;
    for (size_t i = 0; st == OK && i < n_taken; i++)
        note_taken(hand, taken[i]);
    return st;
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

/* An event that is in the hand twice is taken once. */
static void
note_taken(struct hand *hand, const EventRow *row)
{
    for (size_t i = 0; i < hand->n; i++) {
        const struct event *e = hand->events[i];
        if (e->position == row->position && strcmp(e->publisher, row->publisher) == 0) {
            hand->takes[i] = true;
            return;
        }
    }
}
