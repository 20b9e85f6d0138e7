/* Copying the WAL to the file, so that it does not grow without limit. */
#include <stdlib.h>

#include "base/env.h"
#include "store/inside.h"

/* How long the writer may stand still for readers to leave the old WAL: the longer, the longer the
 * WAL has become.  If they stay it is tried again when so many pages more have been written. */
enum { RESTART_BUSY_MS = 2, RESTART_BUSY_DOUBLINGS_MAX = 9, RETRY_PAGES = 512 };

static void *checkpointer_main(void *arg);
static int note_pages(void *store, sqlite3 *db, const char *name, int pages);
static void copy(struct store *store);
static void begin_anew(struct store *store);

int
checkpoint_start(struct store *store)
{
    int code = conn_open(&store->copier, store, CONN_COPIER);
    if (code != SQLITE_OK)
        return code;
    sqlite3_wal_hook(store->writer.db, note_pages, store);
    if (!env.single_thread) {
        store->checkpointer = fiber_self(); /* until the thread says its own */
        store->checkpointer_thread = thread_start("checkpointer", checkpointer_main, store);
        fiber_wait_inside();
    }
    return SQLITE_OK;
}

void
checkpoint_stop(struct store *store)
{
    __atomic_store_n(&store->stopping, true, __ATOMIC_SEQ_CST);
    if (store->checkpointer) {
        fiber_wake(store->checkpointer);
        pthread_join(store->checkpointer_thread, NULL);
    }
    if (store->copier.db)
        conn_shut(&store->copier);
}

void
checkpoint_look(struct store *store)
{
    int pages = __atomic_load_n(&store->wal_pages, __ATOMIC_RELAXED);
    int copied_at = __atomic_load_n(&store->copied_at, __ATOMIC_RELAXED);
    if (pages < copied_at) { /* it began anew */
        copied_at = 0;
        __atomic_store_n(&store->copied_at, 0, __ATOMIC_RELAXED);
    }
    if (pages - copied_at < CHECKPOINT_PAGES ||
        __atomic_exchange_n(&store->copying, true, __ATOMIC_ACQ_REL))
        return;
    if (store->checkpointer)
        fiber_wake(store->checkpointer);
    else
        copy(store);
}

static void *
checkpointer_main(void *arg)
{
    struct store *store = arg;
    struct fiber *opener = store->checkpointer;
    store->checkpointer = fiber_self();
    fiber_wake_inside(opener);
    while (!__atomic_load_n(&store->stopping, __ATOMIC_SEQ_CST)) {
        fiber_park();
        if (__atomic_load_n(&store->copying, __ATOMIC_ACQUIRE))
            copy(store);
    }
    return NULL;
}

static int
note_pages(void *store, sqlite3 *db, const char *name, int pages)
{
    (void)db, (void)name;
    __atomic_store_n(&((struct store *)store)->wal_pages, pages, __ATOMIC_RELAXED);
    return SQLITE_OK;
}

/* First beside the writer, as far as readers allow.  If the WAL is long, then the little that was
 * written meanwhile with the writer standing still, so that the next batch begins the WAL anew. */
static void
copy(struct store *store)
{
    int pages = __atomic_load_n(&store->wal_pages, __ATOMIC_RELAXED);
    sqlite3_wal_checkpoint_v2(store->copier.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (pages >= RESTART_PAGES) {
        batch_commit(store, begin_anew);
        pages = __atomic_load_n(&store->wal_pages, __ATOMIC_RELAXED);
        if (store->readers_stayed)
            pages -= CHECKPOINT_PAGES - RETRY_PAGES;
    }
    __atomic_store_n(&store->copied_at, pages, __ATOMIC_RELAXED);
    __atomic_store_n(&store->copying, false, __ATOMIC_RELEASE);
}

static void
begin_anew(struct store *store)
{
    int code =
        sqlite3_wal_checkpoint_v2(store->copier.db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    store->readers_stayed = code != SQLITE_OK;
}
