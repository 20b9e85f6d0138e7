/* The bus between processes: several buses that know each other by their outboxes and a broker. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "bus/bus_private.h"
#include "bus/fake_broker_test.h"
#include "test/test.h"

enum { FIBERS_MAX = 200, PROCESSES = 4, DRAIN_US = 40000000, SUBJECTS = 5, FAULTS = 30 };

/* ---- the services ---------------------------------------------------------------------------- */

/* Events are ParkedRows, for want of a message of our own: subject, and a number in attempts. */
#define TOPIC(of, what)                                                                            \
    {                                                                                              \
        .name = of "." what, .publisher = of, .subject = "subject",                                \
        .type = &souk__bus__parked_row__descriptor                                                 \
    }
static const struct topic sold = TOPIC("shop", "sold"), looked = TOPIC("shop", "looked"),
                          mailed = TOPIC("mail", "mailed"), moved = TOPIC("shelf", "moved"),
                          gone = TOPIC("mail", "gone"); /* erases what was of its subject */

#define SERVICE_TABLES(of)                                                                         \
    {                                                                                              \
        of, 1, "001_init",                                                                         \
            "CREATE TABLE " of "_effect (place INTEGER PRIMARY KEY, event_id TEXT NOT NULL, "      \
            "publisher TEXT NOT NULL, subject TEXT NOT NULL, position BIGINT NOT NULL, "           \
            "sequence BIGINT NOT NULL);"                                                           \
    }
static const struct migration test_migrations[] = {SERVICE_TABLES("shop"), SERVICE_TABLES("mail"),
                                                   SERVICE_TABLES("audit"), SERVICE_TABLES("late")};

/* One service, in a process of its own. */
struct ear {
    const char *service;
    const char *const *topics;
    struct statement insert, list;
    _Atomic int64_t bad_number; /* the event that fails; 0 is none */
    atomic_int failures_left;
};
#define EAR(of, ...)                                                                               \
    {                                                                                              \
        .service = of, .topics = (const char *const[]){__VA_ARGS__, NULL},                         \
        .insert = {.service = of,                                                                  \
                   .name = "insert_effect",                                                        \
                   .sql = "INSERT INTO " of "_effect (event_id, publisher, subject, position, "    \
                          "sequence) VALUES (?1, ?2, ?3, ?4, ?5)",                                 \
                   .writes = true},                                                                \
        .list = {.service = of,                                                                    \
                 .name = "list_effects",                                                           \
                 .sql = "SELECT event_id AS id, publisher, subject, position, sequence "           \
                        "FROM " of "_effect ORDER BY place"},                                      \
    }
static struct ear ears[PROCESSES] = {
    EAR("shop", "shop.sold", "mail.mailed", "shelf.moved"),
    EAR("mail", "shop.sold"),
    EAR("audit", "*"),
    EAR("late", "shop.looked", "shop.sold", "shelf.moved"),
};
static const char *const publishers[] = {"shop", "mail", "shelf", "audit", "late", NULL};

static struct statement list_published = {
    .service = "bus",
    .name = "test_list_published",
    .sql = "SELECT * FROM bus_event WHERE publisher = ?1 ORDER BY position",
};
static struct statement count_inbox = {
    .service = "bus",
    .name = "test_count_inbox",
    .sql = "SELECT count(*) FROM bus_inbox",
};

static enum status
hear(void *arg, struct tx *tx, const struct event *e)
{
    struct ear *ear = arg;
    struct value in[] = {value_text(e->id), value_text(e->publisher), value_text(e->subject),
                         value_int(e->position), value_int(e->sequence)};
    sql_exec(tx, &ear->insert, in, 5);
    ParkedRow *message = souk__bus__parked_row__unpack(NULL, e->data.len, e->data.data);
    int64_t number = message->attempts;
    souk__bus__parked_row__free_unpacked(message, NULL);
    if (number == ear->bad_number && ear->failures_left > 0) {
        ear->failures_left--;
        return FAILED_PRECONDITION;
    }
    return OK;
}

/* In a store for itself; until it is due, somebody may be elsewhere who has not heard. */
static enum status
note_gone(void *due_us, struct tx *tx, const struct event *e)
{
    bus_erase_note(tx, e, *(const int64_t *)due_us);
    return OK;
}

/* ---- processes ------------------------------------------------------------------------------- */

struct heard {
    atomic_int n;
};

struct process {
    struct system *system;
    struct ear *ear;
    struct arena *arena;
    struct store *store;
    struct sched *sched;
    struct bus_home homes[2];
    struct heard heard;
    _Atomic(struct bus *) bus;  /* NULL while it is down */
    _Atomic(struct bus *) twin; /* another replica, in the same store */
    atomic_int guests;          /* who are asking its outbox, or kick it */
    atomic_bool away;           /* not to be reached by others */
    atomic_bool leads, twin_leads;
};

