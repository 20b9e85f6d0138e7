/* The bus on two real stores, with two services that write down what they hear. */
#include "bus/bus.h"

#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "bus/bus_private.h"
#include "test/test.h"

enum {
    FIBERS_MAX = 100,
    DRAIN_US = 20000000,
    KILLS = 20,
    FAULTS = 40,
    THROUGHPUT_EVENTS = 10000,
};

/* ---- the services ---------------------------------------------------------------------------- */

/* Events are ParkedRows, for want of a message of our own: subject, and a number in attempts. */
static const struct topic sold = {
    .name = "shop.sold",
    .publisher = "shop",
    .subject = "subject",
    .type = &souk__bus__parked_row__descriptor,
};
static const struct topic looked = {
    .name = "shop.looked",
    .publisher = "shop",
    .subject = "subject",
    .type = &souk__bus__parked_row__descriptor,
};
static const struct topic mailed = {
    .name = "mail.mailed",
    .publisher = "mail",
    .subject = "subject",
    .type = &souk__bus__parked_row__descriptor,
};

static const struct migration test_migrations[] = {
    {"shop", 1, "001_init", "CREATE TABLE shop_sale (n BIGINT NOT NULL);"},
    {"alpha", 1, "001_init",
     "CREATE TABLE alpha_effect (place INTEGER PRIMARY KEY, event_id TEXT NOT NULL, "
     "subject TEXT NOT NULL, position BIGINT NOT NULL, sequence BIGINT NOT NULL);"},
    {"beta", 1, "001_init",
     "CREATE TABLE beta_effect (place INTEGER PRIMARY KEY, event_id TEXT NOT NULL, "
     "subject TEXT NOT NULL, position BIGINT NOT NULL, sequence BIGINT NOT NULL);"},
};

static struct statement insert_sale = {
    .service = "shop",
    .name = "insert_sale",
    .sql = "INSERT INTO shop_sale (n) VALUES (?1)",
    .writes = true,
};
static struct statement count_sales = {
    .service = "shop",
    .name = "count_sales",
    .sql = "SELECT count(*) FROM shop_sale",
};

/* One who hears: writes each event down, and fails at a chosen one. */
struct ear {
    const char *service;
    struct statement insert, list;
    _Atomic int64_t bad_number; /* the event that fails; 0 is none */
    atomic_int failures_left;
    atomic_int handled;
};

static struct ear alpha = {
    .service = "alpha",
    .insert = {.service = "alpha",
               .name = "insert_effect",
               .sql = "INSERT INTO alpha_effect (event_id, subject, position, sequence) "
                      "VALUES (?1, ?2, ?3, ?4)",
               .writes = true},
    .list = {.service = "alpha",
             .name = "list_effects",
             .sql = "SELECT event_id, subject, position, sequence AS attempts FROM alpha_effect "
                    "ORDER BY place"},
};
static struct ear beta = {
    .service = "beta",
    .insert = {.service = "beta",
               .name = "insert_effect",
               .sql = "INSERT INTO beta_effect (event_id, subject, position, sequence) "
                      "VALUES (?1, ?2, ?3, ?4)",
               .writes = true},
    .list = {.service = "beta",
             .name = "list_effects",
             .sql = "SELECT event_id, subject, position, sequence AS attempts FROM beta_effect "
                    "ORDER BY place"},
};

static enum status
hear(void *arg, struct tx *tx, const struct event *e)
{
    struct ear *ear = arg;
    struct value in[] = {value_text(e->id), value_text(e->subject), value_int(e->position),
                         value_int(e->sequence)};
    sql_exec(tx, &ear->insert, in, 4);
    ear->handled++;
    ParkedRow *message = souk__bus__parked_row__unpack(NULL, e->data.len, e->data.data);
    int64_t number = message->attempts;
    souk__bus__parked_row__free_unpacked(message, NULL);
    if (number == ear->bad_number && ear->failures_left > 0) {
        ear->failures_left--;
        return FAILED_PRECONDITION;
    }
    return OK;
}

/* ---- a world of two stores ------------------------------------------------------------------- */

