/* Group commit: many at once, what they wait for, and how the WAL stays short. */
#include <pthread.h>
#include <sys/stat.h>

#include "fiber/wait.h"
#include "store/store_test.h"

enum { FIBERS = 64, EACH = 10, ACCOUNTS = 8, READERS = 4 };

static int told, wrong;

struct writer {
    struct store *store;
    int number;
};

static void
write_and_wait(void *arg)
{
    struct writer *w = arg;
    struct arena *a = arena_new();
    for (int i = 0; i < EACH; i++) {
        struct tx_scope scope = {.arena = a};
        check_int(put(w->store, &scope, arena_printf(a, "%d-%d", w->number, i), 1), OK);
        check_int(store_wait(&scope), OK);
        struct tx_scope fresh = {.arena = a};
        check_int(ask(w->store, &fresh, &find_n, arena_printf(a, "%d-%d", w->number, i)), 1);
        arena_reset(a);
    }
    arena_free(a);
    __atomic_fetch_add(&told, 1, __ATOMIC_RELAXED);
}

TEST(many_fibers_share_a_sync_and_each_finds_its_rows_on_disk)
{
    struct shop s = shop_open();
    struct writer w[FIBERS];
    struct sched *sched = sched_new("core", FIBERS);
    told = 0;
    for (int i = 0; i < FIBERS; i++) {
        w[i] = (struct writer){s.store, i};
        check(sched_spawn(sched, write_and_wait, &w[i]));
    }
    sched_free(sched);
    check_int(told, FIBERS);
    check_int(ask_afresh(&s, &count_items, NULL), FIBERS * EACH);
    struct store_figures f = store_figures(s.store);
    check_int((int)f.transactions, FIBERS * EACH);
    check(f.batches < f.transactions / 2);
    check(f.sync_us > 0);
    shop_close(&s);
}

static void *
write_from_thread(void *w)
{
    write_and_wait(w);
    return NULL;
}