struct system {
    const char *dir;
    struct process processes[PROCESSES];
    struct broker *broker;
    bool shared, unrepaired, erases;
    int64_t due_us;     /* of what erases */
    atomic_int slow_us; /* each answer comes so late */
    atomic_int repeats; /* each second answer is one to an older question */
    atomic_int asked;
};

static void
on_durable(void *arg, uint64_t batch)
{
    struct process *p = arg;
    p->guests++;
    struct bus *bus = p->bus, *twin = p->twin;
    if (bus)
        bus_kick(bus, batch);
    if (twin)
        bus_kick(twin, batch);
    p->guests--;
}

static struct process *
process_of(struct system *s, const char *publisher)
{
    if (strcmp(publisher, "shelf") == 0)
        return &s->processes[0];
    for (size_t i = 0; i < PROCESSES; i++)
        if (strcmp(s->processes[i].ear->service, publisher) == 0)
            return &s->processes[i];
    return NULL;
}

static enum status
read_outbox(void *arg, const char *publisher, const struct outbox_ask *ask, struct arena *a,
            struct outbox_page *ret)
{
    struct system *s = arg;
    struct process *p = process_of(s, publisher);
    if (s->slow_us > 0)
        fiber_sleep_us(s->slow_us);
    p->guests++;
    struct bus *bus = p->bus;
    struct outbox_ask older = *ask;
    if (s->repeats && ++s->asked % 2 && ask->after > 3)
        older.after -= 3;
    enum status st =
        bus && !p->away ? bus_serve_outbox(bus, publisher, &older, a, ret) : UNAVAILABLE;
    p->guests--;
    return st;
}

/* By the name of the store's process and the replica: the options have no more. */
static struct {
    const struct process *process;
    const struct store *store; /* the process forgets it when it closes, while others still ask */
} leading[PROCESSES];

static bool
leads(struct store *store, const char *what)
{
    (void)what;
    for (size_t i = 0; i < PROCESSES; i++)
        if (leading[i].store == store)
            return leading[i].process->leads;
    return false;
}

static bool
twin_leads(struct store *store, const char *what)
{
    (void)what;
    for (size_t i = 0; i < PROCESSES; i++)
        if (leading[i].store == store)
            return leading[i].process->twin_leads;
    return false;
}

static void
hear_broadcast(void *arg, const struct event *e)
{
    struct heard *heard = arg;
    (void)e;
    heard->n++;
}

static struct bus *
start_bus(struct process *p, bool (*leads_here)(struct store *store, const char *what))
{
    struct system *s = p->system;
    struct bus *bus = bus_new(&(struct bus_options){
        .core = strcmp(p->ear->service, "audit") == 0 ? p->store : NULL,
        .core_sched = p->sched,
        .attempts_max = 3,
        .retry_first_us = 10 * MILLISECOND_US,
        .retry_most_us = 40 * MILLISECOND_US,
        .publishers = publishers,
        .homes = p->homes,
        .n_homes = p->homes[1].store ? 2 : 1,
        .read_outbox = read_outbox,
        .read_outbox_arg = s,
        .leads = leads_here,
        .broker = s->broker,
        .broker_ops = s->broker ? &fake_broker_ops : NULL,
        .instance = leads_here == twin_leads ? "twin" : p->ear->service,
        .poll_us = 200 * MILLISECOND_US,
        .look_us = 100 * MILLISECOND_US,
        .repair_us = 50 * MILLISECOND_US,
        .repair_age_us = s->unrepaired ? HOUR_US : 100 * MILLISECOND_US,
    });
    bus_subscribe(bus, &(struct subscriber){
                           .service = p->ear->service,
                           .store = p->store,
                           .topics = p->ear->topics,
                           .handle = hear,
                           .arg = p->ear,
                           .shared = s->shared,
                           .keeps_journal = strcmp(p->ear->service, "audit") == 0,
                       });
    static const char *const only_gone[] = {"mail.gone", NULL};
    if (s->erases)
        bus_subscribe(bus, &(struct subscriber){
                               .service = arena_printf(p->arena, "erasure_%s", p->ear->service),
                               .store = p->store,
                               .topics = only_gone,
                               .handle = note_gone,
                               .arg = &s->due_us,
                           });
    static const char *const only_sold[] = {"shop.sold", NULL};
    bus_listen(bus, only_sold, hear_broadcast, &p->heard);
    bus_start(bus);
    return bus;
}

static void
process_open(struct system *s, size_t i)
{
    struct process *p = &s->processes[i];
    p->arena = arena_new();
    p->heard.n = 0;
    size_t n;
    const struct migration *ours = bus_migrations(&n);
    struct migration all[8];
    memcpy(all, ours, n * sizeof *ours);
    memcpy(all + n, test_migrations, sizeof test_migrations);
    struct store_options options = {
        .path = arena_printf(p->arena, "%s/%s.db", s->dir, p->ear->service),
        .number = (int)i,
        .migrations = all,
        .n_migrations = n + sizeof test_migrations / sizeof test_migrations[0],
        .on_durable = on_durable,
        .on_durable_arg = p,
    };
    const char *why = "";
    if (store_open(&options, p->arena, &p->store, &why) != OK) {
        printf("cannot open %s: %s\n", options.path, why);
        exit(1);
    }
    p->sched = sched_new(p->ear->service, FIBERS_MAX);
    p->homes[0] = (struct bus_home){p->ear->service, p->store};
    if (i == 0) /* two live here */
        p->homes[1] = (struct bus_home){"shelf", p->store};
    p->bus = start_bus(p, NULL);
}

