/* What only PostgreSQL does: replicas, leaders, a server that goes away and comes back. */
#include <pthread.h>
#include <signal.h>

#include "base/time.h"
#include "fiber/wait.h"
#include "store/store_test.h"

enum { FIBERS = 24, EACH = 20, RESTARTS = 6, READS = 40, ID_BYTES = 24 };

static struct statement set_n = {"shop", "set_n", "UPDATE shop_item SET n = ?2 WHERE id = ?1", true,
                                 0};
static struct statement backend = {"shop", "backend", "SELECT pg_backend_pid()", false, 0};

struct server {
    pid_t pid;
    FILE *to, *from;
    char url[200];
};

static struct server
server_start(const char *flag)
{
    const char *root = getenv("SOUK_ROOT");
    char script[300];
    snprintf(script, sizeof script, "%s/test/postgres_server.py", root ? root : ".");
    int in[2], out[2];
    check(pipe(in) == 0 && pipe(out) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        for (int fd = 3; fd < 256; fd++)
            close(fd);
        execl("/usr/bin/python3", "python3", script, flag, NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    struct server s = {.pid = pid, .to = fdopen(in[1], "w"), .from = fdopen(out[0], "r")};
    check(fgets(s.url, sizeof s.url, s.from) != NULL);
    s.url[strcspn(s.url, "\n")] = '\0';
    return s;
}

/* All is on PostgreSQL here; by hand on a server of our own, which ends when its input does. */
__attribute__((constructor)) static void
choose_postgres(void)
{
    setenv("SOUK_TEST_STORE", "postgres", 1);
    if (!getenv("SOUK_TEST_POSTGRES"))
        setenv("SOUK_TEST_POSTGRES", server_start(NULL).url, 1);
}

static struct store *
open_again(const struct shop *s)
{
    return open_at(&s->place, s->arena);
}

/* Something done to the shop's schema past the store. */
static void
do_past(const struct shop *s, const char *sql)
{
    PGconn *link = PQconnectdb(s->place.path);
    PGresult *answer =
        PQexec(link, arena_printf(s->arena, "SET search_path = %s; %s", s->place.schema, sql));
    check_text(PQresultErrorMessage(answer), "");
    PQclear(answer);
    PQfinish(link);
}

/* One transaction of the shop, by a scope of its own, up to the disk. */
static enum status
put_afresh(struct store *store, struct arena *a, const char *id)
{
    struct tx_scope scope = {.arena = a};
    enum status st = put(store, &scope, id, 1), settled = store_wait(&scope);
    return st ? st : settled;
}

/* ---- what it costs ---- */

TEST(what_gives_nothing_back_is_sent_without_a_wait)
{
    struct shop s = shop_open();
    check_int(put(s.store, &s.scope, "first", 1), OK); /* prepares */
    check_int(store_wait(&s.scope), OK);
    uint64_t before = store_figures(s.store).round_trips;
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "a", 1);
    item(tx, "b", 1);
    check_int(tx_mark(tx), 1);
    item(tx, "c", 1);
    check_int(tx_commit(tx), OK);
    check_int((int)(store_figures(s.store).round_trips - before), 1);
    check_int(store_wait(&s.scope), OK);
    check_int((int)(store_figures(s.store).round_trips - before), 2);

    struct value in[] = {value_text("a"), value_int(1)};
    before = store_figures(s.store).round_trips;
    tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "d", 1);
    check_int(sql_count(tx, &add_to_item, in, 2), 1);
    check_int(tx_commit(tx), OK); /* what it has done is known already */
    check_int((int)(store_figures(s.store).round_trips - before), 1);
    check_int(store_wait(&s.scope), OK);

    before = store_figures(s.store).round_trips;
    check_int(ask_afresh(&s, &find_n, "a"), 2);
    check_int((int)(store_figures(s.store).round_trips - before), 1);
    shop_close(&s);
}

/* ---- failures of the database's own ---- */

TEST(text_that_is_none_is_refused_and_its_neighbours_stay)
{
    struct shop s = shop_open();
    check_int(put(s.store, &s.scope, "before", 1), OK);
    struct tx_scope other = {.arena = s.arena};
    check_int(put(s.store, &other, "\xff", 1), INVALID_ARGUMENT);
    check_int(put(s.store, &s.scope, "after", 1), OK);
    check_int(store_wait(&s.scope), OK);
    check_int(store_wait(&other), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 2);
    shop_close(&s);
}

