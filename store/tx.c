#include <assert.h>
#include <string.h>

#include "base/env.h"
#include "store/inside.h"

static struct tx *new_tx(struct store *store, const char *service, struct tx_scope *scope);
static bool is_settled_or_failed(struct tx *tx);
static void leave(struct tx *tx, bool undo);
static void leave_writer(struct tx *tx, bool undo);
static void undo_savepoints(struct tx *tx, int down_to);
static void settle(struct tx *tx);

struct tx *
tx_begin_in(struct store *store, const char *service, struct tx_scope *scope)
{
    struct tx *tx = new_tx(store, service, scope);
    writer_lock(store);
    tx->in_writer = true;
    store->database->enter(tx);
    /* An older batch is decided before a newer one opens, so it is known here. */
    is_settled_or_failed(tx);
    return tx;
}

struct tx *
tx_begin_read_in(struct store *store, const char *service, struct tx_scope *scope)
{
    struct tx *tx = new_tx(store, service, scope);
    tx->for_reading = true;
    if (!is_settled_or_failed(tx)) {
        writer_lock(store);
        if (!is_settled_or_failed(tx)) {
            tx->in_writer = true;
            store->database->enter(tx);
            return tx;
        }
        writer_unlock(store); /* it was decided while we waited */
    }
    if (!tx->st && !store->database->take_reader(tx))
        tx_fail(tx, UNAVAILABLE);
    return tx;
}

enum status
tx_commit(struct tx *tx)
{
    if (!tx->st && !tx->for_reading) {
        bool good = true;
        for (; tx->saved > tx->alone && good; tx->saved--)
            good = tx->store->database->release(tx);
        if (good)
            settle(tx);
        else
            tx_lose(tx);
    }
    enum status st = tx->st;
    leave(tx, st || tx->for_reading);
    return st;
}

void
tx_end(struct tx *tx)
{
    leave(tx, true);
}

enum status
tx_fail(struct tx *tx, enum status st)
{
    assert(st != OK);
    if (!tx->st) {
        tx->st = st;
        tx->failed_at = tx->wanted;
    }
    return st;
}

void
tx_trust(struct tx *tx)
{
    tx->trusting = true;
}

enum status
tx_status(struct tx *tx)
{
    if (!tx->trusting)
        settle(tx);
    return tx->st;
}

const char *
tx_message(struct tx *tx)
{
    if (!tx->trusting)
        settle(tx);
    return tx->message;
}

struct tx_scope *
tx_scope_of(const struct tx *tx)
{
    return tx->scope;
}

struct store *
tx_store(const struct tx *tx)
{
    return tx->store;
}

int
tx_mark(struct tx *tx)
{
    if (tx->wanted == SAVEPOINTS_MAX)
        store_die("%s's transaction has %d marks", tx->service, SAVEPOINTS_MAX);
    return tx->wanted++;
}

/* The mark stays good: what is written from here on can be undone by it again. */
void
tx_undo_to(struct tx *tx, int mark)
{
    assert(mark > 0 && mark < tx->wanted);
    settle(tx);
    if (tx->conn && !tx->lost)
        undo_savepoints(tx, mark);
    tx->wanted = mark + 1;
    if (tx->st && tx->failed_at > mark && !tx->lost && tx->conn) {
        tx->st = OK;
        tx->message = "";
    }
}

enum status
store_wait(struct tx_scope *scope)
{
#ifdef PLANTED_BUG /* `make faults` must see what it is to answer before the commit */
    return scope ? OK : INTERNAL;
#endif
    enum status st = OK;
    for (int i = 0; i < STORES_MAX; i++) {
        uint64_t batch = scope->batch[i];
        struct store *store = batch ? store_of_batch(batch) : NULL;
        if (store && batch_wait(store, batch) != OK)
            st = UNAVAILABLE;
    }
    return st;
}

bool
store_settled(const struct tx_scope *scope)
{
    for (int i = 0; i < STORES_MAX; i++) {
        uint64_t batch = scope->batch[i];
        struct store *store = batch ? store_of_batch(batch) : NULL;
        if (store && !batch_decided(store, batch))
            return false;
    }
    return true;
}