static void
stop_bus(struct process *p, _Atomic(struct bus *) *at)
{
    struct bus *bus = atomic_exchange(at, NULL);
    if (!bus)
        return;
    bus_stop(bus);
    while (p->guests > 0)
        usleep(1000);
    bus_free(bus);
}

static void
process_close(struct process *p)
{
    if (!p->store)
        return;
    stop_bus(p, &p->bus);
    stop_bus(p, &p->twin);
    store_close(p->store);
    sched_free(p->sched);
    arena_free(p->arena);
    p->store = NULL;
}

/* shop, mail and audit. */
static void
system_open(struct system *s, bool broker)
{
    *s = (struct system){.dir = test_dir(), .broker = broker ? fake_broker_new() : NULL};
    for (size_t i = 0; i < PROCESSES; i++) {
        ears[i].bad_number = ears[i].failures_left = 0;
        s->processes[i].system = s;
        s->processes[i].ear = &ears[i];
    }
    for (size_t i = 0; i < 3; i++)
        process_open(s, i);
}

static void
system_close(struct system *s)
{
    for (size_t i = 0; i < PROCESSES; i++)
        process_close(&s->processes[i]);
    if (s->broker)
        fake_broker_free(s->broker);
}

static void
reopen(struct system *s, size_t i)
{
    process_close(&s->processes[i]);
    process_open(s, i);
}

/* One event in a transaction of its own; OK once it is durable. */
static enum status
publish(struct system *s, const struct topic *topic, int64_t number)
{
    struct process *p = process_of(s, topic->publisher);
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    ParkedRow message = SOUK__BUS__PARKED_ROW__INIT;
    message.subject = arena_printf(a, "sub_%lld", (long long)number % SUBJECTS);
    message.attempts = number;
    struct publish_context context = {.now_us = env.now_us(), .correlation_id = "req_1"};
    struct tx *tx = tx_begin_in(p->store, p->ear->service, &scope);
    bus_publish(p->bus, tx, &context, topic, &message.base);
    enum status st = tx_commit(tx);
    if (st == OK)
        st = store_wait(&scope);
    arena_free(a);
    return st;
}

static void
publish_many(struct system *s, int from, int to)
{
    static const struct topic *const topics[] = {&sold, &moved, &sold, &looked, &mailed, &sold};
    for (int i = from; i < to; i++)
        publish(s, topics[i % 6], i);
}

/* ---- what must be so ------------------------------------------------------------------------- */

static size_t
rows_of(struct process *p, struct arena *a, struct statement *list, const char *publisher,
        EventRow ***ret)
{
    struct tx_scope scope = {.arena = a};
    struct value in[] = {value_text(publisher)};
    size_t n = 0;
    struct tx *tx = tx_begin_read_in(p->store, list->service, &scope);
    if (sql_many(tx, list, in, publisher ? 1 : 0, &souk__bus__event_row__descriptor, ret, &n))
        n = 0;
    tx_end(tx);
    return n;
}

static bool
hears(const struct ear *ear, const char *topic)
{
    for (size_t i = 0; ear->topics[i]; i++)
        if (strcmp(ear->topics[i], "*") == 0 || strcmp(ear->topics[i], topic) == 0)
            return true;
    return false;
}

/* How many effects p lacks, or has too often. */
static int
wrong_effects(struct process *p, struct arena *a)
{
    EventRow **effects;
    size_t n = rows_of(p, a, &p->ear->list, NULL, &effects), expected = 0;
    int wrong = 0;
    for (size_t i = 0; i < 3; i++) {
        EventRow **events;
        struct process *from = process_of(p->system, publishers[i]);
        size_t n_events = rows_of(from, a, &list_published, publishers[i], &events);
        for (size_t j = 0; j < n_events; j++) {
            int times = 0;
            for (size_t k = 0; k < n && hears(p->ear, events[j]->topic); k++)
                times += strcmp(effects[k]->id, events[j]->id) == 0;
            expected += hears(p->ear, events[j]->topic);
            wrong += hears(p->ear, events[j]->topic) && times != 1;
        }
    }
    return wrong + (n != expected);
}

static bool
is_settled(struct system *s)
{
    struct arena *a = arena_new();
    int wrong = 0;
    for (size_t i = 0; i < PROCESSES; i++)
        if (s->processes[i].store)
            wrong += wrong_effects(&s->processes[i], a);
    arena_free(a);
    return wrong == 0;
}