struct world {
    char core_path[200], listeners_path[200];
    struct arena *arena;
    struct store *core, *listeners;
    struct sched *core_sched, *listener_sched;
    struct bus *bus;
    _Atomic(struct bus *) kicked;
};

static void
on_durable(void *arg, uint64_t batch)
{
    struct world *w = arg;
    struct bus *bus = w->kicked;
    if (bus)
        bus_kick(bus, batch);
}

static struct store *
open_store(struct world *w, const char *path, int number)
{
    size_t n;
    const struct migration *ours = bus_migrations(&n);
    struct migration all[8];
    check(n + sizeof test_migrations / sizeof test_migrations[0] <= sizeof all / sizeof all[0]);
    memcpy(all, ours, n * sizeof *ours);
    memcpy(all + n, test_migrations, sizeof test_migrations);
    struct store_options options = {
        .path = path,
        .number = number,
        .migrations = all,
        .n_migrations = n + sizeof test_migrations / sizeof test_migrations[0],
        .on_durable = on_durable,
        .on_durable_arg = w,
    };
    struct store *store = NULL;
    const char *why = "";
    if (store_open(&options, w->arena, &store, &why) != OK) {
        printf("cannot open %s: %s\n", path, why);
        exit(1);
    }
    return store;
}

static void
world_open(struct world *w, const char *dir, int attempts_max)
{
    *w = (struct world){.arena = arena_new()};
    snprintf(w->core_path, sizeof w->core_path, "%s/core.db", dir);
    snprintf(w->listeners_path, sizeof w->listeners_path, "%s/listeners.db", dir);
    w->core = open_store(w, w->core_path, 0);
    w->listeners = open_store(w, w->listeners_path, 1);
    w->core_sched = sched_new("core", FIBERS_MAX);
    w->listener_sched = sched_new("listeners", FIBERS_MAX);
    w->bus = bus_new(&(struct bus_options){
        .core = w->core,
        .listeners = w->listeners,
        .core_sched = w->core_sched,
        .listener_sched = w->listener_sched,
        .attempts_max = attempts_max,
        .retry_first_us = 10 * MILLISECOND_US,
        .retry_most_us = 40 * MILLISECOND_US,
    });
    static const char *const hears_sold[] = {"shop.sold", "mail.mailed", NULL};
    static const char *const hears_all[] = {"*", NULL};
    alpha.bad_number = beta.bad_number = alpha.handled = beta.handled = 0;
    const struct subscriber of_alpha = {
        .service = "alpha", .store = w->core, .topics = hears_sold, .handle = hear, .arg = &alpha};
    const struct subscriber of_beta = {.service = "beta",
                                       .store = w->listeners,
                                       .topics = hears_all,
                                       .handle = hear,
                                       .arg = &beta};
    bus_subscribe(w->bus, &of_alpha);
    bus_subscribe(w->bus, &of_beta);
}

static void
world_start(struct world *w)
{
    w->kicked = w->bus;
    bus_start(w->bus);
}

static void
world_close(struct world *w)
{
    bus_stop(w->bus);
    store_close(w->core);
    store_close(w->listeners);
    w->kicked = NULL;
    bus_free(w->bus);
    sched_free(w->core_sched);
    sched_free(w->listener_sched);
    arena_free(w->arena);
}

/* As large as an order's event. */
static const char filling[] =
    "In the beginning the Universe was created. This has made a lot of people very angry and been "
    "widely regarded as a bad move. Many races believe that it was created by some sort of god, "
    "though the Jatravartid people of Viltvodle VI believe that the entire Universe was in fact "
    "sneezed out of the nose of a being called the Great Green Arkleseizure.";

static void
publish_in(struct world *w, struct tx *tx, const struct topic *topic, const char *subject,
           int64_t number)
{
    ParkedRow message = SOUK__BUS__PARKED_ROW__INIT;
    message.subject = subject;
    message.attempts = number;
    message.error = filling;
    struct publish_context context = {
        .now_us = env.now_us(),
        .correlation_id = "req_1",
        .traceparent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
    };
    bus_publish(w->bus, tx, &context, topic, &message.base);
}