bool
tx_prepare_to_run(struct tx *tx, const struct statement *s)
{
    const struct database *db = tx->store->database;
    if (!tx->in_writer || (!s->writes && !db->shared))
        return true;
    bool good = batch_open(tx->store);
    if (good && db->shared && tx->saved == 0 && tx->store->transactions == 0)
        tx->saved = tx->alone = 1;
    while (good && tx->saved < tx->wanted) {
        good = db->save(tx);
        tx->saved += good;
    }
    if (!good) {
        tx_failed(tx, s, UNAVAILABLE, db->trouble(tx->store, tx->scope->arena));
        if (tx->store->open)
            tx_lose(tx);
        return false;
    }
    tx->wrote |= s->writes;
    return true;
}

void
tx_failed(struct tx *tx, const struct statement *s, enum status st, const char *words)
{
    if (!tx->st)
        tx->message = arena_printf(tx->scope->arena, "%s.%s: %s", s->service, s->name, words);
    tx_fail(tx, st);
}

/* It could be neither kept nor undone, or the database has undone it, and all its batch with it. */
void
tx_lose(struct tx *tx)
{
    struct store *store = tx->store;
    tx_fail(tx, UNAVAILABLE);
    if (tx->lost || !store->open)
        return;
    tx->lost = true;
    tx->batch = store->batch;
    tx->saved = 0;
    store->database->roll_back(store);
    batch_lost(store);
}

static struct tx *
new_tx(struct store *store, const char *service, struct tx_scope *scope)
{
    assert(!scope->open);
    struct tx *tx = arena_alloc(scope->arena, sizeof *tx);
    *tx =
        (struct tx){.store = store, .service = service, .scope = scope, .message = "", .wanted = 1};
    scope->open = tx;
    return tx;
}

/* False if the scope's batch is not decided yet.  If it failed, then what the scope knows may never
 * have happened, and so tx fails. */
static bool
is_settled_or_failed(struct tx *tx)
{
    uint64_t batch = tx->scope->batch[tx->store->number];
    if (!batch)
        return true;
    if (!batch_decided(tx->store, batch))
        return false;
    if (batch_failed(tx->store, batch)) {
        tx_fail(tx, UNAVAILABLE);
        tx->message = "what this work has written before could not be stored";
    }
    return true;
}

static void
leave(struct tx *tx, bool undo)
{
    assert(tx->scope->open == tx);
    tx->scope->open = NULL;
    if (tx->in_writer) {
        leave_writer(tx, undo);
    } else if (tx->conn) {
        tx->store->database->leave_reader(tx);
    }
    tx->conn = NULL;
}

/* Whoever has been in a batch that may yet fail is bound to it, even if he only read. */
static void
leave_writer(struct tx *tx, bool undo)
{
    struct store *store = tx->store;
    uint64_t *bound = &tx->scope->batch[store->number];
    settle(tx);
    if (undo && !tx->lost)
        undo_savepoints(tx, 0);
    if (tx->lost) {
        *bound = tx->batch;
    } else {
        bool ordered = tx->wrote && !undo;
        bool poisoned = *bound && *bound != store->batch && batch_failed(store, *bound);
        if (!poisoned && (ordered || store->transactions > 0))
            *bound = store->batch;
        if (ordered)
            batch_ordered(store);
        else if (store->database->shared && store->open && store->transactions == 0)
            batch_drop_empty(store);
    }
    writer_unlock(store);
    if (env.single_thread && store->database->committed)
        store->database->committed(store);
}

static void
undo_savepoints(struct tx *tx, int down_to)
{
    bool good = true;
    if (down_to < tx->alone) /* the batch ends with it */
        tx->saved = 0;
    for (; tx->saved > down_to && good; tx->saved--)
        good = tx->store->database->undo(tx);
    if (!good)
        tx_lose(tx);
}

static void
settle(struct tx *tx)
{
    if (tx->in_writer && tx->store->database->settle)
        tx->store->database->settle(tx);
}