static bool
comes_true(bool (*claim)(struct system *s), struct system *s)
{
    for (int64_t until_us = env.mono_us() + DRAIN_US; env.mono_us() < until_us;) {
        if (claim(s))
            return true;
        usleep(20000);
    }
    struct arena *a = arena_new();
    for (size_t i = 0; i < PROCESSES; i++)
        if (s->processes[i].store)
            printf("  %s: %d wrong\n", ears[i].service, wrong_effects(&s->processes[i], a));
    arena_free(a);
    return false;
}

/* Each subject's in order. */
static void
check_order(struct system *s)
{
    struct arena *a = arena_new();
    for (size_t i = 0; i < PROCESSES; i++) {
        EventRow **effects;
        size_t n =
            s->processes[i].store ? rows_of(&s->processes[i], a, &ears[i].list, NULL, &effects) : 0;
        for (size_t j = 0; j < n; j++)
            for (size_t k = j + 1; k < n; k++)
                if (strcmp(effects[j]->publisher, effects[k]->publisher) == 0 &&
                    strcmp(effects[j]->subject, effects[k]->subject) == 0) {
                    check(effects[j]->sequence < effects[k]->sequence);
                    break;
                }
    }
    arena_free(a);
}

static void
check_all(struct system *s)
{
    check(comes_true(is_settled, s));
    check_order(s);
}

static int64_t
parked_in(struct process *p)
{
    struct bus_lag lags[8];
    size_t n = bus_lags(p->bus, lags, 8);
    int64_t parked = 0;
    for (size_t i = 0; i < n; i++)
        parked += lags[i].parked;
    return parked;
}

/* ---- by outboxes ----------------------------------------------------------------------------- */

TEST(every_subscriber_hears_every_outbox_once_and_in_order)
{
    struct system s;
    system_open(&s, false);
    publish_many(&s, 0, 90);
    for (size_t i = 0; i < 3; i++)
        check(bus_drained(s.processes[i].bus, DRAIN_US));
    check(is_settled(&s));
    check_order(&s);

    struct bus_lag lags[8];
    check_int(bus_lags(s.processes[2].bus, lags, 8), 5);
    check_text(lags[0].subscriber, "audit");
    check_text(lags[0].publisher, "shop");
    check_int(lags[0].cursor, 75);
    check_int(lags[0].behind, 0);
    check_int(bus_lags(s.processes[1].bus, lags, 8), 1);
    system_close(&s);
}

TEST(an_outbox_that_is_away_or_slow_or_repeats_itself_loses_nothing)
{
    struct system s;
    system_open(&s, false);
    s.repeats = 1;
    for (int round = 0; round < 3; round++) {
        s.processes[0].away = round == 1;
        s.slow_us = round == 2 ? 20000 : 0;
        publish_many(&s, 100 * round, 100 * round + 100);
    }
    check_all(&s);
    system_close(&s);
}

/* By outboxes, by a broker, and by a broker alone. */
TEST(a_restart_at_any_point_and_a_failing_store_lose_and_repeat_no_effect)
{
    for (int broker = 0; broker < 3; broker++) {
        struct system s;
        system_open(&s, broker > 0);
        s.unrepaired = broker == 2;
        for (size_t i = 0; i < 3; i++)
            reopen(&s, i);
        for (int k = 1; k <= FAULTS; k++) {
            size_t i = (size_t)k % 3;
            store_fail_at(s.processes[i].store, k);
            publish_many(&s, 10 * k, 10 * k + 8);
            if (k % 5 == 0)
                reopen(&s, (size_t)(k / 5) % 3);
        }
        for (size_t i = 0; i < 3; i++)
            store_fail_at(s.processes[i].store, 0);
        check(comes_true(is_settled, &s));
        if (!broker)
            check_order(&s);
        system_close(&s);
    }
}

static struct outbox_page
ask_shop(struct system *s, struct outbox_ask ask)
{
    static const char *const all[] = {"*", NULL};
    struct outbox_page page = {0};
    if (!ask.topics)
        ask.topics = all;
    struct process *p = &s->processes[0];
    check_int(bus_serve_outbox(p->bus, "shop", &ask, p->arena, &page), OK);
    return page;
}

static void *
publish_soon(void *arg)
{
    usleep(50000);
    publish(arg, &sold, 1);
    return NULL;
}