/* One event in a transaction of its own; OK once it is durable. */
static enum status
publish_one(struct world *w, const struct topic *topic, const char *subject, int64_t number)
{
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    bool core = strcmp(topic->publisher, "shop") == 0;
    struct tx *tx = tx_begin_in(core ? w->core : w->listeners, topic->publisher, &scope);
    if (core)
        sql_exec(tx, &insert_sale, (struct value[]){value_int(number)}, 1);
    publish_in(w, tx, topic, subject, number);
    enum status st = tx_commit(tx);
    if (st == OK)
        st = store_wait(&scope);
    arena_free(a);
    return st;
}

static size_t
events_of(struct world *w, const char *topic, const char *subject, struct event **ret)
{
    struct tx_scope scope = {.arena = w->arena};
    size_t n = 0;
    check_int(bus_read(w->bus, &scope, 0, topic, subject, 1000000, ret, &n), OK);
    return n;
}

static size_t
effects_of(struct world *w, struct ear *ear, ParkedRow ***ret)
{
    struct tx_scope scope = {.arena = w->arena};
    size_t n = 0;
    struct tx *tx = tx_begin_read_in(ear == &alpha ? w->core : w->listeners, ear->service, &scope);
    check_int(sql_many(tx, &ear->list, NULL, 0, &souk__bus__parked_row__descriptor, ret, &n), OK);
    tx_end(tx);
    return n;
}

static int64_t
sales_of(struct world *w)
{
    struct tx_scope scope = {.arena = w->arena};
    int64_t n = -1;
    struct tx *tx = tx_begin_read_in(w->core, "shop", &scope);
    sql_int(tx, &count_sales, NULL, 0, &n);
    tx_end(tx);
    return n;
}

/* Every event of the topic (NULL: all) had its effect once, and each subject's in order. */
static void
check_effects(struct world *w, struct ear *ear, const char *topic)
{
    struct event *events;
    ParkedRow **effects;
    size_t n = events_of(w, topic, NULL, &events), n_effects = effects_of(w, ear, &effects);
    check_int(n_effects, n);
    int64_t head = n > 0 ? events[n - 1].position : 0;
    int *seen = arena_alloc(w->arena, (size_t)(head + 1) * sizeof *seen);
    for (size_t i = 0; i < n_effects; i++) {
        check(effects[i]->position <= head);
        if (effects[i]->position <= head)
            seen[effects[i]->position]++;
        for (size_t j = i; j-- > 0 && i - j < 200;)
            if (strcmp(effects[j]->subject, effects[i]->subject) == 0) {
                check(effects[j]->position < effects[i]->position);
                break;
            }
    }
    for (size_t i = 0; i < n; i++)
        check_int(seen[events[i].position], 1);
}

/* Positions from 1 without gaps, and each subject's sequence from 1 without gaps. */
static void
check_journal(struct world *w)
{
    struct event *events;
    size_t n = events_of(w, NULL, NULL, &events);
    for (size_t i = 0; i < n; i++) {
        check_int(events[i].position, (int64_t)i + 1);
        int64_t before = 0;
        for (size_t j = i; j-- > 0 && before == 0;)
            if (strcmp(events[j].subject, events[i].subject) == 0 &&
                strcmp(events[j].publisher, events[i].publisher) == 0)
                before = events[j].sequence;
        check_int(events[i].sequence, before + 1);
    }
}

static bool
comes_true_within(bool (*claim)(struct world *w), struct world *w)
{
    for (int i = 0; i < 5000; i++) {
        if (claim(w))
            return true;
        usleep(2000);
    }
    return false;
}

/* ---- tests ----------------------------------------------------------------------------------- */