TEST(a_failure_that_is_not_the_statements_own_takes_the_batch_with_it)
{
    static const char *const states[] = {"40001", "40P01", "53100", "57014", "XX000", "0A000"};
    struct shop s = shop_open();
    do_past(&s, "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF NEW.id LIKE 'trouble %' THEN"
                " RAISE EXCEPTION 'in trouble' USING ERRCODE = substr(NEW.id, 9); END IF;"
                " RETURN NEW; END $$;"
                "CREATE TRIGGER trouble BEFORE INSERT ON shop_item FOR EACH ROW"
                " EXECUTE FUNCTION trouble()");
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        struct tx_scope bad = {.arena = s.arena};
        struct tx *tx = tx_begin_in(s.store, "shop", &bad);
        int mark = tx_mark(tx);
        item(tx, arena_printf(s.arena, "first %zu", i), 1);
        item(tx, arena_printf(s.arena, "trouble %s", states[i]), 1);
        check_int(tx_status(tx), UNAVAILABLE);
        check(strstr(tx_message(tx), "shop.insert_item: in trouble") != NULL);
        tx_undo_to(tx, mark);
        check_int(tx_commit(tx), UNAVAILABLE);
        check_int(store_wait(&bad), UNAVAILABLE);
        check_int(put_afresh(s.store, s.arena, arena_printf(s.arena, "good %zu", i)), OK);
        check_int(ask_afresh(&s, &count_items, NULL), (int64_t)i + 1);
    }
    shop_close(&s);
}

TEST(a_commit_that_fails_or_is_not_answered_fails_the_batch)
{
    struct shop s = shop_open();
    do_past(&s, "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " IF NEW.id = 'fails' THEN RAISE EXCEPTION 'too late'; END IF;"
                " IF NEW.id = 'ends' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
                " RETURN NEW; END $$;"
                "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON shop_item DEFERRABLE"
                " INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()");
    static const char *const ids[] = {"fails", "ends"};
    for (int i = 0; i < 2; i++) {
        struct tx_scope bad = {.arena = s.arena};
        check_int(put(s.store, &bad, "neighbour", 1), OK);
        check_int(put(s.store, &bad, ids[i], 1), OK); /* ordered, and no more */
        check_int(store_wait(&bad), UNAVAILABLE);
        check_int(put_afresh(s.store, s.arena, arena_printf(s.arena, "good %d", i)), OK);
        check_int(ask_afresh(&s, &count_items, NULL), i + 1);
    }
    check_int((int)store_figures(s.store).failed_batches, 2);
    shop_close(&s);
}

TEST(what_was_sent_and_will_fail_does_not_keep_the_batch_from_being_undone)
{
    struct shop s = shop_open();
    check_int(put_afresh(s.store, s.arena, "tea"), OK);
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "never", 1);
    item(tx, "tea", 1); /* nobody knows yet */
    store_fail_at(s.store, 1);
    item(tx, "cup", 1);
    check_int(tx_commit(tx), UNAVAILABLE);
    check_int(put_afresh(s.store, s.arena, "cup"), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 2);
    shop_close(&s);
}

/* ---- replicas ---- */

struct replica {
    struct store *store;
    struct arena *arena;
};

static int wrong;

/* Reads, and writes one more: right only if nobody else writes between. */
static void
count_up(void *arg)
{
    struct replica *r = arg;
    struct arena *a = arena_new();
    for (int i = 0; i < EACH; i++) {
        struct tx_scope scope = {.arena = a};
        struct value in[] = {value_text("tea"), value_int(0)};
        struct tx *tx = tx_begin_in(r->store, "shop", &scope);
        if (sql_int(tx, &find_n, in, 1, &in[1].num) != OK)
            wrong++;
        in[1].num++;
        sql_exec(tx, &set_n, in, 2);
        if (tx_commit(tx) != OK || (i % 4 == 0 && store_wait(&scope) != OK))
            wrong++;
        arena_reset(a);
    }
    arena_free(a);
}

TEST(replicas_of_a_service_take_turns)
{
    struct shop s = shop_open();
    check_int(put_afresh(s.store, s.arena, "tea"), OK);
    struct replica r[2] = {{s.store, s.arena}, {open_again(&s), s.arena}};
    struct sched *sched[2] = {sched_new("one", FIBERS), sched_new("two", FIBERS)};
    wrong = 0;
    for (int i = 0; i < FIBERS; i++)
        check(sched_spawn(sched[i % 2], count_up, &r[i % 2]));
    for (int i = 0; i < 2; i++)
        sched_free(sched[i]);
    check_int(wrong, 0);
    store_close(r[1].store);
    check_int(put_afresh(s.store, s.arena, "last"), OK);
    check_int(ask_afresh(&s, &find_n, "tea"), 1 + FIBERS * EACH);
    shop_close(&s);
}