TEST(plain_threads_and_two_schedulers_write_beside_each_other)
{
    struct shop s = shop_open();
    struct writer w[12];
    struct sched *a = sched_new("a", FIBERS), *b = sched_new("b", FIBERS);
    pthread_t threads[4];
    for (int i = 0; i < 12; i++)
        w[i] = (struct writer){s.store, i};
    for (int i = 0; i < 4; i++) {
        check(sched_spawn(a, write_and_wait, &w[i]));
        check(sched_spawn(b, write_and_wait, &w[i + 4]));
        threads[i] = thread_start("plain", write_from_thread, &w[i + 8]);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    sched_free(a);
    sched_free(b);
    check_int(ask_afresh(&s, &count_items, NULL), 12 * EACH);
    shop_close(&s);
}

/* ---- who hears of a batch ---- */

struct heard {
    uint64_t batches[100];
    int n;
};

static void
hear(void *arg, uint64_t batch)
{
    struct heard *h = arg;
    h->batches[h->n++] = batch;
    __atomic_fetch_add(&told, 1, __ATOMIC_RELEASE);
}

TEST(a_batch_that_nobody_waits_for_becomes_durable_too_and_is_told_in_order)
{
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    struct heard heard = {.n = 0};
    struct store *store;
    const char *why;
    struct place place = new_place(a);
    const struct store_options o = {.path = place.path,
                                    .schema = place.schema,
                                    .migrations = schema,
                                    .n_migrations = 2,
                                    .on_durable = hear,
                                    .on_durable_arg = &heard};
    check_int(store_open(&o, a, &store, &why), OK);
    told = 0;
    for (int i = 0; i < 5; i++) {
        check_int(put(store, &scope, arena_printf(a, "%d", i), 1), OK);
        while (__atomic_load_n(&told, __ATOMIC_ACQUIRE) <= i)
            fiber_sleep_us(500);
        fiber_sleep_us(i * 4000); /* into the committer's deep sleep, and not */
    }
    check_int(put(store, &scope, "last", 1), OK);
    store_close(store);
    check_int(heard.n, 6);
    for (int i = 1; i < heard.n; i++)
        check(heard.batches[i] > heard.batches[i - 1]);
    arena_free(a);
}

/* ---- the store in trouble, with many in it ---- */

/* Of the first writer, every other transaction takes its batch with it, and all who are in there.
 */
static enum status
put_or_lose(struct writer *w, int i, struct tx_scope *scope, const char *id)
{
    struct tx *tx = tx_begin_in(w->store, "shop", scope);
    item(tx, id, 1);
    if (w->number == 0 && i % 2) {
        store_fail_at(w->store, 1);
        item(tx, "never", 1);
    }
    return tx_commit(tx);
}

static void
write_in_trouble(void *arg)
{
    struct writer *w = arg;
    struct arena *a = arena_new();
    for (int i = 0; i < EACH; i++) {
        struct tx_scope scope = {.arena = a}, fresh = scope;
        const char *id = arena_printf(a, "%d-%d", w->number, i);
        enum status st = put_or_lose(w, i, &scope, id);
        if (w->number % 3 == 0)
            fiber_yield();
        enum status settled = store_wait(&scope);
        bool there = ask(w->store, &fresh, &find_n, id) == 1;
        wrong += there != (st == OK && settled == OK);
        arena_reset(a);
    }
    arena_free(a);
}

TEST(under_failures_what_was_acknowledged_is_there_and_what_was_refused_is_not)
{
    struct shop s = shop_open();
    struct writer w[FIBERS];
    struct sched *sched = sched_new("core", FIBERS);
    wrong = 0;
    for (int i = 0; i < FIBERS; i++)
        w[i] = (struct writer){s.store, FIBERS - 1 - i};
    for (int i = 0; i < FIBERS; i++)
        check(sched_spawn(sched, write_in_trouble, &w[i]));
    sched_free(sched);
    check_int((int)store_figures(s.store).failed_batches, EACH / 2);
    check_int(wrong, 0);
    shop_close(&s);
}

/* ---- readers beside the writer ---- */

static bool stop;

static void *
read_sums(void *store)
{
    struct arena *a = arena_new();
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        struct tx_scope scope = {.arena = a};
        int64_t sum = 0, count = 0;
        struct tx *tx = tx_begin_read_in(store, "shop", &scope);
        check_int(sql_int(tx, &count_items, NULL, 0, &count), OK);
        check_int(sql_int(tx, &sum_items, NULL, 0, &sum), OK);
        tx_end(tx);
        if (count != ACCOUNTS || sum != ACCOUNTS * 1000)
            __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&told, 1, __ATOMIC_RELAXED);
        arena_reset(a);
        fiber_sleep_us(50);
    }
    arena_free(a);
    return NULL;
}

static void
move_about(void *arg)
{
    struct writer *w = arg;
    unsigned seed = (unsigned)w->number;
    struct arena *a = arena_new();
    for (int i = 0; i < 3 * EACH; i++) {
        struct tx_scope scope = {.arena = a};
        struct tx *tx = tx_begin_in(w->store, "shop", &scope);
        struct value out[] = {value_text(arena_printf(a, "%d", rand_r(&seed) % ACCOUNTS)),
                              value_int(-7)};
        struct value in[] = {value_text(arena_printf(a, "%d", rand_r(&seed) % ACCOUNTS)),
                             value_int(7)};
        sql_exec(tx, &add_to_item, out, 2);
        sql_exec(tx, &add_to_item, in, 2);
        tx_commit(tx);
        if (i % 3 == 0)
            check_int(store_wait(&scope), OK);
        arena_reset(a);
    }
    arena_free(a);
}

