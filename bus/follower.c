/*
 * A follower: the fiber that brings one subscriber its events.
 *
 * It handles many events in a transaction, and moves the cursor in the same one; a mark before each
 * event lets a bad one be undone without its neighbours.  It waits for the disk after each
 * transaction, so that what it holds in memory is never ahead of what a crash would leave.
 */
#include <string.h>

#include "base/text.h"
#include "bus/bus_private.h"

enum {
    IDLE_WRITES_EVENTS = 1000, /* passed over before the cursor is written for them alone */
    BATCH_US_MAX = 500,        /* then others get the writer */
    GATHER_EVENTS_MAX = 250,   /* of a listener, whose writer nobody waits for */
    GATHER_US_MAX = 10000,
    GATHER_PAUSE_US = 10000, /* between its transactions, so that it syncs less often than sales do */
    CLOCK_LOOK_US = 1000000,   /* while something is to be retried: the wall clock may be set */
    BACKOFF_FIRST_US = 10000,
    BACKOFF_MOST_US = 1000000,
};

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

static bool load(struct follower *f);
static bool take_batch(struct follower *f);
static enum status handle_batch(struct follower *f, struct tx *tx, struct walk *w,
                                const struct event *e);
static enum status take_event(struct follower *f, struct tx *tx, const struct event *e);
static void write_cursor(struct follower *f, struct tx *tx, int64_t position);
static void write_idle_cursor(struct follower *f);
static void back_off(struct follower *f);
static int64_t next_look_us(const struct follower *f);
static bool is_listener(const struct follower *f);

void
follower_run(void *arg)
{
    struct follower *f = arg;
    f->scope.arena = arena_new();
    while (worker_goes_on(&f->worker)) {
        if (!f->loaded && !load(f)) {
            back_off(f);
            continue;
        }
        bool moved = take_batch(f);
        bool retried = f->loaded && parked_retry(f);
        if (!f->loaded)
            back_off(f);
        else if (moved && !f->full && is_listener(f))
            fiber_sleep_us(GATHER_PAUSE_US);
        else if (moved || retried)
            fiber_yield();
        else
            worker_wait(&f->worker, next_look_us(f));
    }
    if (f->loaded && f->cursor > f->written)
        write_idle_cursor(f);
    arena_free(f->scope.arena);
    worker_end(&f->worker);
}

struct tx_scope *
follower_scope(struct follower *f)
{
    struct arena *a = f->scope.arena;
    arena_reset(a);
    f->scope = (struct tx_scope){.arena = a};
    return &f->scope;
}

enum status
follower_handle(struct follower *f, struct tx *tx, const struct event *e, const char **why)
{
    int mark = tx_mark(tx);
    enum status st = f->subscriber.handle(f->subscriber.arg, tx, e);
    enum status of_tx = tx_status(tx);
    if (of_tx == UNAVAILABLE)
        return of_tx;
    if (st == OK)
        st = of_tx;
    if (st == OK)
        return OK;
    const char *words = tx_message(tx);
    *why = arena_printf(f->scope.arena, "%s%s%s", status_name(st), words[0] ? ": " : "", words);
    tx_undo_to(tx, mark);
    return st;
}

bool
follower_commit(struct follower *f, struct tx *tx)
{
    enum status st = tx_commit(tx);
    if (st == OK)
        st = store_wait(&f->scope);
    f->loaded = st == OK;
    if (f->loaded)
        f->backoff_us = 0;
    return f->loaded;
}

/* Reads what is kept in memory; in the writer, so that nothing ordered is missed. */
static bool
load(struct follower *f)
{
    struct tx *tx = tx_begin_in(f->subscriber.store, f->subscriber.service, follower_scope(f));
    struct value in[] = {value_text(f->subscriber.service)};
    int64_t cursor = 0;
    enum status st = sql_int(tx, &find_cursor, in, 1, &cursor);
    if (st == OK || st == NOT_FOUND)
        st = parked_load(f, tx);
    tx_end(tx);
    if (st == OK)
        st = store_wait(&f->scope);
    if (st)
        return false;
    f->cursor = f->written = cursor;
    f->loaded = true;
    return true;
}