TEST(who_has_written_nothing_holds_nobody_off)
{
    struct shop s = shop_open();
    struct store *other = open_again(&s);
    int64_t n;
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    check_int(sql_int(tx, &count_items, NULL, 0, &n), OK);
    tx_end(tx);
    check_int(put_afresh(other, s.arena, "tea"), OK);
    tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "tea", 1);
    check_int(tx_commit(tx), ALREADY_EXISTS);
    check_int(put_afresh(other, s.arena, "cup"), OK);
    check_int((int)store_figures(s.store).failed_batches, 0);
    store_close(other);
    shop_close(&s);
}

static void *
open_it(void *shop)
{
    struct arena *a = arena_new();
    struct store *store = open_at(&((struct shop *)shop)->place, a);
    check_int(put_afresh(store, a, arena_printf(a, "%p", (void *)&a)), OK);
    store_close(store);
    arena_free(a);
    return NULL;
}

TEST(many_processes_may_open_a_new_store_at_once)
{
    struct arena *a = arena_new();
    struct shop s = {.arena = a, .place = new_place(a)};
    pthread_t threads[6];
    for (int i = 0; i < 6; i++)
        threads[i] = thread_start("opener", open_it, &s);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    check_int(query(&s.place, "SELECT COUNT(*) FROM store_migration"), 2);
    check_int(query(&s.place, "SELECT COUNT(*) FROM shop_item"), 6);
    arena_free(a);
}

TEST(one_leads_and_when_it_ends_another_does)
{
    struct shop s = shop_open();
    struct store *other = open_again(&s);
    check(store_leads(s.store, "relay"));
    check(!store_leads(other, "relay"));
    check(store_leads(other, "job")); /* is another thing */
    store_leads_drop(s.store, "relay");
    while (!store_leads(other, "relay"))
        fiber_sleep_us(50000);
    check(!store_leads(s.store, "relay"));
    do_past(&s, arena_printf(s.arena,
                             "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                             " application_name = 'souk %s' AND query LIKE '%%advisory_lock%%'"
                             " AND query NOT LIKE '%%xact%%'",
                             s.place.schema));
    while (!store_leads(s.store, "relay"))
        fiber_sleep_us(50000);
    while (store_leads(other, "relay"))
        fiber_sleep_us(50000);
    store_close(s.store);
    while (!store_leads(other, "relay"))
        fiber_sleep_us(50000);
    store_close(other);
    arena_free(s.arena);
}

/* ---- readers ---- */

static void
read_slowly(void *arg)
{
    static struct statement slow = {"shop", "slow",
                                    "SELECT COUNT(*) FROM shop_item, pg_sleep(0.01)", false, 0};
    struct replica *r = arg;
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    if (ask(r->store, &scope, &slow, NULL) != 1)
        wrong++;
    arena_free(a);
}

TEST(readers_share_a_few_connections)
{
    struct shop s = shop_open();
    check_int(put_afresh(s.store, s.arena, "tea"), OK);
    struct replica r = {s.store, s.arena};
    struct sched *sched = sched_new("core", READS);
    wrong = 0;
    for (int i = 0; i < READS; i++)
        check(sched_spawn(sched, read_slowly, &r));
    sched_free(sched);
    check_int(wrong, 0);
    int64_t sessions = query(&s.place, arena_printf(s.arena,
                                                    "SELECT COUNT(*) FROM pg_stat_activity"
                                                    " WHERE application_name = 'souk %s'",
                                                    s.place.schema));
    check(sessions > 2 && sessions <= 9); /* the writer's is among them */
    shop_close(&s);
}

/* ---- the server goes away: one of our own ---- */

static void
server_do(struct server *s, const char *what)
{
    char line[20];
    fprintf(s->to, "%s\n", what);
    fflush(s->to);
    check(fgets(line, sizeof line, s->from) != NULL);
}

static void
server_end(struct server *s)
{
    fclose(s->to);
    for (char line[20]; fgets(line, sizeof line, s->from);)
        ;
    fclose(s->from);
    waitpid(s->pid, NULL, 0);
}

static struct shop
shop_on(struct server *server)
{
    struct shop s = {.arena = arena_new()};
    s.place = (struct place){server->url, "shop"};
    s.scope.arena = s.arena;
    s.store = open_at(&s.place, s.arena);
    return s;
}

TEST(a_store_whose_server_is_away_fails_at_once_and_serves_again_when_it_is_back)
{
    struct server server = server_start(NULL);
    struct shop s = shop_on(&server);
    check_int(put_afresh(s.store, s.arena, "before"), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 1);
    check(store_leads(s.store, "relay"));
    server_do(&server, "stop");
    for (int i = 0; i < 200; i++) {
        check_int(put_afresh(s.store, s.arena, "never"), UNAVAILABLE);
        check_int(ask_afresh(&s, &count_items, NULL), -1);
    }
    struct tx_scope scope = {.arena = s.arena};
    struct tx *tx = tx_begin_read_in(s.store, "shop", &scope);
    check_int(tx_status(tx), UNAVAILABLE);
    check(strstr(tx_message(tx), "refused") != NULL);
    tx_end(tx);
    server_do(&server, "start");
    while (put_afresh(s.store, s.arena, "after") != OK)
        fiber_sleep_us(10000);
    while (ask_afresh(&s, &count_items, NULL) != 2)
        fiber_sleep_us(10000);
    while (!store_leads(s.store, "relay"))
        fiber_sleep_us(10000);
    server_do(&server, "stop"); /* and with nothing in between that would notice */
    server_do(&server, "start");
    check_int(put_afresh(s.store, s.arena, "at once"), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 3);
    shop_close(&s);
    server_end(&server);
}