TEST(an_outbox_answers_in_bounded_pages_and_waits_for_what_is_asked)
{
    struct system s;
    system_open(&s, false);
    publish_many(&s, 0, 36); /* 30 in shop's store: sold, moved, sold, looked, sold, … */
    check(bus_drained(s.processes[0].bus, DRAIN_US));
    static const char *const only_looked[] = {"shop.looked", NULL}, *const none[] = {"x.y", NULL};
    struct outbox_page page = ask_shop(&s, (struct outbox_ask){.after = 20, .most = 100});
    check_int(page.n, 8);
    check_int(page.events[0].position, 21);
    check(page.events[0].data.len > 0);
    check_int(page.upto, 30);
    check_int(page.head, 30);
    page = ask_shop(&s, (struct outbox_ask){.topics = only_looked, .most = 3});
    check_int(page.n, 3);
    check_int(page.events[2].position, 14);
    check_int(page.upto, 14);
    page = ask_shop(&s, (struct outbox_ask){.topics = none, .most = 3});
    check_int(page.n, 0);
    check_int(page.upto, 30);
    page = ask_shop(&s, (struct outbox_ask){.after = 5});
    check_int(page.n, 0);
    check_int(page.upto, 5);
    check_int(page.head, 30);
    page = ask_shop(&s, (struct outbox_ask){.after = 28, .most = 9, .positions_only = true});
    check_int(page.n, 2);
    check_int(page.events[1].data.len, 0);
    page = ask_shop(&s, (struct outbox_ask){.most = 9, .older_than_us = HOUR_US, .wait_us = 1});
    check_int(page.n, 0);
    check_int(page.upto, 0);

    pthread_t publisher;
    pthread_create(&publisher, NULL, publish_soon, &s);
    page = ask_shop(&s, (struct outbox_ask){.after = -1, .most = 9, .wait_us = 10000000});
    check_int(page.n, 1);
    check_int(page.events[0].position, 31);
    pthread_join(publisher, NULL);
    struct arena *a = s.processes[0].arena;
    check_int(bus_serve_outbox(s.processes[0].bus, "mail", &(struct outbox_ask){0}, a, &page),
              NOT_FOUND);
    system_close(&s);
}

static bool
mail_has_a_dead_letter(struct system *s)
{
    struct process *p = &s->processes[1];
    struct tx_scope scope = {.arena = p->arena};
    struct dead_letter *letters;
    size_t n = 0;
    return bus_dead_letters(p->bus, &scope, "", 10, &letters, &n) == OK && n == 1 &&
           letters[0].dead;
}

TEST(a_failing_event_is_parked_with_all_it_has_and_its_subject_waits)
{
    for (int broker = 0; broker < 2; broker++) {
        struct system s;
        system_open(&s, broker);
        struct process *mail = &s.processes[1];
        ears[1].bad_number = 5;
        ears[1].failures_left = 1 << 20;
        publish_many(&s, 0, 60);
        check(comes_true(mail_has_a_dead_letter, &s));
        reopen(&s, 1);
        s.processes[0].away = true; /* nobody is asked for it */
        struct tx_scope scope = {.arena = mail->arena};
        struct dead_letter *letters;
        size_t n = 0;
        check_int(bus_dead_letters(mail->bus, &scope, "", 10, &letters, &n), OK);
        check_int(n, 1);
        check_text(letters[0].subscriber, "mail");
        check_text(letters[0].event.topic, "shop.sold");
        check_text(letters[0].event.correlation_id, "req_1");
        check_int(letters[0].event.sequence, 2);
        check(letters[0].event.data.len > 0);
        for (int i = 0; i < 100 && parked_in(mail) < 5; i++)
            usleep(20000);
        check_int(parked_in(mail), 5); /* 5, and 20, 30, 35, 50 of its subject */
        ears[1].failures_left = 0;
        check_int(bus_redrive(mail->bus, &scope, letters[0].id), OK);
        for (int i = 0; i < 100 && parked_in(mail) > 0; i++)
            usleep(20000);
        check_int(parked_in(mail), 0);
        check_int(bus_redrive(mail->bus, &scope, letters[0].id), NOT_FOUND);
        s.processes[0].away = false;
        check_all(&s);
        system_close(&s);
    }
}

TEST(audit_keeps_the_journal_of_all_even_of_what_it_fails_at)
{
    for (int broker = 0; broker < 2; broker++) {
        struct system s;
        system_open(&s, broker);
        ears[2].bad_number = 9;
        ears[2].failures_left = 1;
        publish_many(&s, 0, 80);
        check(comes_true(is_settled, &s));
        struct process *audit = &s.processes[2];
        struct tx_scope scope = {.arena = audit->arena};
        struct event *events;
        EventRow **effects;
        size_t n = 0;
        check_int(bus_read(audit->bus, &scope, 0, NULL, NULL, 1000, &events, &n), OK);
        check_int(n, 80);
        check_int(bus_head(audit->bus, &scope), 80);
        size_t n_effects = rows_of(audit, audit->arena, &ears[2].list, NULL, &effects), matches = 0;
        for (size_t i = 0; i < n_effects; i++)
            for (size_t j = 0; j < n; j++)
                matches += strcmp(effects[i]->id, events[j].id) == 0 &&
                           effects[i]->position == events[j].position;
        check_int(matches, 80);
        check_int(bus_read(audit->bus, &scope, 0, "mail.mailed", NULL, 1000, &events, &n), OK);
        check_int(n, 13);
        scope = (struct tx_scope){.arena = s.processes[1].arena};
        check_int(bus_read(s.processes[1].bus, &scope, 0, NULL, NULL, 9, &events, &n),
                  UNIMPLEMENTED);
        check_int(bus_head(s.processes[1].bus, &scope), 0);
        system_close(&s);
    }
}