TEST(every_subscriber_gets_every_event_of_its_topics_once_and_in_order)
{
    struct world w;
    world_open(&w, test_dir(), 0);
    world_start(&w);
    for (int i = 0; i < 90; i++) {
        char subject[20];
        snprintf(subject, sizeof subject, "ord_%d", i % 7);
        check_int(publish_one(&w, i % 3 ? &sold : &looked, subject, i), OK);
    }
    check(bus_drained(w.bus, DRAIN_US));
    check_effects(&w, &alpha, "shop.sold");
    check_effects(&w, &beta, NULL);
    check_journal(&w);

    struct event *events;
    check_int(events_of(&w, "shop.looked", NULL, &events), 30);
    check_int(events_of(&w, NULL, "ord_3", &events), 13);
    size_t n = events_of(&w, "shop.sold", "ord_3", &events);
    check_int(n, 8);
    check_text(events[0].type, "souk.bus.ParkedRow");
    check_text(events[0].publisher, "shop");
    check_text(events[0].correlation_id, "req_1");
    check_text(events[0].causation_id, "");
    check(text_starts(events[0].id, "evn_"));

    struct bus_lag lags[4];
    check_int(bus_lags(w.bus, lags, 4), 2);
    check_text(lags[0].subscriber, "alpha");
    check_int(lags[0].cursor, 90);
    check_int(lags[0].behind, 0);
    check_int(lags[1].parked, 0);
    world_close(&w);
}

/* Forgets what is long in the events of the erasing one's subject. */
static bool
shorten(struct arena *a, const struct event *erasing, const struct event *e,
        ProtobufCBinaryData *ret)
{
    if (strcmp(e->subject, erasing->subject) != 0)
        return false;
    ParkedRow short_one = SOUK__BUS__PARKED_ROW__INIT;
    short_one.subject = e->subject;
    ret->len = souk__bus__parked_row__get_packed_size(&short_one);
    ret->data = arena_alloc(a, ret->len);
    souk__bus__parked_row__pack(&short_one, ret->data);
    return true;
}

static size_t
long_ones(struct world *w, const char *subject)
{
    struct event *events;
    size_t n = events_of(w, NULL, subject, &events), found = 0;
    for (size_t i = 0; i < n; i++)
        found += events[i].data.len > sizeof filling;
    return found;
}

static void
note_erasing(struct world *w)
{
    struct tx_scope scope = {.arena = w->arena};
    struct event erasing = {
        .id = "evn_1", .topic = "elsewhere.gone", .subject = "ord_1", .data = {1, (uint8_t[1]){0}}};
    struct tx *tx = tx_begin_in(w->core, "shop", &scope);
    bus_erase_note(tx, &erasing, 0);
    bus_erase_note(tx, &erasing, 0); /* heard twice */
    check_int(tx_commit(tx), OK);
    check_int(store_wait(&scope), OK);
}

TEST(the_journal_is_erased_once_everybody_has_heard_and_only_up_to_there)
{
    struct world w;
    world_open(&w, test_dir(), 2);
    beta.bad_number = 7;
    beta.failures_left = 1000;
    for (int i = 0; i < 300; i++)
        check_int(publish_one(&w, &sold, i % 2 ? "ord_1" : "ord_2", i), OK);
    note_erasing(&w);
    check_int(bus_erase(w.bus, w.core, shorten), OK);
    check_int(long_ones(&w, "ord_1"), 150);

    world_start(&w);
    check(bus_drained(w.bus, DRAIN_US));
    check_int(publish_one(&w, &sold, "ord_1", 300), OK);
    check(bus_drained(w.bus, DRAIN_US));
    check_int(bus_erase(w.bus, w.core, shorten), OK);
    size_t kept = long_ones(&w, "ord_1"); /* parked with beta: 7 and those behind it; the new one */
    check_int(kept, 148);
    check_int(long_ones(&w, "ord_2"), 150);
    beta.failures_left = 0;
    world_close(&w);
}

TEST(what_is_erased_is_erased_over_many_pages)
{
    struct world w;
    world_open(&w, test_dir(), 0);
    world_start(&w);
    for (int i = 0; i < 300; i++)
        check_int(publish_one(&w, &sold, i % 2 ? "ord_1" : "ord_2", 0), OK);
    check(bus_drained(w.bus, DRAIN_US));
    note_erasing(&w);
    check_int(bus_erase(w.bus, w.core, shorten), OK);
    check_int(long_ones(&w, "ord_1"), 0);
    check_int(long_ones(&w, "ord_2"), 150);
    check_journal(&w);
    check_int(bus_erase(w.bus, w.core, shorten), OK);
    world_close(&w);
}

