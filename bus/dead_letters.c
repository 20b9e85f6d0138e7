/* What operators see of parked events, and what they can do about them. */
#include <string.h>

#include "base/text.h"
#include "bus/bus_private.h"

#define DEAD_LETTER_SELECT                                                                         \
    "SELECT h.*, (SELECT count(*) FROM bus_parked w WHERE w.subscriber = h.subscriber "            \
    "AND w.publisher = h.publisher AND w.subject = h.subject AND w.state = 'waiting') AS waiting " \
    "FROM bus_parked h WHERE h.state <> 'waiting' AND "

static struct statement list_letters = {
    .service = "bus",
    .name = "list_letters",
    .sql = DEAD_LETTER_SELECT "(h.subscriber, h.event_id) > (?1, ?2) "
                              "ORDER BY h.subscriber, h.event_id LIMIT ?3",
};
static struct statement find_letter = {
    .service = "bus",
    .name = "find_letter",
    .sql = DEAD_LETTER_SELECT "h.subscriber = ?1 AND h.event_id = ?2",
};
static struct statement redrive_letter = {
    .service = "bus",
    .name = "redrive_letter",
    .sql = "UPDATE bus_parked SET state = 'retrying', attempts = 0, next_try_us = 0 "
           "WHERE subscriber = ?1 AND event_id = ?2 AND state <> 'waiting'",
    .writes = true,
};

struct letter_key {
    const char *subscriber, *event_id;
};

static struct letter_key split_id(struct arena *a, const char *id);
static size_t stores_of(const struct bus *bus, struct store *ret[FOLLOWERS_MAX]);
static enum status find_row(struct bus *bus, struct tx_scope *scope, const char *id,
                            ParkedRow **ret, struct store **ret_store);
static enum status fill(struct bus *bus, struct tx_scope *scope, const ParkedRow *row,
                        struct dead_letter *ret);
static bool stands_before(const ParkedRow *a, const ParkedRow *b);
static void wake_redriven(struct bus *bus, const char *subscriber);

enum status
bus_dead_letters(struct bus *bus, struct tx_scope *scope, const char *after_id, size_t n,
                 struct dead_letter **ret, size_t *ret_n)
{
    struct letter_key after = split_id(scope->arena, after_id);
    struct value in[] = {value_text(after.subscriber), value_text(after.event_id),
                         value_int((int64_t)n)};
    struct store *stores[FOLLOWERS_MAX];
    ParkedRow **rows[FOLLOWERS_MAX];
    size_t n_rows[FOLLOWERS_MAX], at[FOLLOWERS_MAX] = {0}, n_stores = stores_of(bus, stores);
    enum status st = OK;
    for (size_t i = 0; i < n_stores && st == OK; i++) {
        struct tx *tx = tx_begin_read_in(stores[i], "bus", scope);
        st = sql_many(tx, &list_letters, in, 3, &souk__bus__parked_row__descriptor, &rows[i],
                      &n_rows[i]);
        tx_end(tx);
    }

    struct dead_letter *letters = arena_alloc(scope->arena, n * sizeof *letters);
    size_t found = 0;
    while (st == OK && found < n) {
        size_t first = n_stores;
        for (size_t i = 0; i < n_stores; i++)
            if (at[i] < n_rows[i] &&
                (first == n_stores || stands_before(rows[i][at[i]], rows[first][at[first]])))
                first = i;
        if (first == n_stores)
            break;
        st = fill(bus, scope, rows[first][at[first]++], &letters[found++]);
    }
    if (st)
        return st;
    *ret = letters;
    *ret_n = found;
    return OK;
}

enum status
bus_dead_letter(struct bus *bus, struct tx_scope *scope, const char *id, struct dead_letter *ret)
{
    ParkedRow *row;
    struct store *store;
    enum status st = find_row(bus, scope, id, &row, &store);
    return st ? st : fill(bus, scope, row, ret);
}

enum status
bus_redrive(struct bus *bus, struct tx_scope *scope, const char *id)
{
    ParkedRow *row;
    struct store *store;
    enum status st = find_row(bus, scope, id, &row, &store);
    if (st)
        return st;
    struct value key[] = {value_text(row->subscriber), value_text(row->event_id)};
    struct tx *tx = tx_begin_in(store, "bus", scope);
    int64_t changed = sql_count(tx, &redrive_letter, key, 2);
    st = tx_commit(tx);
    if (st == OK && changed == 0)
        return NOT_FOUND;
    /* The follower reads what is on disk. */
    if (st == OK)
        st = store_wait(scope);
    if (st == OK)
        wake_redriven(bus, row->subscriber);
    return st;
}

/* "<subscriber>:<event id>"; what is not so is before all of a subscriber of that name. */
static struct letter_key
split_id(struct arena *a, const char *id)
{
    const char *colon = id ? strchr(id, ':') : NULL;
    if (!colon)
        return (struct letter_key){id ? id : "", ""};
    return (struct letter_key){arena_strndup(a, id, (size_t)(colon - id)), colon + 1};
}

/* Embedded both, even where nobody follows. */
static size_t
stores_of(const struct bus *bus, struct store *ret[FOLLOWERS_MAX])
{
    size_t n = 0;
    if (!bus->spread) {
        ret[n++] = bus->options.core;
        if (bus->options.listeners)
            ret[n++] = bus->options.listeners;
        return n;
    }
    for (size_t i = 0; i < bus->n_followers; i++) {
        struct store *store = bus->followers[i]->subscriber.store;
        size_t j = 0;
        while (j < n && ret[j] != store)
            j++;
        if (j == n)
            ret[n++] = store;
    }
    return n;
}

static enum status
find_row(struct bus *bus, struct tx_scope *scope, const char *id, ParkedRow **ret,
         struct store **ret_store)
{
    struct letter_key key = split_id(scope->arena, id);
    struct value in[] = {value_text(key.subscriber), value_text(key.event_id)};
    struct store *stores[FOLLOWERS_MAX];
    size_t n = stores_of(bus, stores);
    enum status st = NOT_FOUND;
    for (size_t i = 0; i < n && st == NOT_FOUND; i++) {
        struct tx *tx = tx_begin_read_in(stores[i], "bus", scope);
        st = sql_one(tx, &find_letter, in, 2, &souk__bus__parked_row__descriptor, ret);
        tx_end(tx);
        if (st == OK)
            *ret_store = stores[i];
    }
    return st;
}

static enum status
fill(struct bus *bus, struct tx_scope *scope, const ParkedRow *row, struct dead_letter *ret)
{
    struct event event;
    enum status st = parked_event(bus, scope, row, &event);
    if (st)
        return st;
    *ret = (struct dead_letter){
        .id = arena_printf(scope->arena, "%s:%s", row->subscriber, row->event_id),
        .subscriber = row->subscriber,
        .event = event,
        .attempts = row->attempts,
        .error = row->error,
        .dead = strcmp(row->state, "dead") == 0,
        .waiting = row->waiting,
        .parked_at_us = row->parked_at_us,
    };
    return OK;
}

static bool
stands_before(const ParkedRow *a, const ParkedRow *b)
{
    int order = strcmp(a->subscriber, b->subscriber);
    return order < 0 || (order == 0 && strcmp(a->event_id, b->event_id) < 0);
}

static void
wake_redriven(struct bus *bus, const char *subscriber)
{
    for (size_t i = 0; i < bus->n_followers; i++) {
        struct follower *f = bus->followers[i];
        if (strcmp(f->subscriber.service, subscriber) == 0) {
            f->redriven = true;
            worker_wake(&f->worker);
        }
    }
}