TEST(a_new_subscriber_is_filled_from_the_whole_history)
{
    for (int broker = 0; broker < 2; broker++) {
        struct system s;
        system_open(&s, broker);
        publish_many(&s, 0, 700);
        process_open(&s, 3);
        publish_many(&s, 700, 720);
        check(comes_true(is_settled, &s));
        if (!broker)
            check_order(&s);
        system_close(&s);
    }
}

static bool
all_have_heard(struct system *s)
{
    return s->processes[0].heard.n >= 50 && s->processes[1].heard.n >= 50 &&
           s->processes[2].heard.n >= 50;
}

static bool
late_is_level(struct system *s)
{
    return bus_level(s->processes[3].bus, s->processes[3].store);
}

/* The first is away as it asks: nobody knows yet how much there is to hear. */
TEST(a_new_subscriber_is_level_once_it_has_what_was_there)
{
    for (int broker = 0; broker < 2; broker++) {
        struct system s;
        system_open(&s, broker);
        publish_many(&s, 0, 300);
        check(comes_true(is_settled, &s)); /* its outboxes know what they have */
        s.processes[0].away = true;
        process_open(&s, 3);
        check(!late_is_level(&s));
        usleep(50000);
        check(!late_is_level(&s));
        s.processes[0].away = false;
        check(comes_true(late_is_level, &s));
        check(is_settled(&s));
        process_close(&s.processes[3]);
        process_open(&s, 3);
        check(comes_true(late_is_level, &s));
        system_close(&s);
    }
}

TEST(a_broadcast_is_heard_in_every_process_though_another_is_away)
{
    for (int broker = 0; broker < 2; broker++) {
        struct system s;
        system_open(&s, broker);
        if (broker)
            s.broker->repeats = 50;
        process_close(&s.processes[1]);
        usleep(100000);
        process_open(&s, 1);
        s.processes[1].away = true;
        usleep(300000); /* their first questions */
        for (int i = 0; i < 50; i++)
            publish(&s, &sold, i);
        check(comes_true(all_have_heard, &s));
        for (size_t i = 0; i < 3; i++)
            check_int(s.processes[i].heard.n, 50);
        s.processes[1].away = false;
        check(comes_true(is_settled, &s));
        system_close(&s);
    }
}

/* ---- erasing --------------------------------------------------------------------------------- */

enum { GONE_SUBJECT = 1 };

static struct statement list_gone = {
    .service = "bus",
    .name = "test_list_gone",
    .sql = "SELECT * FROM bus_event WHERE subject = ?1 ORDER BY position",
};
static struct statement count_erasures = {
    .service = "bus",
    .name = "test_count_erasures",
    .sql = "SELECT count(*) FROM bus_erasure",
};
static struct statement let_erase = {
    .service = "bus",
    .name = "test_let_erase",
    .sql = "UPDATE bus_erasure SET due_us = 0",
    .writes = true,
};

/* Who is gone leaves no number. */
static bool
forget_number(struct arena *a, const struct event *erasing, const struct event *e,
              ProtobufCBinaryData *ret)
{
    if (strcmp(e->subject, erasing->subject) != 0)
        return false;
    ParkedRow left = SOUK__BUS__PARKED_ROW__INIT;
    left.subject = e->subject;
    ret->len = souk__bus__parked_row__get_packed_size(&left);
    ret->data = arena_alloc(a, ret->len);
    souk__bus__parked_row__pack(&left, ret->data);
    return true;
}

static int64_t
number_of(const ProtobufCBinaryData *data)
{
    ParkedRow *message = souk__bus__parked_row__unpack(NULL, data->len, data->data);
    int64_t number = message->attempts;
    souk__bus__parked_row__free_unpacked(message, NULL);
    return number;
}

/* Events in p's store that still have one. */
static int
with_numbers(struct process *p, const char *subject)
{
    struct arena *a = arena_new();
    EventRow **rows;
    size_t n = rows_of(p, a, &list_gone, subject, &rows);
    int found = 0;
    for (size_t i = 0; i < n; i++)
        found += number_of(&rows[i]->data) > 0;
    arena_free(a);
    return found;
}

static int64_t
erasures_in(struct process *p)
{
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    int64_t n = -1;
    struct tx *tx = tx_begin_read_in(p->store, "bus", &scope);
    sql_int(tx, &count_erasures, NULL, 0, &n);
    tx_end(tx);
    arena_free(a);
    return n;
}

static bool
audit_has_its_copies(struct system *s)
{
    return with_numbers(&s->processes[2], "sub_1") == 60;
}

static bool
audit_has_them_all(struct system *s)
{
    return with_numbers(&s->processes[2], "sub_1") == 63;
}

static bool
all_have_noted(struct system *s)
{
    for (size_t i = 0; i < 3; i++)
        if (erasures_in(&s->processes[i]) != 1)
            return false;
    return true;
}