TEST(a_stopped_bus_goes_on_where_it_was)
{
    struct world w;
    const char *dir = test_dir();
    for (int round = 0; round < 3; round++) {
        world_open(&w, dir, 0);
        for (int i = 0; i < 20; i++)
            check_int(publish_one(&w, &sold, "ord_1", 0), OK); /* before it starts: no kick */
        world_start(&w);
        for (int i = 0; i < 20; i++)
            check_int(publish_one(&w, &sold, "ord_1", 0), OK);
        if (round == 2)
            check(bus_drained(w.bus, DRAIN_US));
        if (round < 2) {
            world_close(&w);
            continue;
        }
        check_effects(&w, &alpha, NULL);
        check_effects(&w, &beta, NULL);
        world_close(&w);
    }
}

TEST(what_is_undone_leaves_no_gap)
{
    struct world w;
    world_open(&w, test_dir(), 0);
    world_start(&w);
    struct arena *a = arena_new();
    for (int i = 0; i < 30; i++) {
        struct tx_scope scope = {.arena = a};
        struct tx *tx = tx_begin_in(w.core, "shop", &scope);
        publish_in(&w, tx, &sold, "ord_1", i);
        int mark = tx_mark(tx);
        publish_in(&w, tx, &sold, "ord_1", i);
        publish_in(&w, tx, &sold, "ord_2", i);
        if (i % 2)
            tx_undo_to(tx, mark);
        publish_in(&w, tx, &sold, "ord_1", i);
        if (i % 3) {
            check_int(tx_commit(tx), OK);
        } else {
            tx_fail(tx, ABORTED);
            check_int(tx_commit(tx), ABORTED);
        }
        arena_reset(a);
    }
    arena_free(a);
    check(bus_drained(w.bus, DRAIN_US));
    struct event *events;
    check_int(events_of(&w, NULL, NULL, &events), 10 * 2 + 10 * 4);
    check_journal(&w);
    check_effects(&w, &alpha, NULL);
    world_close(&w);
}

TEST(an_event_that_is_too_large_fails_its_transaction)
{
    struct world w;
    world_open(&w, test_dir(), 0);
    char *subject = arena_alloc(w.arena, (256 << 10) + 1);
    memset(subject, 'x', 256 << 10);
    check_int(publish_one(&w, &sold, subject, 1), RESOURCE_EXHAUSTED);
    check_int(publish_one(&w, &sold, "ord_1", 1), OK);
    check_int(sales_of(&w), 1);
    world_close(&w);
}

static bool
none_is_parked(struct world *w)
{
    struct bus_lag lags[2];
    bus_lags(w->bus, lags, 2);
    return lags[0].parked == 0 && lags[1].parked == 0;
}

TEST(a_failing_event_is_retried_and_its_subject_stays_in_order)
{
    struct world w;
    world_open(&w, test_dir(), 1 << 20);
    alpha.bad_number = beta.bad_number = 5;
    alpha.failures_left = beta.failures_left = 1 << 20;
    world_start(&w);
    for (int i = 1; i <= 40; i++)
        check_int(publish_one(&w, &sold, i % 2 ? "ord_odd" : "ord_even", i), OK);
    check(bus_drained(w.bus, DRAIN_US));
    struct bus_lag lags[2];
    check_int(bus_lags(w.bus, lags, 2), 2);
    check_int(lags[0].parked, 18);
    check_int(lags[1].parked, 18);
    ParkedRow **effects;
    check_int(effects_of(&w, &alpha, &effects), 20 + 2);

    alpha.failures_left = beta.failures_left = 0;
    check(comes_true_within(none_is_parked, &w));
    check_effects(&w, &alpha, NULL);
    check_effects(&w, &beta, NULL);
    size_t n = effects_of(&w, &alpha, &effects);
    check_int(n, 40);
    check(n == 40 && effects[39]->position == 39 && effects[22]->position == 5);
    world_close(&w);
}