/* True if the cursor moved. */
static bool
take_batch(struct follower *f)
{
    struct walk w = {.bus = f->bus, .topics = &f->topics, .position = f->cursor};
    const struct event *e = walk_next(&w, false);
    if (!e) {
        bool moved = w.position > f->cursor;
        f->cursor = w.position;
        if (f->cursor - f->written >= IDLE_WRITES_EVENTS)
            write_idle_cursor(f);
        return moved;
    }
    struct tx *tx = tx_begin_in(f->subscriber.store, f->subscriber.service, follower_scope(f));
    int64_t parked = f->parked;
    if (handle_batch(f, tx, &w, e) != OK) {
        f->parked = parked;
        f->loaded = false;
    }
    int64_t position = w.position;
    walk_end(&w);
    if (!f->loaded) {
        tx_end(tx);
        return false;
    }
    write_cursor(f, tx, position);
    if (!follower_commit(f, tx))
        return false;
    f->cursor = f->written = position;
    return true;
}

/* Handles e and what follows it, until the batch is full. */
static enum status
handle_batch(struct follower *f, struct tx *tx, struct walk *w, const struct event *e)
{
    bool gathers = is_listener(f);
    int events_max = gathers ? GATHER_EVENTS_MAX : BATCH_EVENTS_MAX;
    int64_t until_us = env.mono_us() + (gathers ? GATHER_US_MAX : BATCH_US_MAX);
    for (int n = 1;; n++) {
        enum status st = take_event(f, tx, e);
        if (st)
            return st;
        f->full = n == events_max || env.mono_us() >= until_us;
        if (f->full)
            return OK;
        e = walk_next(w, true);
        if (!e)
            return OK;
    }
}

/* OK if the event's turn is over, well or parked; else the store is in trouble. */
static enum status
take_event(struct follower *f, struct tx *tx, const struct event *e)
{
    if (tx_status(tx))
        return tx_status(tx);
    if (f->parked > 0 && parked_blocks(f, tx, e)) {
        parked_wait(f, tx, e);
        return tx_status(tx);
    }
    const char *why;
    if (follower_handle(f, tx, e, &why) != OK && tx_status(tx) == OK)
        parked_add(f, tx, e, why);
    return tx_status(tx);
}

static void
write_cursor(struct follower *f, struct tx *tx, int64_t position)
{
    struct value in[] = {value_text(f->subscriber.service), value_int(position)};
    sql_exec(tx, &move_cursor, in, 2);
}

/* For events that concern nobody here; saves reading them again after a restart. */
static void
write_idle_cursor(struct follower *f)
{
    int64_t position = f->cursor;
    struct tx *tx = tx_begin_in(f->subscriber.store, f->subscriber.service, follower_scope(f));
    write_cursor(f, tx, position);
    if (follower_commit(f, tx))
        f->written = position;
}

/* The store is in trouble: waits, each time longer, to begin again from what the tables say. */
static void
back_off(struct follower *f)
{
    f->backoff_us = f->backoff_us == 0 ? BACKOFF_FIRST_US : 2 * f->backoff_us;
    if (f->backoff_us > BACKOFF_MOST_US)
        f->backoff_us = BACKOFF_MOST_US;
    fiber_sleep_us(f->backoff_us);
}

static int64_t
next_look_us(const struct follower *f)
{
    if (f->next_try_us == INT64_MAX)
        return INT64_MAX; /* the tail wakes us */
    int64_t wait_us = f->next_try_us - env.now_us();
    if (wait_us > CLOCK_LOOK_US)
        wait_us = CLOCK_LOOK_US;
    return env.mono_us() + (wait_us > 0 ? wait_us : 0);
}

static bool
is_listener(const struct follower *f)
{
    return f->subscriber.store != f->bus->options.core;
}