static void
erase_all(struct system *s)
{
    for (size_t i = 0; i < 3; i++)
        check_int(bus_erase(s->processes[i].bus, s->processes[i].store, forget_number), OK);
}

static bool
all_are_done(struct system *s)
{
    erase_all(s);
    for (size_t i = 0; i < 3; i++)
        if (erasures_in(&s->processes[i]) != 0)
            return false;
    return true;
}

static void
now_it_is_due(struct process *p)
{
    struct tx_scope scope = {.arena = p->arena};
    struct tx *tx = tx_begin_in(p->store, "bus", &scope);
    sql_exec(tx, &let_erase, NULL, 0);
    check_int(tx_commit(tx), OK);
    check_int(store_wait(&scope), OK);
}

TEST(each_store_erases_what_it_published_and_audit_its_copies_of_all)
{
    for (int broker = 0; broker < 2; broker++) {
        struct system s;
        system_open(&s, broker);
        s.erases = true;
        s.due_us = INT64_MAX;
        for (size_t i = 0; i < 3; i++)
            reopen(&s, i);
        ears[1].bad_number = 11; /* of sub_1 */
        ears[1].failures_left = 1 << 20;
        publish_many(&s, 0, 300);
        check(comes_true(audit_has_its_copies, &s));
        s.processes[0].away =
            true; /* asked for it, it tells the next event after the erasing one */
        publish(&s, &sold, 500 + GONE_SUBJECT);
        publish(&s, &gone, 1000 + GONE_SUBJECT);
        check(comes_true(all_have_noted, &s));
        s.processes[0].away = false;
        check_int(with_numbers(&s.processes[0], "sub_1"), 51);
        check_int(with_numbers(&s.processes[1], "sub_1"), 11);
        erase_all(&s); /* it is not due */
        check_int(with_numbers(&s.processes[0], "sub_1"), 51);

        publish(&s, &sold, 2000 + GONE_SUBJECT); /* he is back */
        check(comes_true(audit_has_them_all, &s));
        for (size_t i = 0; i < 3; i++)
            now_it_is_due(&s.processes[i]);
        check(comes_true(all_are_done, &s));
        check_int(with_numbers(&s.processes[0], "sub_1"), 1);
        check_int(with_numbers(&s.processes[1], "sub_1"), 0);
        check_int(with_numbers(&s.processes[2], "sub_1"), 1);
        check_int(with_numbers(&s.processes[2], "sub_2"), 60);

        struct tx_scope scope = {.arena = s.processes[1].arena}; /* parked: whole */
        struct dead_letter *letters;
        size_t n = 0;
        check(comes_true(mail_has_a_dead_letter, &s));
        check_int(bus_dead_letters(s.processes[1].bus, &scope, "", 10, &letters, &n), OK);
        check_int(number_of(&letters[0].event.data), 11);
        ears[1].failures_left = 0;
        check_int(bus_redrive(s.processes[1].bus, &scope, letters[0].id), OK);
        check(comes_true(is_settled, &s));
        system_close(&s);
    }
}

TEST(nothing_is_erased_that_the_broker_has_not_got)
{
    struct system s;
    system_open(&s, true);
    s.erases = true;
    reopen(&s, 0);
    s.broker->refuses = 100;
    publish(&s, &sold, GONE_SUBJECT);
    publish(&s, &gone, GONE_SUBJECT);
    while (erasures_in(&s.processes[0]) == 0) /* by asking mail */
        usleep(20000);
    usleep(300000); /* what is followed here is compared meanwhile */
    check_int(bus_erase(s.processes[0].bus, s.processes[0].store, forget_number), OK);
    check_int(with_numbers(&s.processes[0], "sub_1"), 1);
    s.broker->refuses = 0;
    for (int i = 0; i < 1000 && erasures_in(&s.processes[0]) > 0; i++, usleep(20000))
        check_int(bus_erase(s.processes[0].bus, s.processes[0].store, forget_number), OK);
    check_int(with_numbers(&s.processes[0], "sub_1"), 0);
    check(comes_true(is_settled, &s));
    system_close(&s);
}

/* ---- replicas -------------------------------------------------------------------------------- */

/* Two of mail and two of shop, with changing leaders; at times both believe they are. */
static void
change_leaders(bool broker, bool shared)
{
    struct system s;
    system_open(&s, broker);
    s.shared = shared;
    for (size_t i = 0; i < 2; i++) {
        struct process *p = &s.processes[i];
        leading[i].process = p;
        leading[i].store = p->store;
        stop_bus(p, &p->bus);
        p->leads = i == 0;
        p->twin_leads = i == 1;
        p->bus = start_bus(p, leads);
        p->twin = start_bus(p, twin_leads);
    }
    ears[0].bad_number = ears[1].bad_number = 20;
    ears[0].failures_left = ears[1].failures_left = 2;
    for (int round = 0; round < 6; round++) {
        for (size_t i = 0; i < 2; i++) {
            s.processes[i].leads = round % 3 != 0;
            s.processes[i].twin_leads = round % 3 != 1;
        }
        publish_many(&s, 100 * round, 100 * round + 60);
        usleep(300000);
    }
    check(comes_true(is_settled, &s));
    if (!broker)
        check_order(&s);
    system_close(&s);
    memset(leading, 0, sizeof leading);
}