static bool
both_are_dead(struct world *w)
{
    struct tx_scope scope = {.arena = w->arena};
    struct dead_letter *letters;
    size_t n = 0;
    check_int(bus_dead_letters(w->bus, &scope, "", 10, &letters, &n), OK);
    return n == 2 && letters[0].dead && letters[1].dead;
}

TEST(an_event_that_keeps_failing_is_a_dead_letter_until_it_is_redriven)
{
    struct world w;
    const char *dir = test_dir();
    world_open(&w, dir, 3);
    alpha.bad_number = beta.bad_number = 5;
    alpha.failures_left = beta.failures_left = 1000;
    world_start(&w);
    for (int i = 1; i <= 200; i++)
        check_int(publish_one(&w, &sold, i % 2 ? "ord_odd" : "ord_even", i), OK);
    check(bus_drained(w.bus, DRAIN_US));
    check(comes_true_within(both_are_dead, &w));
    check_int(alpha.failures_left, 1000 - 1 - 3); /* among others, then by itself */

    struct tx_scope scope = {.arena = w.arena};
    struct dead_letter *letters, *rest, one;
    size_t n;
    check_int(bus_dead_letters(w.bus, &scope, NULL, 10, &letters, &n), OK);
    check_int(n, 2);
    check_text(letters[0].subscriber, "alpha");
    check_text(letters[1].subscriber, "beta");
    check_text(letters[0].id, arena_printf(w.arena, "alpha:%s", letters[0].event.id));
    check_text(letters[0].error, "FAILED_PRECONDITION");
    check_text(letters[0].event.subject, "ord_odd");
    check_int(letters[0].event.sequence, 3);
    check_int(letters[0].attempts, 3);
    check_int(letters[0].waiting, 97);
    check_int(letters[1].waiting, 97);
    check_int(bus_dead_letters(w.bus, &scope, letters[0].id, 10, &rest, &n), OK);
    check_int(n, 1);
    check_text(rest[0].subscriber, "beta");
    check_int(bus_dead_letters(w.bus, &scope, "", 1, &rest, &n), OK);
    check_int(n, 1);
    check_int(bus_dead_letter(w.bus, &scope, letters[1].id, &one), OK);
    check_text(one.event.id, letters[1].event.id);
    check_int(bus_dead_letter(w.bus, &scope, "alpha:evn_none", &one), NOT_FOUND);
    check_int(bus_redrive(w.bus, &scope, "gamma"), NOT_FOUND);

    /* It dies again, and so it stands after a restart. */
    check_int(bus_redrive(w.bus, &scope, letters[0].id), OK);
    check(comes_true_within(both_are_dead, &w));
    const char *first = strdup(letters[0].id), *second = strdup(letters[1].id);
    world_close(&w);
    world_open(&w, dir, 3);
    alpha.failures_left = beta.failures_left = 0;
    world_start(&w);
    check(both_are_dead(&w));
    scope.arena = w.arena;
    check_int(bus_redrive(w.bus, &scope, first), OK);
    check_int(bus_redrive(w.bus, &scope, second), OK);
    check(comes_true_within(none_is_parked, &w));
    check_effects(&w, &alpha, NULL);
    check_effects(&w, &beta, NULL);
    check_int(bus_redrive(w.bus, &scope, first), NOT_FOUND);
    free((char *)(uintptr_t)first);
    free((char *)(uintptr_t)second);
    world_close(&w);
}

