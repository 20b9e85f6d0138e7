/*
 * The relay: what publishers in the listeners' store wrote to its outbox goes into the journal.
 *
 * It reads only what is durable there, waits until the journal has it on disk, and then deletes it.
 * After a crash between the two it finds the same events again; the journal knows them by subject,
 * publisher and sequence, and takes none twice.
 *
 * It runs beside those who sell: the listeners' thread gives way to others, and must not do so
 * while it holds the writer that sales wait for.
 */
#include "bus/bus_private.h"

enum {
    RELAY_ROWS_MAX = 256, /* in one transaction */
    RELAY_LOOK_US = 1000000,
    RELAY_PAUSE_US = 10000, /* so that a commit takes many */
    DRAIN_LOOK_US = 1000,
};

static struct statement list_outbox = {
    .service = "bus",
    .name = "list_outbox",
    .sql = "SELECT position, " EVENT_COLUMNS " FROM bus_outbox ORDER BY position LIMIT ?1",
};
static struct statement clear_outbox = {
    .service = "bus",
    .name = "clear_outbox",
    .sql = "DELETE FROM bus_outbox WHERE position <= ?1",
    .writes = true,
};
static struct statement outbox_end = {
    .service = "bus",
    .name = "outbox_end",
    .sql = "SELECT coalesce(max(position), 0) FROM bus_outbox",
};
static struct statement outbox_up_to = {
    .service = "bus",
    .name = "outbox_up_to",
    .sql = "SELECT count(*) FROM bus_outbox WHERE position <= ?1",
};

static enum status relay_some(struct bus *bus, struct tx_scope *scope, size_t *ret_n);
static enum status commit_and_wait(struct tx *tx, struct tx_scope *scope);
static enum status flush_outbox(struct bus *bus, struct arena *a, int64_t *ret);

void
relay_run(void *arg)
{
    struct bus *bus = arg;
    struct arena *a = arena_new();
    while (worker_goes_on(&bus->relay)) {
        arena_reset(a);
        struct tx_scope scope = {.arena = a};
        size_t n = 0;
        enum status st = relay_some(bus, &scope, &n);
        if (st)
            fiber_sleep_us(RELAY_LOOK_US);
        else if (n > 0 && n < RELAY_ROWS_MAX)
            fiber_sleep_us(RELAY_PAUSE_US);
        else if (n == 0)
            worker_wait(&bus->relay, env.mono_us() + RELAY_LOOK_US);
    }
    arena_free(a);
    worker_end(&bus->relay);
}

bool
relay_drained(struct bus *bus, int64_t until_mono_us)
{
    struct arena *a = arena_new();
    int64_t end = 0, left = 1;
    enum status st = flush_outbox(bus, a, &end);
    while ((st || left > 0) && env.mono_us() < until_mono_us) {
        struct tx_scope scope = {.arena = a};
        if (st) {
            st = flush_outbox(bus, a, &end);
        } else {
            struct value in[] = {value_int(end)};
            struct tx *tx = tx_begin_read_in(bus->options.listeners, "bus", &scope);
            sql_int(tx, &outbox_up_to, in, 1, &left);
            tx_end(tx);
        }
        if (st || left > 0)
            fiber_sleep_us(DRAIN_LOOK_US);
        arena_reset(a);
    }
    arena_free(a);
    return st == OK && left == 0;
}

/* Moves up to RELAY_ROWS_MAX events. */
static enum status
relay_some(struct bus *bus, struct tx_scope *scope, size_t *ret_n)
{
    struct value in[] = {value_int(RELAY_ROWS_MAX)};
    EventRow **rows = NULL;
    size_t n = 0;
    struct tx *tx = tx_begin_read_in(bus->options.listeners, "bus", scope);
    enum status st =
        sql_many(tx, &list_outbox, in, 1, &souk__bus__event_row__descriptor, &rows, &n);
    tx_end(tx);
    if (st || n == 0)
        return st;

    tx = tx_begin_in(bus->options.core, "bus", scope);
    for (size_t i = 0; i < n; i++)
        journal_take(tx, rows[i]);
    st = commit_and_wait(tx, scope);
    if (st)
        return st;

    struct value last[] = {value_int(rows[n - 1]->position)};
    tx = tx_begin_in(bus->options.listeners, "bus", scope);
    sql_exec(tx, &clear_outbox, last, 1);
    st = commit_and_wait(tx, scope);
    if (st == OK)
        *ret_n = n;
    return st;
}

static enum status
commit_and_wait(struct tx *tx, struct tx_scope *scope)
{
    enum status st = tx_commit(tx);
    return st ? st : store_wait(scope);
}

/* The place of the newest event in the outbox, once it is durable; 0 if it is empty. */
static enum status
flush_outbox(struct bus *bus, struct arena *a, int64_t *ret)
{
    struct tx_scope scope = {.arena = a};
    struct tx *tx = tx_begin_in(bus->options.listeners, "bus", &scope);
    enum status st = sql_int(tx, &outbox_end, NULL, 0, ret);
    tx_end(tx);
    return st ? st : store_wait(&scope);
}
