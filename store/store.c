#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "store/inside.h"

/* Stores that are open in this process: a node has two, a test may run several nodes. */
enum { OPEN_MAX = 64, SLOT_SHIFT = 48, STMT_JOURNAL_BYTES = 256 << 10 };

static struct spin slots_lock;
static struct store *slots[OPEN_MAX]; /* read atomically */
static uint64_t next_batch[OPEN_MAX]; /* so that a slot used again repeats no number */

static void prepare_sqlite(void);
static bool take_slot(struct store *store);
static void give_back_slot(struct store *store);
static enum status say_why(struct store *store, struct conn *c, struct arena *a, const char **why);
static void free_store(struct store *store);

enum status
store_open(const struct store_options *options, struct arena *a, struct store **ret,
           const char **why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_sqlite);
    assert(options->number >= 0 && options->number < STORES_MAX);

    struct store *store = calloc(1, sizeof *store);
    if (!store || !(store->path = strdup(options->path)))
        abort();
    store->number = options->number;
    store->on_durable = options->on_durable;
    store->on_durable_arg = options->on_durable_arg;

    enum status st = OK;
    if (conn_open(&store->writer, store, CONN_WRITER) != SQLITE_OK)
        st = say_why(store, &store->writer, a, why);
    if (st == OK)
        st = migrate(&store->writer, options, a, why);
    if (st == OK && checkpoint_start(store) != SQLITE_OK)
        st = say_why(store, &store->copier, a, why);
    if (st == OK && !take_slot(store)) {
        checkpoint_stop(store);
        *why = arena_printf(a, "%d stores are open", OPEN_MAX);
        st = RESOURCE_EXHAUSTED;
    }
    if (st) {
        free_store(store);
        return st;
    }
    batch_start(store);
    *ret = store;
    return OK;
}

void
store_close(struct store *store)
{
    batch_stop(store);
    checkpoint_stop(store);
    give_back_slot(store);
    free_store(store);
}

struct store_figures
store_figures(struct store *store)
{
    spin_lock(&store->fate_lock);
    struct store_figures figures = store->figures;
    spin_unlock(&store->fate_lock);
    return figures;
}

void
store_fail_at(struct store *store, int k)
{
    __atomic_store_n(&store->fail_at, k, __ATOMIC_RELAXED);
}

bool
store_fails_now(struct store *store)
{
    int k = __atomic_load_n(&store->fail_at, __ATOMIC_RELAXED);
    while (k > 0)
        if (__atomic_compare_exchange_n(&store->fail_at, &k, k - 1, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return k == 1;
    return false;
}

struct store *
store_of_batch(uint64_t batch)
{
    return __atomic_load_n(&slots[batch >> SLOT_SHIFT], __ATOMIC_ACQUIRE);
}

void
store_die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "store: ");
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

/* Connections are guarded by us, and nobody asks for its counts of memory.  What a savepoint keeps
 * stays in memory up to the size of a large transaction. */
static void
prepare_sqlite(void)
{
    sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite3_config(SQLITE_CONFIG_STMTJRNL_SPILL, STMT_JOURNAL_BYTES);
    if (sqlite3_initialize() != SQLITE_OK)
        abort();
}

static bool
take_slot(struct store *store)
{
    spin_lock(&slots_lock);
    unsigned i = 0;
    while (i < OPEN_MAX && slots[i])
        i++;
    if (i < OPEN_MAX) {
        if (!next_batch[i])
            next_batch[i] = ((uint64_t)i << SLOT_SHIFT) + 1;
        store->slot = i;
        store->batch = next_batch[i];
        store->decided = store->batch - 1;
        __atomic_store_n(&slots[i], store, __ATOMIC_RELEASE);
    }
    spin_unlock(&slots_lock);
    return i < OPEN_MAX;
}

static void
give_back_slot(struct store *store)
{
    spin_lock(&slots_lock);
    next_batch[store->slot] = store->batch + 1;
    __atomic_store_n(&slots[store->slot], NULL, __ATOMIC_RELEASE);
    spin_unlock(&slots_lock);
}

static enum status
say_why(struct store *store, struct conn *c, struct arena *a, const char **why)
{
    *why = arena_printf(a, "%s: %s", store->path, c->db ? sqlite3_errmsg(c->db) : "out of memory");
    return UNAVAILABLE;
}

static void
free_store(struct store *store)
{
    readers_close(store);
    if (store->copier.db)
        conn_shut(&store->copier);
    if (store->writer.db)
        conn_shut(&store->writer);
    free(store->path);
    free(store);
}