TEST(replicas_take_over_from_each_other_and_never_both_have_an_effect)
{
    change_leaders(false, false);
    change_leaders(true, false);
}

TEST(replicas_share_a_queue)
{
    change_leaders(true, true);
}

/* ---- by a broker ----------------------------------------------------------------------------- */

TEST(what_a_broker_repeats_delays_and_delivers_again_has_its_effect_once_and_in_order)
{
    struct system s;
    system_open(&s, true);
    s.broker->repeats = s.broker->reorders = s.broker->refuses = 20;
    for (int round = 0; round < 10; round++) {
        publish_many(&s, 100 * round, 100 * round + 50);
        fake_reconnect(s.broker, round % 3 == 2);
        usleep(20000);
    }
    fake_reconnect(s.broker, false);
    check(comes_true(is_settled, &s));
    check_int(s.broker->out_of_turn, 0);
    system_close(&s);
}

static bool
inboxes_are_empty(struct system *s)
{
    int64_t rows = 0;
    for (size_t i = 0; i < 3; i++) {
        struct arena *a = arena_new();
        struct tx_scope scope = {.arena = a};
        int64_t n = 1;
        struct tx *tx = tx_begin_read_in(s->processes[i].store, "bus", &scope);
        sql_int(tx, &count_inbox, NULL, 0, &n);
        tx_end(tx);
        arena_free(a);
        rows += n;
    }
    return rows == 0;
}

TEST(what_a_broker_loses_comes_from_the_outbox_and_the_inbox_stays_small)
{
    static const int percents[] = {5, 60, 100};
    for (size_t i = 0; i < 3; i++) {
        struct system s;
        system_open(&s, true);
        s.broker->loses = percents[i];
        publish_many(&s, 0, 400);
        check(comes_true(is_settled, &s));
        check(s.broker->lost > 0);
        check(comes_true(inboxes_are_empty, &s));
        if (percents[i] == 100)
            check_order(&s);
        struct bus_lag lags[8];
        check_int(bus_lags(s.processes[1].bus, lags, 8), 1);
        check_int(lags[0].cursor, 334);
        system_close(&s);
    }
}

TEST(what_a_broker_loses_is_missed_though_its_queue_is_at_work)
{
    struct system s;
    system_open(&s, true);
    s.broker->loses = 30;
    publish_many(&s, 0, 200);
    check(s.broker->lost > 0);
    s.broker->loses = 0;
    struct bus_lag lag = {.cursor = 0};
    for (int i = 200; i < 2000 && lag.cursor < 150; i++) {
        publish_many(&s, i, i + 1);
        usleep(2000);
        check_int(bus_lags(s.processes[1].bus, &lag, 1), 1);
    }
    check(lag.cursor >= 150);
    check(comes_true(is_settled, &s));
    system_close(&s);
}

/* It hears all topics.  shelf publishes into shop's store, whose head is shop's at the end. */
static bool
audit_is_not_behind(struct system *s)
{
    struct bus_lag lags[8];
    size_t n = bus_lags(s->processes[2].bus, lags, 8);
    for (size_t i = 0; i < n; i++)
        if (lags[i].behind > 0 && strcmp(lags[i].publisher, "shelf") != 0)
            return false;
    return n > 0;
}

TEST(who_has_what_a_queue_brought_is_not_behind_though_nothing_is_compared_yet)
{
    struct system s;
    system_open(&s, true);
    s.unrepaired = true;
    for (size_t i = 0; i < 3; i++)
        reopen(&s, i);
    publish_many(&s, 0, 60);
    check(comes_true(is_settled, &s));
    usleep(200000); /* they have asked how much there is */
    check(comes_true(audit_is_not_behind, &s));
    system_close(&s);
}

TEST(what_was_published_before_a_queue_was_there_comes_before_what_it_brings)
{
    struct system s;
    system_open(&s, true);
    publish_many(&s, 0, 60);
    check(comes_true(is_settled, &s));
    s.unrepaired = true; /* so that nothing else brings it */
    process_open(&s, 3);
    publish_many(&s, 60, 120);
    check_all(&s);
    system_close(&s);
}

TEST(a_system_gets_and_loses_a_broker_between_two_starts)
{
    struct system s;
    system_open(&s, false);
    struct broker *broker = fake_broker_new();
    for (int round = 0; round < 6; round++) {
        for (size_t i = 0; i < 3; i++)
            process_close(&s.processes[i]);
        s.broker = round % 2 ? broker : NULL;
        for (size_t i = 0; i < 3; i++)
            process_open(&s, i);
        publish_many(&s, 100 * round, 100 * round + 40);
        usleep(round % 3 == 0 ? 0 : 200000);
    }
    check(comes_true(is_settled, &s));
    s.broker = broker;
    system_close(&s);
}
