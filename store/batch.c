/*
 * Group commit.  Transactions are ordered into the open batch by whoever holds the writer's lock;
 * one thread commits it, which syncs, as soon as somebody waits for it.  Meanwhile the lock is
 * held: those who come wait in line, and are the next batch.
 */
#include <stdlib.h>

#include "base/env.h"
#include "store/inside.h"

enum { GATHER_US_MAX = 4000 };

static void *committer_main(void *arg);
static bool is_due(struct store *store);
static void commit_if_there(void *number);
static struct waiter *commit_open(struct store *store, bool *ret_durable);
static struct waiter *decide(struct store *store, bool durable, int64_t sync_us);
static void remember_failed(struct store *store, uint64_t batch);
static void wake_all(struct waiter *w);
static void want(struct store *store, uint64_t batch);
static void wait_in_line(struct store *store, uint64_t batch);
static void gather(struct store *store);

void
batch_start(struct store *store)
{
    if (env.single_thread)
        return;
    store->watching = true;
    store->committer = fiber_self(); /* until the thread says its own */
    store->committer_thread = thread_start("committer", committer_main, store);
    fiber_wait_inside();
}

void
batch_stop(struct store *store)
{
    __atomic_store_n(&store->stopping, true, __ATOMIC_SEQ_CST);
    if (store->committer) {
        fiber_wake(store->committer);
        pthread_join(store->committer_thread, NULL);
    }
    batch_commit(store, NULL);
}

void
writer_lock(struct store *store)
{
    fiber_lock(&store->writer_lock);
}

void
writer_unlock(struct store *store)
{
    fiber_unlock(&store->writer_lock);
}

bool
batch_open(struct store *store)
{
    if (!store->open)
        store->open = store->database->begin(store);
    return store->open;
}

void
batch_ordered(struct store *store)
{
    uint64_t n = store->transactions + 1;
    if (n == 1)
        __atomic_store_n(&store->began_us, env.mono_us(), __ATOMIC_RELAXED);
    __atomic_store_n(&store->transactions, n, __ATOMIC_SEQ_CST);
    if (!env.single_thread) {
        if (n == store->database->transactions_max)
            want(store, store->batch);
        else if (n == 1 && !__atomic_load_n(&store->watching, __ATOMIC_SEQ_CST))
            fiber_wake(store->committer);
    } else if (n == 1) {
        void *batch = (void *)(uintptr_t)store->batch;
        if (!sched_self() || !sched_spawn(sched_self(), commit_if_there, batch)) {
            bool durable;
            wake_all(commit_open(store, &durable));
        }
    }
}

void
batch_lost(struct store *store)
{
    store->open = false;
    wake_all(decide(store, false, 0));
}

/* Nobody is bound to it, so its number serves the next. */
void
batch_drop_empty(struct store *store)
{
    store->open = false;
    store->database->roll_back(store);
}

bool
batch_decided(struct store *store, uint64_t batch)
{
    return __atomic_load_n(&store->decided, __ATOMIC_ACQUIRE) >= batch;
}

/* What has left the ring is taken for failed: a scope that has lived through so many failures asks
 * for too much anyway. */
bool
batch_failed(struct store *store, uint64_t batch)
{
    if (__atomic_load_n(&store->n_failed, __ATOMIC_ACQUIRE) == 0)
        return false;
    spin_lock(&store->fate_lock);
    bool failed = batch <= store->forgotten;
    size_t kept = store->n_failed < FAILED_RUNS_MAX ? store->n_failed : FAILED_RUNS_MAX;
    for (size_t i = 0; i < kept && !failed; i++)
        failed = batch >= store->failed[i].first && batch <= store->failed[i].last;
    spin_unlock(&store->fate_lock);
    return failed;
}

enum status
batch_wait(struct store *store, uint64_t batch)
{
    if (!batch_decided(store, batch)) {
        if (env.single_thread)
            batch_commit(store, NULL);
        else
            wait_in_line(store, batch);
    }
    return batch_failed(store, batch) ? UNAVAILABLE : OK;
}

void
batch_commit(struct store *store, void (*more)(struct store *store))
{
    bool durable;
    writer_lock(store);
    struct waiter *waiters = commit_open(store, &durable);
    if (more)
        more(store);
    writer_unlock(store);
    wake_all(waiters);
    if (durable && store->database->committed)
        store->database->committed(store);
}

static void *
committer_main(void *arg)
{
    struct store *store = arg;
    struct fiber *opener = store->committer;
    store->committer = fiber_self();
    fiber_wake_inside(opener);

    bool lingered = false;
    while (!__atomic_load_n(&store->stopping, __ATOMIC_SEQ_CST)) {
        if (is_due(store)) {
            batch_commit(store, NULL);
            lingered = false;
        } else if (__atomic_load_n(&store->transactions, __ATOMIC_SEQ_CST) > 0) {
            fiber_park_until(__atomic_load_n(&store->began_us, __ATOMIC_RELAXED) +
                             BATCH_AGE_MAX_US);
        } else if (!lingered) {
            /* While there is work, a new batch need not wake us only to be watched. */
            lingered = true;
            fiber_park_until(env.mono_us() + BATCH_AGE_MAX_US);
        } else {
            __atomic_store_n(&store->watching, false, __ATOMIC_SEQ_CST);
            if (!is_due(store) && __atomic_load_n(&store->transactions, __ATOMIC_SEQ_CST) == 0 &&
                !__atomic_load_n(&store->stopping, __ATOMIC_SEQ_CST))
                fiber_park();
            __atomic_store_n(&store->watching, true, __ATOMIC_SEQ_CST);
            lingered = false;
        }
    }
    return NULL;
}