TEST(a_failing_store_loses_and_repeats_no_effect)
{
    struct world w;
    world_open(&w, test_dir(), 3);
    alpha.bad_number = beta.bad_number = 3; /* so that parking is among what fails */
    alpha.failures_left = beta.failures_left = 2 * FAULTS;
    world_start(&w);
    int64_t told = 0;
    for (int k = 1; k <= FAULTS; k++) {
        store_fail_at(w.listeners, k);
        for (int i = 1; i <= 4; i++)
            if (publish_one(&w, &sold, i % 2 ? "ord_1" : "ord_2", i) == OK)
                told++;
        store_fail_at(w.core, k);
        for (int i = 1; i <= 4; i++)
            if (publish_one(&w, &sold, i % 2 ? "ord_1" : "ord_2", i) == OK)
                told++;
        check(bus_drained(w.bus, DRAIN_US));
    }
    store_fail_at(w.core, 0);
    store_fail_at(w.listeners, 0);
    check(bus_drained(w.bus, DRAIN_US));
    alpha.failures_left = beta.failures_left = 0;

    struct tx_scope scope = {.arena = w.arena};
    struct dead_letter *letters;
    size_t n;
    check_int(bus_dead_letters(w.bus, &scope, "", 10, &letters, &n), OK);
    for (size_t i = 0; i < n; i++)
        check_int(bus_redrive(w.bus, &scope, letters[i].id), OK);
    check(comes_true_within(none_is_parked, &w));
    check_effects(&w, &alpha, NULL);
    check_effects(&w, &beta, NULL);
    check_journal(&w);
    struct event *events;
    check_int(events_of(&w, NULL, NULL, &events), told);
    check_int(sales_of(&w), told);
    world_close(&w);
}

struct heard {
    atomic_int n, wrong;
    int64_t last;
};

static void
hear_broadcast(void *arg, const struct event *e)
{
    struct heard *h = arg;
    if (e->position <= h->last)
        h->wrong++;
    h->last = e->position;
    h->n++;
}

TEST(broadcasts_are_heard_from_now_on_and_only_of_what_is_durable)
{
    struct world w;
    const char *dir = test_dir();
    static const char *const only_sold[] = {"shop.sold", NULL}, *const all[] = {"*", NULL};
    world_open(&w, dir, 0);
    check_int(publish_one(&w, &sold, "ord_1", 1), OK);
    world_start(&w);
    struct heard early = {0}, late = {0};
    bus_listen(w.bus, only_sold, hear_broadcast, &early);
    int durable = 0;
    for (int k = 1; k <= 20; k++) {
        store_fail_at(w.core, k);
        for (int i = 0; i < 3; i++)
            if (publish_one(&w, &sold, "ord_1", i) == OK)
                durable++;
        store_fail_at(w.core, 0);
    }
    check(durable > 20 && durable < 60);
    check(bus_drained(w.bus, DRAIN_US));
    check_int(early.n, durable);
    bus_listen(w.bus, all, hear_broadcast, &late);
    check_int(publish_one(&w, &looked, "ord_1", 1), OK);
    check(bus_drained(w.bus, DRAIN_US));
    check_int(early.n, durable);
    check_int(late.n, 1);
    check_int(early.wrong + late.wrong, 0);
    world_close(&w);
}

TEST(events_of_the_listeners_store_reach_the_journal_once_and_in_order)
{
    struct world w;
    const char *dir = test_dir();
    int published = 0;
    for (int round = 0; round < 3; round++) {
        world_open(&w, dir, 0);
        world_start(&w);
        for (int k = 1; k <= 15; k++) {
            store_fail_at(round ? w.listeners : w.core, k);
            for (int i = 0; i < 4; i++)
                if (publish_one(&w, &mailed, i % 2 ? "ntf_1" : "ntf_2", k) == OK)
                    published++;
        }
        if (round < 2) {
            world_close(&w);
            continue;
        }
        store_fail_at(w.core, 0);
        store_fail_at(w.listeners, 0);
        check(bus_drained(w.bus, DRAIN_US));
        struct event *events;
        check_int(events_of(&w, NULL, NULL, &events), published);
        check_text(events[0].topic, "mail.mailed");
        check_journal(&w);
        check_effects(&w, &alpha, NULL);
        check_effects(&w, &beta, NULL);
        world_close(&w);
    }
}

