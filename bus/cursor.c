/*
 * How far a subscriber is.
 *
 * Between processes a replica that no longer leads may still be at a batch while its successor has
 * begun: a cursor moves only from where its follower knows it to be, so that one of the two fails.
 */
#include "base/text.h"
#include "bus/bus_private.h"

static struct statement find_cursor = {
    .service = "bus",
    .name = "find_cursor",
    .sql = "SELECT position FROM bus_cursor WHERE subscriber = ?1",
};
static struct statement move_cursor = {
    .service = "bus",
    .name = "move_cursor",
    .sql = "INSERT INTO bus_cursor (subscriber, position) VALUES (?1, ?2) "
           "ON CONFLICT (subscriber) DO UPDATE SET position = excluded.position",
    .writes = true,
};
static struct statement begin_cursor = {
    .service = "bus",
    .name = "begin_cursor",
    .sql = "INSERT INTO bus_cursor (subscriber, position) VALUES (?1, 0) "
           "ON CONFLICT (subscriber) DO NOTHING",
    .writes = true,
};
static struct statement move_cursor_from = {
    .service = "bus",
    .name = "move_cursor_from",
    .sql = "UPDATE bus_cursor SET position = ?2 WHERE subscriber = ?1 AND position = ?3",
    .writes = true,
};

static bool is_owed(const struct source *s, int64_t least);

char *
cursor_key(struct arena *a, const char *subscriber, const char *publisher)
{
    return arena_printf(a, "%s<%s", subscriber, publisher);
}

enum status
cursor_load(struct tx *tx, const char *key, int64_t *ret)
{
    struct value in[] = {value_text(key)};
    int64_t position = 0;
    enum status st = sql_int(tx, &find_cursor, in, 1, &position);
    if (st && st != NOT_FOUND)
        return st;
    *ret = position;
    return OK;
}

void
cursor_move(struct tx *tx, const char *key, int64_t from, int64_t to)
{
    struct value in[] = {value_text(key), value_int(to), value_int(from)};
    if (from == 0)
        sql_exec(tx, &begin_cursor, in, 1);
    if (sql_count(tx, &move_cursor_from, in, 3) == 0 && tx_status(tx) == OK)
        tx_fail(tx, ABORTED);
}

enum status
cursors_load(struct follower *f, struct tx *tx)
{
    for (size_t i = 0; i < f->n_sources; i++) {
        struct source *s = f->sources[i];
        int64_t position = 0;
        enum status st = s->key ? cursor_load(tx, s->key, &position) : OK;
        if (st)
            return st;
        s->written = position;
    }
    return OK;
}

bool
cursors_owed(const struct follower *f, int64_t least)
{
    for (size_t i = 0; i < f->n_sources; i++)
        if (is_owed(f->sources[i], least))
            return true;
    return false;
}

void
cursors_write(struct follower *f, struct tx *tx, int64_t least)
{
    for (size_t i = 0; i < f->n_sources; i++) {
        struct source *s = f->sources[i];
        if (!is_owed(s, least))
            continue;
        if (f->bus->spread) {
            cursor_move(tx, s->key, s->written, s->position);
        } else {
            struct value in[] = {value_text(s->key), value_int(s->position)};
            sql_exec(tx, &move_cursor, in, 2);
        }
        if (f->keeps_inbox)
            inbox_clear(tx, f->subscriber.service, s->publisher, s->position);
        s->written = s->position;
        s->owes = false;
    }
}

static bool
is_owed(const struct source *s, int64_t least)
{
    int64_t behind = s->position - s->written;
    return s->key && behind > 0 && (s->owes || behind >= least);
}