/* Somebody waits for the open batch, or it is old. */
static bool
is_due(struct store *store)
{
    uint64_t batch = __atomic_load_n(&store->batch, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&store->wanted, __ATOMIC_SEQ_CST) >= batch)
        return true;
    return __atomic_load_n(&store->transactions, __ATOMIC_SEQ_CST) > 0 &&
           env.mono_us() - __atomic_load_n(&store->began_us, __ATOMIC_RELAXED) >= BATCH_AGE_MAX_US;
}

/* Without threads: a fiber that ends the batch if nobody has waited for it.  The store may have
 * been closed meanwhile. */
static void
commit_if_there(void *number)
{
    uint64_t batch = (uintptr_t)number;
    fiber_sleep_us(BATCH_AGE_MAX_US);
    struct store *store = store_of_batch(batch);
    if (store && !batch_decided(store, batch))
        batch_commit(store, NULL);
}

/* With the lock held.  Gives those who waited. */
static struct waiter *
commit_open(struct store *store, bool *ret_durable)
{
    *ret_durable = false;
    if (!store->open)
        return NULL;
    uint64_t batch = store->batch;
    bool empty = store->transactions == 0;
    int64_t began_us = env.mono_us();
    bool durable = (empty || !store_fails_now(store)) && store->database->commit(store);
    if (!durable)
        store->database->roll_back(store);
    store->open = false;
    struct waiter *waiters = decide(store, durable, env.mono_us() - began_us);
    if (durable && !empty && store->on_durable)
        store->on_durable(store->on_durable_arg, batch);
    *ret_durable = durable;
    return waiters;
}

/* The fate of the open batch; the next one has the next number.  Gives those who waited, in the
 * order in which they came. */
static struct waiter *
decide(struct store *store, bool durable, int64_t sync_us)
{
    uint64_t batch = store->batch;
    struct waiter *done = NULL, **at = &store->waiters;
    spin_lock(&store->fate_lock);
    if (durable) {
        store->figures.batches++;
        store->figures.transactions += store->transactions;
        store->figures.sync_us += sync_us;
    } else {
        remember_failed(store, batch);
    }
    __atomic_store_n(&store->decided, batch, __ATOMIC_RELEASE);
    for (struct waiter *w = *at; w; w = *at) {
        if (w->batch > batch) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = done;
        done = w;
    }
    spin_unlock(&store->fate_lock);
    __atomic_store_n(&store->transactions, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&store->batch, batch + 1, __ATOMIC_SEQ_CST);
    return done;
}

static void
remember_failed(struct store *store, uint64_t batch)
{
    store->figures.failed_batches++;
    size_t n = store->n_failed;
    struct run *newest = n ? &store->failed[(n - 1) % FAILED_RUNS_MAX] : NULL;
    if (newest && newest->last + 1 == batch) {
        newest->last = batch;
        return;
    }
    struct run *free_one = &store->failed[n % FAILED_RUNS_MAX];
    if (n >= FAILED_RUNS_MAX)
        store->forgotten = free_one->last;
    *free_one = (struct run){batch, batch};
    __atomic_store_n(&store->n_failed, n + 1, __ATOMIC_RELEASE);
}

/* A waiter may be gone as soon as it is woken. */
static void
wake_all(struct waiter *w)
{
    for (struct waiter *next; w; w = next) {
        next = w->next;
        fiber_wake_inside(w->fiber);
    }
}

static void
want(struct store *store, uint64_t batch)
{
    uint64_t wanted = __atomic_load_n(&store->wanted, __ATOMIC_RELAXED);
    while (wanted < batch)
        if (__atomic_compare_exchange_n(&store->wanted, &wanted, batch, true, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
            fiber_wake(store->committer);
            return;
        }
}

static void
wait_in_line(struct store *store, uint64_t batch)
{
    struct waiter me = {.batch = batch, .fiber = fiber_self()};
    spin_lock(&store->fate_lock);
    bool decided = batch_decided(store, batch), first = store->asked < batch;
    if (!decided) {
        me.next = store->waiters;
        store->waiters = &me;
        store->asked = batch;
    }
    spin_unlock(&store->fate_lock);
    if (decided)
        return;
    if (first) {
        gather(store);
        want(store, batch);
    }
    fiber_wait_inside();
}

/* Those who are ready shall be in this batch, not wait for the next: gives way until a round of
 * them has added nothing. */
static void
gather(struct store *store)
{
    int64_t until_us = env.mono_us() + GATHER_US_MAX;
    uint64_t before, now = __atomic_load_n(&store->transactions, __ATOMIC_RELAXED);
    do {
        before = now;
        fiber_yield();
        now = __atomic_load_n(&store->transactions, __ATOMIC_RELAXED);
    } while (now != before && env.mono_us() < until_us);
}