TEST(readers_on_many_threads_see_whole_transactions_only)
{
    struct shop s = shop_open();
    for (int i = 0; i < ACCOUNTS; i++)
        check_int(put(s.store, &s.scope, arena_printf(s.arena, "%d", i), 1000), OK);
    check_int(store_wait(&s.scope), OK);
    stop = false;
    told = wrong = 0;
    pthread_t readers[READERS];
    for (int i = 0; i < READERS; i++)
        readers[i] = thread_start("reader", read_sums, s.store);
    struct writer w[FIBERS];
    struct sched *sched = sched_new("core", FIBERS);
    for (int i = 0; i < FIBERS; i++) {
        w[i] = (struct writer){s.store, i};
        check(sched_spawn(sched, move_about, &w[i]));
    }
    sched_free(sched);
    while (__atomic_load_n(&told, __ATOMIC_RELAXED) < READERS)
        fiber_yield();
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    check_int(wrong, 0);
    shop_close(&s);
}

/* ---- the WAL ---- */

static void
write_much(void *arg)
{
    static struct statement insert_large = {
        "shop", "insert_large", "INSERT INTO shop_item VALUES (?1, 1, NULL, zeroblob(20000))", true,
        0};
    struct writer *w = arg;
    struct arena *a = arena_new();
    for (int i = 0; i < 400; i++) {
        struct tx_scope scope = {.arena = a};
        struct value in[] = {value_text(arena_printf(a, "%d-%d", w->number, i))};
        struct tx *tx = tx_begin_in(w->store, "shop", &scope);
        sql_exec(tx, &insert_large, in, 1);
        check_int(tx_commit(tx), OK);
        check_int(store_wait(&scope), OK);
        arena_reset(a);
    }
    arena_free(a);
}

TEST(the_wal_stays_short_while_writers_and_readers_run)
{
    if (on_postgres())
        return;
    struct shop s = shop_open();
    stop = false;
    told = 0;
    pthread_t reader = thread_start("reader", read_sums, s.store);
    struct writer w[16];
    struct sched *sched = sched_new("core", 16);
    for (int i = 0; i < 16; i++) {
        w[i] = (struct writer){s.store, i};
        check(sched_spawn(sched, write_much, &w[i]));
    }
    sched_free(sched);
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    pthread_join(reader, NULL);
    struct stat wal;
    check_int(stat(arena_printf(s.arena, "%s-wal", s.place.path), &wal), 0);
    check(wal.st_size < 48 << 20); /* of 128 MB that were written */
    check_int(ask_afresh(&s, &count_items, NULL), 16 * 400);
    shop_close(&s);
}

/* ---- without threads ---- */

static void
write_alone(void *arg)
{
    struct writer *w = arg;
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    check_int(put(w->store, &scope, arena_printf(a, "%d", w->number), 1), OK);
    if (w->number % 2)
        check_int(store_wait(&scope), OK);
    arena_free(a);
}

TEST(without_threads_a_batch_is_committed_by_who_waits_or_when_it_is_old)
{
    env.single_thread = true;
    struct shop s = shop_open();
    check_int(put(s.store, &s.scope, "plain", 1), OK);
    check(store_settled(&s.scope));
    struct sched *sched = sched_new("core", FIBERS);
    struct writer w[5];
    for (int i = 0; i < 5; i++) {
        w[i] = (struct writer){s.store, i};
        check(sched_spawn(sched, write_alone, &w[i]));
    }
    sched_free(sched);
    check_int(ask_afresh(&s, &count_items, NULL), 6);
    shop_close(&s);
    env.single_thread = false;
}

TEST(stores_of_one_number_do_not_mix_their_batches)
{
    struct shop a = shop_open(), b = shop_open();
    check_int(put(a.store, &a.scope, "tea", 1), OK);
    struct tx *tx = tx_begin_in(b.store, "shop", &b.scope);
    item(tx, "cup", 1);
    store_fail_at(b.store, 1);
    item(tx, "pot", 1);
    check_int(tx_commit(tx), UNAVAILABLE);
    check_int(store_wait(&a.scope), OK);
    check_int(store_wait(&b.scope), UNAVAILABLE);
    shop_close(&b);
    struct shop again = shop_open();
    check_int(put(again.store, &again.scope, "tea", 1), OK);
    check_int(store_wait(&again.scope), OK);
    shop_close(&again);
    shop_close(&a);
}