TEST(everything_runs_on_one_thread_too)
{
    struct world w;
    env.single_thread = true;
    world_open(&w, test_dir(), 0);
    alpha.bad_number = 5;
    alpha.failures_left = 2;
    world_start(&w);
    for (int i = 1; i <= 40; i++)
        check_int(publish_one(&w, i % 4 ? &sold : &mailed, i % 2 ? "odd" : "even", i), OK);
    check(bus_drained(w.bus, DRAIN_US));
    struct bus_lag lags[2];
    for (int i = 0; i < 1000; i++, fiber_sleep_us(1000)) {
        bus_lags(w.bus, lags, 2);
        if (lags[0].parked == 0)
            break;
    }
    check_int(lags[0].parked, 0);
    check_effects(&w, &alpha, NULL);
    check_effects(&w, &beta, NULL);
    check_journal(&w);
    world_close(&w);
    env.single_thread = false;
}

/* ---- kill -9 --------------------------------------------------------------------------------- */

static const char child_variable[] = "SOUK_BUS_TEST_DIR";

TEST(a_child_publishes_and_follows_until_it_is_killed)
{
    const char *dir = getenv(child_variable);
    if (!dir)
        return;
    struct world w;
    world_open(&w, dir, 1000);
    alpha.bad_number = 7; /* parked until nobody is killed any more */
    alpha.failures_left = 1 << 20;
    world_start(&w);
    for (int i = 0;; i++) {
        char subject[20];
        snprintf(subject, sizeof subject, "ord_%d", i % 5);
        publish_one(&w, &sold, subject, i % 50);
        publish_one(&w, &mailed, i % 2 ? "ntf_1" : "ntf_2", 1);
    }
}

TEST(after_kill_9_every_effect_is_there_once)
{
    const char *dir = test_dir();
    setenv(child_variable, dir, 1);
    srandom(42);
    for (int i = 0; i < KILLS; i++) {
        char name[] = "a_child_publishes_and_follows_until_it_is_killed", self[] = "bus_test";
        char *const args[] = {self, name, NULL};
        pid_t child;
        check_int(posix_spawn(&child, "/proc/self/exe", NULL, NULL, args, environ), 0);
        usleep((useconds_t)(30000 + random() % 150000));
        check_int(kill(child, SIGKILL), 0);
        int how;
        check_int(waitpid(child, &how, 0), child);
        check(WIFSIGNALED(how));
    }
    unsetenv(child_variable);

    struct world w;
    world_open(&w, dir, 0);
    world_start(&w);
    check(bus_drained(w.bus, DRAIN_US));
    check(comes_true_within(none_is_parked, &w));
    check_effects(&w, &alpha, NULL);
    check_effects(&w, &beta, NULL);
    check_journal(&w);
    struct event *events;
    size_t n = events_of(&w, "shop.sold", NULL, &events);
    check_int(sales_of(&w), n);
    printf("  %zu events before %d kills\n",
           (size_t)bus_head(w.bus, &(struct tx_scope){.arena = w.arena}), KILLS);
    world_close(&w);
}

/* ---- speed ----------------------------------------------------------------------------------- */

static double
cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

TEST(ten_thousand_events_flow)
{
    struct world w;
    world_open(&w, test_dir(), 0);
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    double start = cpu_us();
    for (int i = 0; i < THROUGHPUT_EVENTS;) {
        struct tx *tx = tx_begin_in(w.core, "shop", &scope);
        for (int j = 0; j < 10; j++, i++) {
            char subject[40];
            snprintf(subject, sizeof subject, "ord_%026d", i / 4);
            publish_in(&w, tx, &sold, subject, i);
        }
        check_int(tx_commit(tx), OK);
        arena_reset(a);
    }
    check_int(store_wait(&scope), OK);
    double published = cpu_us();
    world_start(&w);
    int64_t wall = env.mono_us();
    check(bus_drained(w.bus, DRAIN_US));
    double delivered = cpu_us();
    printf("  publish %.1f us, deliver to one of two %.1f us of CPU an event; %.0f events/s\n",
           (published - start) / THROUGHPUT_EVENTS, (delivered - published) / THROUGHPUT_EVENTS / 2,
           THROUGHPUT_EVENTS * 1e6 / (double)(env.mono_us() - wall));
    check_int(alpha.handled, THROUGHPUT_EVENTS);
    check_int(beta.handled, THROUGHPUT_EVENTS);
    arena_free(a);
    world_close(&w);
}