TEST(a_server_that_says_nothing_is_given_up)
{
    struct shop s = shop_open();
    int64_t pid = 0;
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    check_int(sql_int(tx, &backend, NULL, 0, &pid), OK);
    item(tx, "never", 1);
    check_int(kill((pid_t)pid, SIGSTOP), 0);
    check_int(tx_commit(tx), UNAVAILABLE);
    check_int(store_wait(&s.scope), UNAVAILABLE);
    check_int(kill((pid_t)pid, SIGCONT), 0); /* it finds that we have gone, and lets the lock go */
    while (put_afresh(s.store, s.arena, "tea") != OK)
        fiber_sleep_us(10000);
    check_int(ask_afresh(&s, &count_items, NULL), 1);
    shop_close(&s);
}

/* Writers that go on through restarts, and note what they were told. */
struct load {
    struct store *store;
    int next; /* ids are never used twice */
    int acks, failures;
    char *acked; /* ids that are durable, ID_BYTES each */
    bool stop;
};

static void
write_through(void *arg)
{
    struct load *l = arg;
    struct arena *a = arena_new();
    while (!__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE)) {
        int n = l->next++;
        const char *id = arena_printf(a, "%d", n);
        struct tx_scope scope = {.arena = a};
        struct tx *tx = tx_begin_in(l->store, "shop", &scope);
        item(tx, id, 1);
        struct value event[] = {value_text(id)};
        sql_exec(tx, &publish, event, 1);
        if (n % 5 == 0)
            item(tx, id, 1); /* fails by itself, among those who do not */
        enum status st = tx_commit(tx), settled = store_wait(&scope);
        if (st == OK && settled == OK)
            snprintf(l->acked +
                         (size_t)__atomic_fetch_add(&l->acks, 1, __ATOMIC_RELAXED) * ID_BYTES,
                     ID_BYTES, "%s", id);
        else
            l->failures++;
        check(st == OK || st == UNAVAILABLE || (st == ALREADY_EXISTS && n % 5 == 0));
        if (settled || st == UNAVAILABLE)
            fiber_sleep_us(2000);
        arena_reset(a);
    }
    arena_free(a);
}

static int
count_lost(struct shop *s, const struct load *l)
{
    int lost = 0;
    for (int i = 0; i < l->acks; i++)
        lost += ask_afresh(s, &find_n, l->acked + (size_t)i * ID_BYTES) != 1;
    return lost;
}

TEST(what_was_acknowledged_before_the_server_crashed_is_there_after_it)
{
    static struct statement fifths = {
        "shop", "fifths", "SELECT COUNT(*) FROM shop_item WHERE id LIKE '%0' OR id LIKE '%5'",
        false, 0};
    struct server server = server_start("--sync");
    struct shop s = shop_on(&server);
    struct load l = {.store = s.store, .acked = malloc(ID_BYTES * (64 << 10))};
    struct sched *sched = sched_new("core", FIBERS);
    for (int i = 0; i < FIBERS; i++)
        check(sched_spawn(sched, write_through, &l));
    for (int i = 0; i < RESTARTS; i++) {
        int want = __atomic_load_n(&l.acks, __ATOMIC_RELAXED) + 20 + i * 37;
        while (__atomic_load_n(&l.acks, __ATOMIC_RELAXED) < want)
            fiber_sleep_us(500);
        server_do(&server, i % 2 ? "kill" : "stop");
        server_do(&server, "start");
    }
    __atomic_store_n(&l.stop, true, __ATOMIC_RELEASE);
    sched_free(sched);
    while (put_afresh(s.store, s.arena, "last") != OK)
        fiber_sleep_us(10000);
    while (ask_afresh(&s, &count_items, NULL) < 0)
        fiber_sleep_us(10000);
    check(l.failures > 0);
    check_int(count_lost(&s, &l), 0);
    check_int(ask_afresh(&s, &fifths, NULL), 0);
    check_int(ask_afresh(&s, &count_items, NULL), ask_afresh(&s, &count_events, NULL) + 1);
    printf("  %d were acknowledged, %d failed\n", l.acks, l.failures);
    free(l.acked);
    shop_close(&s);
    server_end(&server);
}
