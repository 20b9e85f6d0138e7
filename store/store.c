#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "store/inside.h"

/* Stores that are open in this process: a test may run several nodes. */
enum { OPEN_MAX = 256, SLOT_SHIFT = 48 };

static struct spin slots_lock;
static struct store *slots[OPEN_MAX]; /* read atomically */
static uint64_t next_batch[OPEN_MAX]; /* so that a slot used again repeats no number */

static bool take_slot(struct store *store);
static void give_back_slot(struct store *store);

enum status
store_open(const struct store_options *options, struct arena *a, struct store **ret,
           const char **why)
{
    assert(options->number >= 0 && options->number < STORES_MAX);
    bool remote = text_starts(options->path, "postgresql://");
    const struct database *database = remote ? &postgres_database : &sqlite_database;
    struct store *store = NULL;
    enum status st = database->open(options, a, &store, why);
    if (st)
        return st;
    if (!take_slot(store)) {
        database->close(store);
        *why = arena_printf(a, "%d stores are open", OPEN_MAX);
        return RESOURCE_EXHAUSTED;
    }
    batch_start(store);
    *ret = store;
    return OK;
}

void
store_close(struct store *store)
{
    batch_stop(store);
    give_back_slot(store);
    store->database->close(store);
}

bool
store_leads(struct store *store, const char *what)
{
    return !store->database->leads || store->database->leads(store, what);
}

void
store_leads_drop(struct store *store, const char *what)
{
    if (store->database->leads)
        store->database->leads_drop(store, what);
}

struct store_figures
store_figures(struct store *store)
{
    spin_lock(&store->fate_lock);
    struct store_figures figures = store->figures;
    spin_unlock(&store->fate_lock);
    figures.round_trips = __atomic_load_n(&store->round_trips, __ATOMIC_RELAXED);
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

void
store_init(struct store *store, const struct database *database,
           const struct store_options *options)
{
    store->database = database;
    store->path = strdup(options->path);
    if (!store->path)
        abort();
    store->number = options->number;
    store->on_durable = options->on_durable;
    store->on_durable_arg = options->on_durable_arg;
}

void
store_forget(struct store *store)
{
    free(store->path);
    free(store);
}

int
statement_number(struct statement *s)
{
    static struct spin lock;
    static int last;

    int number = __atomic_load_n(&s->number, __ATOMIC_ACQUIRE);
    if (number)
        return number;
    spin_lock(&lock);
    number = __atomic_load_n(&s->number, __ATOMIC_RELAXED);
    if (!number) {
        number = ++last;
        __atomic_store_n(&s->number, number, __ATOMIC_RELEASE);
    }
    spin_unlock(&lock);
    return number;
}

bool
owns_table(const char *service, const char *name)
{
    size_t n = strlen(service);
    return (strncmp(name, service, n) == 0 && name[n] == '_') || strncmp(name, "sqlite_", 7) == 0;
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
