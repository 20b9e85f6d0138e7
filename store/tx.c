#include <assert.h>
#include <string.h>

#include "base/env.h"
#include "store/inside.h"

static struct tx *new_tx(struct store *store, const char *service, struct tx_scope *scope);
static bool is_settled_or_failed(struct tx *tx);
static void leave(struct tx *tx, bool undo);
static void leave_writer(struct tx *tx, bool undo);
static void undo_savepoints(struct tx *tx, int down_to);
static enum status give_up_batch(struct tx *tx);

struct tx *
tx_begin_in(struct store *store, const char *service, struct tx_scope *scope)
{
    struct tx *tx = new_tx(store, service, scope);
    writer_lock(store);
    tx->conn = &store->writer;
    tx->in_writer = true;
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
        tx->conn = &store->writer;
        tx->in_writer = true;
        is_settled_or_failed(tx);
        return tx;
    }
    if (tx->st)
        return tx;
    tx->conn = reader_take(store);
    if (!tx->conn)
        tx_fail(tx, UNAVAILABLE);
    return tx;
}

enum status
tx_commit(struct tx *tx)
{
    enum status st = tx->st;
    if (st || tx->for_reading) {
        leave(tx, true);
        return st;
    }
    if (tx->saved > 0) {
        int code = SQLITE_OK;
        for (; tx->saved > 0 && code == SQLITE_OK; tx->saved--)
            code = conn_word(tx->conn, WORD_RELEASE);
        if (code != SQLITE_OK)
            st = give_up_batch(tx);
    }
    leave(tx, st != OK);
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

enum status
tx_status(const struct tx *tx)
{
    return tx->st;
}

const char *
tx_message(const struct tx *tx)
{
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

int
tx_before_write(struct tx *tx)
{
    int code = batch_open(tx->store);
    for (; code == SQLITE_OK && tx->saved < tx->wanted; tx->saved++) {
        code = conn_word(tx->conn, WORD_SAVE);
        if (code != SQLITE_OK)
            break;
    }
    tx->wrote |= code == SQLITE_OK;
    return code;
}

bool
tx_is_lost(struct tx *tx)
{
    if (!tx->in_writer || !tx->store->open || !sqlite3_get_autocommit(tx->conn->db))
        return false;
    tx->lost = true;
    tx->batch = tx->store->batch;
    tx->saved = 0;
    batch_lost(tx->store);
    return true;
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
        if (tx->began)
            conn_word(tx->conn, WORD_COMMIT);
        reader_give_back(tx->conn);
    }
    tx->conn = NULL;
}

/* Whoever has been in a batch that may yet fail is bound to it, even if he only read. */
static void
leave_writer(struct tx *tx, bool undo)
{
    struct store *store = tx->store;
    uint64_t *bound = &tx->scope->batch[store->number];
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
    }
    writer_unlock(store);
    if (env.single_thread)
        checkpoint_look(store);
}

static void
undo_savepoints(struct tx *tx, int down_to)
{
    int code = SQLITE_OK;
    for (; tx->saved > down_to && code == SQLITE_OK; tx->saved--) {
        code = conn_word(tx->conn, WORD_UNDO);
        if (code == SQLITE_OK)
            code = conn_word(tx->conn, WORD_RELEASE);
    }
    if (code != SQLITE_OK)
        give_up_batch(tx);
}

/* tx could be neither kept nor undone, so nothing of its batch may be kept. */
static enum status
give_up_batch(struct tx *tx)
{
    if (!tx_is_lost(tx)) {
        conn_word(tx->conn, WORD_ROLLBACK);
        tx_is_lost(tx);
    }
    return tx_fail(tx, UNAVAILABLE);
}
