/* Copying the WAL to the file, so that it does not grow without limit. */
#include <stdlib.h>

#include "base/env.h"
#include "store/sqlite.h"

/* How long the writer may stand still for readers to leave the old WAL: the longer, the longer the
 * WAL has become.  If they stay it is tried again when so many pages more have been written. */
enum { RESTART_BUSY_MS = 2, RESTART_BUSY_DOUBLINGS_MAX = 9, RETRY_PAGES = 512 };

static void *checkpointer_main(void *arg);
static int note_pages(void *q, sqlite3 *db, const char *name, int pages);
static void copy(struct sqlite *q);
static void begin_anew(struct store *store);

int
checkpoint_start(struct sqlite *q)
{
    int code = conn_open(&q->copier, q, CONN_COPIER);
    if (code != SQLITE_OK)
        return code;
    sqlite3_wal_hook(q->writer.db, note_pages, q);
    if (!env.single_thread) {
        q->checkpointer = fiber_self(); /* until the thread says its own */
        q->checkpointer_thread = thread_start("checkpointer", checkpointer_main, q);
        fiber_wait_inside();
    }
    return SQLITE_OK;
}

void
checkpoint_stop(struct sqlite *q)
{
    __atomic_store_n(&q->store.stopping, true, __ATOMIC_SEQ_CST);
    if (q->checkpointer) {
        fiber_wake(q->checkpointer);
        pthread_join(q->checkpointer_thread, NULL);
    }
    if (q->copier.db)
        conn_shut(&q->copier);
}

void
checkpoint_look(struct store *store)
{
    struct sqlite *q = sqlite_of(store);
    int pages = __atomic_load_n(&q->wal_pages, __ATOMIC_RELAXED);
    int copied_at = __atomic_load_n(&q->copied_at, __ATOMIC_RELAXED);
    if (pages < copied_at) { /* it began anew */
        copied_at = 0;
        __atomic_store_n(&q->copied_at, 0, __ATOMIC_RELAXED);
    }
    if (pages - copied_at < CHECKPOINT_PAGES ||
        __atomic_exchange_n(&q->copying, true, __ATOMIC_ACQ_REL))
        return;
    if (q->checkpointer)
        fiber_wake(q->checkpointer);
    else
        copy(q);
}

static void *
checkpointer_main(void *arg)
{
    struct sqlite *q = arg;
    struct fiber *opener = q->checkpointer;
    q->checkpointer = fiber_self();
    fiber_wake_inside(opener);
    while (!__atomic_load_n(&q->store.stopping, __ATOMIC_SEQ_CST)) {
        fiber_park();
        if (__atomic_load_n(&q->copying, __ATOMIC_ACQUIRE))
            copy(q);
    }
    return NULL;
}

static int
note_pages(void *q, sqlite3 *db, const char *name, int pages)
{
    (void)db, (void)name;
    __atomic_store_n(&((struct sqlite *)q)->wal_pages, pages, __ATOMIC_RELAXED);
    return SQLITE_OK;
}

/* First beside the writer, as far as readers allow.  If the WAL is long, then the little that was
 * written meanwhile with the writer standing still, so that the next batch begins the WAL anew. */
static void
copy(struct sqlite *q)
{
    int pages = __atomic_load_n(&q->wal_pages, __ATOMIC_RELAXED);
    sqlite3_wal_checkpoint_v2(q->copier.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (pages >= RESTART_PAGES) {
        batch_commit(&q->store, begin_anew);
        pages = __atomic_load_n(&q->wal_pages, __ATOMIC_RELAXED);
        if (q->readers_stayed)
            pages -= CHECKPOINT_PAGES - RETRY_PAGES;
    }
    __atomic_store_n(&q->copied_at, pages, __ATOMIC_RELAXED);
    __atomic_store_n(&q->copying, false, __ATOMIC_RELEASE);
}

static void
begin_anew(struct store *store)
{
    struct sqlite *q = sqlite_of(store);
    int code = sqlite3_wal_checkpoint_v2(q->copier.db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    q->readers_stayed = code != SQLITE_OK;
}
