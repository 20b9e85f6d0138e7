/* One suite for both brokers: what bus/broker.h promises. */
#include "bus/broker_test.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env.h"
#include "base/ids.h"
#include "base/text.h"
#include "base/time.h"

enum { WAIT_US = 120000000, MANY = 1000, KILLS = 2, SOON_US = 300000 };

/* Both brokers keep every promise, or are not here: SOUK_TEST_RABBITMQ and SOUK_TEST_NATS name
 * them. */
#define BOTH(name)                                                                                 \
    TEST(rabbitmq_##name)                                                                          \
    {                                                                                              \
        name(&rabbitmq_carrier);                                                                   \
    }                                                                                              \
    TEST(nats_##name)                                                                              \
    {                                                                                              \
        name(&nats_carrier);                                                                       \
    }

/* ---- events ---------------------------------------------------------------------------------- */

/* A name that no other test program, and no other test of this one, uses. */
static const char *
fresh(struct arena *a, const char *name)
{
    static int n;
    return arena_printf(a, "t%dx%d%s", (int)getpid(), ++n, name);
}

static struct event
make(struct arena *a, const char *topic, int sequence)
{
    int64_t now = env.now_us();
    const char *data = arena_printf(a, "data %d", sequence);
    return (struct event){
        .position = 100 + sequence,
        .id = id_make(a, "evn", now),
        .topic = topic,
        .publisher = "shop",
        .subject = "ord_ü \"%\"",
        .type = "souk.shop.v1.Sold",
        .sequence = sequence,
        .time_us = now,
        .correlation_id = "cor_1",
        .causation_id = sequence % 2 ? "" : "evn_0",
        .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        .data = {strlen(data), (uint8_t *)arena_strdup(a, data)},
    };
}

/* Publishes events first…last of the topic in windows until each is confirmed; false if time is up.
 */
static bool
publish(struct broker *b, struct arena *a, const char *topic, int first, int last)
{
    int64_t until = env.mono_us() + WAIT_US;
    while (first <= last) {
        int n = last - first + 1 < BROKER_WINDOW_MAX ? last - first + 1 : BROKER_WINDOW_MAX;
        struct event events[BROKER_WINDOW_MAX];
        bool confirmed[BROKER_WINDOW_MAX];
        for (int i = 0; i < n; i++)
            events[i] = make(a, topic, first + i);
        enum status st;
        while ((st = broker_publish(b, events, (size_t)n, env.mono_us() + 5 * SECOND_US,
                                    confirmed)) != OK &&
               env.mono_us() < until)
            fiber_sleep_us(10000);
        if (st != OK)
            return false;
        first += n;
    }
    return true;
}

/* ---- who hears ------------------------------------------------------------------------------- */

struct ear {
    struct broker_queue *queue;
    _Atomic(struct fiber *) fiber;
    struct arena *arena;
    struct event event; /* the last taken */
    uint64_t tag;
};

static void
hear(void *arg)
{
    struct ear *ear = arg;
    if (ear->fiber)
        fiber_wake(ear->fiber);
}

static void
listen_to(struct ear *ear, struct broker *b, struct arena *a, const char *name, const char *topic,
          enum broker_kind kind)
{
    const char *topics[] = {topic, NULL};
    *ear = (struct ear){.arena = a};
    ear->queue = broker_subscribe(b, name, topics, kind, hear, ear);
}

/* Until the broker knows of it, even if it stands by. */
static void
wait_until_known(struct ear *ear)
{
    struct broker *b = ear->queue->broker;
    bool known = false;
    for (int64_t until = env.mono_us() + WAIT_US; !known && env.mono_us() < until;) {
        fiber_sleep_us(1000);
        spin_lock(&b->lock);
        known = ear->queue->state == QUEUE_OPEN;
        spin_unlock(&b->lock);
    }
    check(known);
}

/* Takes the next; false if none comes within us. */
static bool
take(struct ear *ear, int64_t us)
{
    int64_t until = env.mono_us() + us;
    ear->fiber = fiber_self();
    while (broker_take(ear->queue, ear->arena, 1, &ear->event, &ear->tag) == 0)
        if (!fiber_park_until(until) && env.mono_us() >= until)
            return false;
    return true;
}

/* The next is of that sequence. */
static void
expect(struct ear *ear, int sequence)
{
    bool came = take(ear, WAIT_US);
    check(came);
    if (came)
        check_int(ear->event.sequence, sequence);
}

/* ---- a broker and an arena for a test ---------------------------------------------------------
 */

struct stage {
    const char *url;
    struct arena *arena;
    struct broker *broker, *other; /* two processes, as it were */
};

static struct broker *
open_broker(struct arena *a, const char *url)
{
    struct broker *b = NULL;
    const char *why = "";
    check_int(broker_open(url, "test", a, &b, &why), OK);
    return b;
}

static bool
begin(struct stage *s, const struct carrier *c)
{
    s->url = getenv(c->variable);
    if (!s->url)
        return false; /* none here */
    s->arena = arena_new();
    s->broker = open_broker(s->arena, s->url);
    s->other = open_broker(s->arena, s->url);
    return true;
}

static void
end(struct stage *s)
{
    broker_free(s->broker);
    broker_free(s->other);
    arena_free(s->arena);
}

/* A queue hears from when the broker knows it: events are published until one comes, with sequence
 * 0. */
static void
settle_in(struct stage *s, struct ear *ear, const char *topic)
{
    int64_t until = env.mono_us() + WAIT_US;
    bool came = false;
    while (!came && env.mono_us() < until) {
        check(publish(s->broker, s->arena, topic, 0, 0));
        came = take(ear, SOON_US);
    }
    check(came);
    check_text(broker_figures(s->broker).error, "");
    broker_ack(ear->queue, ear->tag);
}

/* The next that is no left-over of settling in is of that sequence. */
static void
expect_after_settling(struct ear *ear, int sequence)
{
    bool came;
    while ((came = take(ear, WAIT_US)) && ear->event.sequence == 0)
        broker_ack(ear->queue, ear->tag);
    check(came);
    if (came)
        check_int(ear->event.sequence, sequence);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void
carries_all_attributes(const struct carrier *c)
{
    struct stage s;
    if (!begin(&s, c))
        return;
    const char *topic = fresh(s.arena, ".sold");
    struct ear ear;
    listen_to(&ear, s.broker, s.arena, fresh(s.arena, ""), topic, BROKER_ORDERED);
    settle_in(&s, &ear, topic);
    for (int i = 1; i <= 2; i++) {
        struct event e = make(s.arena, topic, i);
        bool confirmed = false;
        check_int(broker_publish(s.broker, &e, 1, env.mono_us() + WAIT_US, &confirmed), OK);
        check(confirmed);
        expect_after_settling(&ear, i);
        const struct event *got = &ear.event;
        if (test_failed)
            break;
        check_int(got->position, e.position);
        check_text(got->id, e.id);
        check_text(got->topic, e.topic);
        check_text(got->publisher, e.publisher);
        check_text(got->subject, e.subject);
        check_text(got->type, e.type);
        check_int(got->time_us, e.time_us);
        check_text(got->correlation_id, e.correlation_id);
        check_text(got->causation_id, e.causation_id);
        check_text(got->traceparent, e.traceparent);
        check_int(got->data.len, e.data.len);
        check(memcmp(got->data.data, e.data.data, e.data.len) == 0);
        broker_ack(ear.queue, ear.tag);
    }
    broker_unsubscribe(ear.queue);
    struct broker_figures figures = broker_figures(s.broker);
    check(figures.connected);
    check_text(figures.error, "");
    check(figures.published >= 3 && figures.confirmed == figures.published);
    check(figures.delivered >= 3 && figures.refused == 0);
    end(&s);
}
BOTH(carries_all_attributes)

static void
keeps_the_order(const struct carrier *c)
{
    struct stage s;
    if (!begin(&s, c))
        return;
    const char *topic = fresh(s.arena, ".sold");
    struct ear ear;
    listen_to(&ear, s.broker, s.arena, fresh(s.arena, ""), topic, BROKER_ORDERED);
    settle_in(&s, &ear, topic);
    check(publish(s.other, s.arena, topic, 1, MANY));
    expect_after_settling(&ear, 1);
    for (int i = 2; i <= MANY && !test_failed; i++) {
        expect(&ear, i);
        if (i % 100 == 0) /* beyond BROKER_PREFETCH_MAX only for who acknowledges */
            broker_ack(ear.queue, ear.tag);
    }
    broker_unsubscribe(ear.queue);
    end(&s);
}
BOTH(keeps_the_order)

static void
brings_again_what_was_not_acknowledged(const struct carrier *c)
{
    struct stage s;
    if (!begin(&s, c))
        return;
    const char *topic = fresh(s.arena, ".sold"), *name = fresh(s.arena, "");
    struct ear ear;
    listen_to(&ear, s.broker, s.arena, name, topic, BROKER_ORDERED);
    settle_in(&s, &ear, topic);
    check(publish(s.broker, s.arena, topic, 1, 30));
    expect_after_settling(&ear, 1);
    for (int i = 2; i <= 20; i++) {
        expect(&ear, i);
        if (i == 7)
            broker_ack(ear.queue, ear.tag);
    }
    broker_unsubscribe(ear.queue);

    listen_to(&ear, s.other, s.arena, name, topic, BROKER_ORDERED);
    for (int i = 8; i <= 30; i++)
        expect(&ear, i);
    broker_ack(ear.queue, ear.tag);
    broker_unsubscribe(ear.queue);

    listen_to(&ear, s.broker, s.arena, name, topic, BROKER_ORDERED);
    check(publish(s.broker, s.arena, topic, 31, 31));
    expect(&ear, 31); /* and nothing before it */
    broker_unsubscribe(ear.queue);
    end(&s);
}
BOTH(brings_again_what_was_not_acknowledged)

TEST(a_tag_of_an_earlier_connection_acknowledges_nothing)
{
    struct stage s;
    if (!begin(&s, &rabbitmq_carrier))
        return;
    const char *topic = fresh(s.arena, ".sold"), *name = fresh(s.arena, "");
    struct ear ear;
    listen_to(&ear, s.broker, s.arena, name, topic, BROKER_ORDERED);
    settle_in(&s, &ear, topic);
    check(publish(s.broker, s.arena, topic, 1, 5));
    expect_after_settling(&ear, 1);
    for (int i = 2; i <= 5; i++)
        expect(&ear, i);
    uint64_t stale = ear.tag;

    struct link *link = &s.broker->consuming;
    spin_lock(&s.broker->lock);
    shutdown(link->socket, SHUT_RDWR);
    spin_unlock(&s.broker->lock);
    expect_after_settling(&ear, 1);
    for (int i = 2; i <= 5; i++)
        expect(&ear, i);
    broker_ack(ear.queue, stale);
    broker_unsubscribe(ear.queue);
    listen_to(&ear, s.broker, s.arena, name, topic, BROKER_ORDERED);
    expect_after_settling(&ear, 1);
    broker_unsubscribe(ear.queue);
    end(&s);
}

static void
serves_one_consumer_of_an_ordered_queue_then_the_other(const struct carrier *c)
{
    struct stage s;
    if (!begin(&s, c))
        return;
    const char *topic = fresh(s.arena, ".sold"), *name = fresh(s.arena, "");
    struct ear first, second;
    listen_to(&first, s.broker, s.arena, name, topic, BROKER_ORDERED);
    settle_in(&s, &first, topic);
    listen_to(&second, s.other, s.arena, name, topic, BROKER_ORDERED);
    wait_until_known(&second);
    check(publish(s.broker, s.arena, topic, 1, 100));
    expect_after_settling(&first, 1);
    for (int i = 2; i <= 100; i++) {
        expect(&first, i);
        if (i == 50)
            broker_ack(first.queue, first.tag);
    }
    check(!take(&second, SOON_US));
    broker_unsubscribe(first.queue);
    for (int i = 51; i <= 100; i++)
        expect(&second, i);
    broker_ack(second.queue, second.tag);
    broker_unsubscribe(second.queue);
    end(&s);
}
BOTH(serves_one_consumer_of_an_ordered_queue_then_the_other)

static void
serves_all_consumers_of_a_shared_queue(const struct carrier *c)
{
    struct stage s;
    if (!begin(&s, c))
        return;
    const char *topic = fresh(s.arena, ".sold"), *name = fresh(s.arena, "");
    struct ear ears[2];
    listen_to(&ears[0], s.broker, s.arena, name, topic, BROKER_SHARED);
    settle_in(&s, &ears[0], topic);
    listen_to(&ears[1], s.other, s.arena, name, topic, BROKER_SHARED);
    bool seen[MANY + 1] = {false};
    int heard[2] = {0}, all = 0, published = 0;
    int64_t until = env.mono_us() + WAIT_US;
    while ((all < published || !heard[0] || !heard[1]) && env.mono_us() < until) {
        if (published + 20 <= MANY &&
            publish(s.broker, s.arena, topic, published + 1, published + 20))
            published += 20;
        for (int i = 0; i < 2; i++)
            while (take(&ears[i], 20000)) {
                int64_t sequence = ears[i].event.sequence;
                broker_ack(ears[i].queue, ears[i].tag);
                if (sequence == 0)
                    continue;
                all += !seen[sequence];
                heard[i] += !seen[sequence];
                seen[sequence] = true;
            }
    }
    check(heard[0] > 0);
    check(heard[1] > 0);
    check_int(all, published);
    broker_unsubscribe(ears[0].queue);
    broker_unsubscribe(ears[1].queue);
    end(&s);
}
BOTH(serves_all_consumers_of_a_shared_queue)

static void
broadcasts_to_each_process(const struct carrier *c)
{
    struct stage s;
    if (!begin(&s, c))
        return;
    const char *topic = fresh(s.arena, ".sold"), *name = fresh(s.arena, "");
    struct ear ears[2];
    listen_to(&ears[0], s.broker, s.arena, name, topic, BROKER_BROADCAST);
    listen_to(&ears[1], s.other, s.arena, name, topic, BROKER_BROADCAST);
    settle_in(&s, &ears[0], topic);
    settle_in(&s, &ears[1], topic);
    check(publish(s.broker, s.arena, topic, 1, 50));
    for (int i = 0; i < 2; i++) {
        expect_after_settling(&ears[i], 1);
        for (int j = 2; j <= 50; j++)
            expect(&ears[i], j);
        broker_ack(ears[i].queue, ears[i].tag);
        broker_unsubscribe(ears[i].queue);
    }
    end(&s);
}
BOTH(broadcasts_to_each_process)

static void
hears_the_topics_it_names_alone(const struct carrier *c)
{
    struct stage s;
    if (!begin(&s, c))
        return;
    const char *name = fresh(s.arena, ""), *other = fresh(s.arena, ".looked");
    const char *topics[] = {fresh(s.arena, ".sold"), fresh(s.arena, ".mailed"), NULL};
    struct ear ear = {.arena = s.arena};
    ear.queue = broker_subscribe(s.broker, name, topics, BROKER_ORDERED, hear, &ear);
    settle_in(&s, &ear, topics[1]);
    check(publish(s.broker, s.arena, other, 1, BROKER_PREFETCH_MAX * 2));
    check(publish(s.broker, s.arena, topics[0], 1, 1));
    check(publish(s.broker, s.arena, other, 1, BROKER_PREFETCH_MAX * 2));
    expect_after_settling(&ear, 1);
    check_text(ear.event.topic, topics[0]);
    broker_ack(ear.queue, ear.tag);
    check(publish(s.broker, s.arena, topics[1], 2, 2));
    expect(&ear, 2);
    check_text(ear.event.topic, topics[1]);
    broker_unsubscribe(ear.queue);

    ear.queue = broker_subscribe(s.broker, name, &topics[1], BROKER_ORDERED, hear, &ear);
    expect(&ear, 2); /* it was not acknowledged; and the queue still brings what is not asked for */
    check(publish(s.broker, s.arena, topics[0], 3, 3));
    check(publish(s.broker, s.arena, topics[1], 4, 4));
    expect(&ear, 4);
    broker_unsubscribe(ear.queue);
    end(&s);
}
BOTH(hears_the_topics_it_names_alone)

static void
puts_garbage_to_the_dead_letters(const struct carrier *c)
{
    struct stage s;
    if (!begin(&s, c))
        return;
    const char *topic = fresh(s.arena, ".sold"), *name = fresh(s.arena, "");
    struct ear ear;
    listen_to(&ear, s.broker, s.arena, name, topic, BROKER_ORDERED);
    settle_in(&s, &ear, topic);
    check(publish(s.broker, s.arena, topic, 1, 1));
    c->put_garbage(s.url, topic);
    check(publish(s.broker, s.arena, topic, 2, 2));
    expect_after_settling(&ear, 1);
    expect(&ear, 2);
    broker_ack(ear.queue, ear.tag);
    check_int(broker_figures(s.broker).refused, 1);
    check_int(c->dead_letters(s.url, name), 1);
    broker_unsubscribe(ear.queue);
    listen_to(&ear, s.broker, s.arena, name, topic, BROKER_ORDERED);
    check(publish(s.broker, s.arena, topic, 3, 3));
    expect(&ear, 3);
    broker_unsubscribe(ear.queue);
    end(&s);
}
BOTH(puts_garbage_to_the_dead_letters)

/* ---- a broker that comes and goes -------------------------------------------------------------
 */

static int
free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 &&
          getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

TEST(a_broker_that_is_away_makes_nobody_wait_beyond_the_deadline)
{
    const char *schemes[] = {"amqp", "nats"};
    for (size_t i = 0; i < 2; i++) {
        struct arena *a = arena_new();
        struct broker *b =
            open_broker(a, arena_printf(a, "%s://127.0.0.1:%d", schemes[i], free_port()));
        struct ear ear;
        listen_to(&ear, b, a, "souk.orders", "shop.sold", BROKER_ORDERED);
        struct event e = make(a, "shop.sold", 1);
        bool confirmed = true;
        check_int(broker_publish(b, &e, 1, env.mono_us() + SOON_US, &confirmed), UNAVAILABLE);
        check(!confirmed);
        check(!take(&ear, 1));
        check(!broker_figures(b).connected);
        check(broker_figures(b).error[0] != '\0');
        broker_unsubscribe(ear.queue);
        broker_free(b);
        arena_free(a);
    }
}

TEST(what_is_no_url_of_a_broker_is_refused_with_a_reason)
{
    static const struct {
        const char *url, *why;
    } cases[] = {
        {"", "it is no URL"},
        {"http://localhost", "its scheme is none of amqp, amqps, nats, tls"},
        {"nats://localhost/x", "nats has no path"},
        {"amqp://localhost:99999", "it is no URL"},
        {"amqps://localhost?verify=none",
         "of options it knows cacertfile=, certfile= and keyfile= alone"},
        {"amqps://localhost?cacertfile",
         "of options it knows cacertfile=, certfile= and keyfile= alone"},
        {"amqps://localhost?certfile=/a", "certfile and keyfile go together"},
        {"amqp://localhost?cacertfile=/a", "certificates are for amqps and tls"},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct broker *b = NULL;
        const char *why = "";
        check_int(broker_open(cases[i].url, "test", a, &b, &why), INVALID_ARGUMENT);
        check_text(why, cases[i].why);
        check(!b);
    }
    arena_free(a);
}

TEST(a_url_is_taken_apart)
{
    struct arena *a = arena_new();
    struct broker_url url;
    const char *why;
    check(broker_url_parse(
        a, "amqps://us%40er:p%2Fw@[::1]:99/a%2Fb?cacertfile=/c%20a.pem&certfile=/c&keyfile=/k",
        &url, &why));
    check(url.tls && url.wire == &rabbitmq_wire);
    check_text(url.user, "us@er");
    check_text(url.password, "p/w");
    check_text(url.host, "::1");
    check_int(url.port, 99);
    check_text(url.path, "a/b");
    check_text(url.cacertfile, "/c a.pem");
    check_text(url.certfile, "/c");
    check_text(url.keyfile, "/k");
    check(broker_url_parse(a, "nats://127.0.0.1", &url, &why));
    check_int(url.port, 4222);
    arena_free(a);
}

/* A publisher and a consumer, while the broker is killed. */
struct flow {
    struct broker *out, *in;
    const char *topic;
    struct ear ear;
    atomic_bool enough, published, failed;
    _Atomic int confirmed, heard; /* sequences up to these, without a gap */
};

/* Each window again until all of it is confirmed, with the same ids. */
static void
flow_publish(void *arg)
{
    struct flow *f = arg;
    int window = 50;
    while (!f->enough && !f->failed) {
        struct arena *a = arena_new();
        f->failed |= !publish(f->out, a, f->topic, f->confirmed + 1, f->confirmed + window);
        if (!f->failed)
            f->confirmed += window;
        arena_free(a);
    }
    f->published = true;
}

/* Each sequence is first heard after the one before it. */
static void
flow_hear(void *arg)
{
    struct flow *f = arg;
    while ((!f->published || f->heard < f->confirmed) && !f->failed) {
        f->ear.arena = arena_new();
        if (take(&f->ear, SECOND_US)) {
            f->failed |= f->ear.event.sequence > f->heard + 1;
            if (f->ear.event.sequence == f->heard + 1)
                f->heard++;
            broker_ack(f->ear.queue, f->ear.tag);
        }
        arena_free(f->ear.arena);
    }
}

static bool
flow_goes_on(struct flow *f)
{
    int confirmed = f->confirmed, heard = f->heard;
    int64_t until = env.mono_us() + WAIT_US;
    while ((f->confirmed < confirmed + 100 || f->heard < heard + 100) && !f->failed &&
           env.mono_us() < until)
        fiber_sleep_us(10000);
    return f->confirmed >= confirmed + 100 && f->heard >= heard + 100;
}

static void
loses_nothing_confirmed_when_it_is_killed(const struct carrier *c)
{
    struct private_broker server;
    if (!getenv(c->variable))
        return;
    check(private_start(&server, c->script, NULL));
    struct arena *a = arena_new();
    struct flow f = {.topic = "shop.sold"};
    f.out = open_broker(a, server.url);
    f.in = open_broker(a, server.url);
    /* A durable queue that is known before the first event. */
    struct stage s = {.arena = a, .broker = f.out};
    listen_to(&f.ear, f.in, a, "souk.orders", f.topic, BROKER_ORDERED);
    settle_in(&s, &f.ear, f.topic);
    f.ear.arena = NULL;
    /* RabbitMQ forgets a quorum queue that was made some seconds before it is killed: its directory
     * of them is not synced.  A decent end syncs it. */
    check(private_do(&server, "stop") && private_do(&server, "start"));

    struct sched *sched = sched_new("flow", 4);
    check(sched_spawn(sched, flow_publish, &f) && sched_spawn(sched, flow_hear, &f));
    check(flow_goes_on(&f));
    for (int i = 0; i < KILLS && !test_failed; i++) {
        check(private_do(&server, "kill"));
        check(private_do(&server, "start"));
        check(flow_goes_on(&f));
    }
    f.enough = true;
    sched_free(sched);
    check(!f.failed);
    check_int(f.heard, f.confirmed);
    check(broker_figures(f.in).connections >= 2 + KILLS);
    broker_unsubscribe(f.ear.queue);
    broker_free(f.out);
    broker_free(f.in);
    arena_free(a);
    private_end(&server);
}
BOTH(loses_nothing_confirmed_when_it_is_killed)

TEST(rabbitmq_that_blocks_its_publishers_confirms_nothing_until_it_goes_on)
{
    struct private_broker server;
    if (!getenv("SOUK_TEST_RABBITMQ"))
        return;
    check(private_start(&server, rabbitmq_carrier.script, NULL));
    struct arena *a = arena_new();
    struct broker *b = open_broker(a, server.url);
    check(publish(b, a, "shop.sold", 1, 1));
    check(private_do(&server, "control set_vm_memory_high_watermark absolute 1MB"));
    bool confirmed[3], all = true;
    enum status st = OK;
    for (int i = 0; i < 3; i++) { /* what it had read already it may still confirm */
        struct event e = make(a, "shop.sold", 2);
        st = broker_publish(b, &e, 1, env.mono_us() + 2 * SECOND_US, &confirmed[i]);
        all &= confirmed[i];
    }
    check_int(st, UNAVAILABLE);
    check(!all);
    check(private_do(&server, "control set_vm_memory_high_watermark absolute 1GB"));
    check(publish(b, a, "shop.sold", 3, 300));
    broker_free(b);
    arena_free(a);
    private_end(&server);
}

/* Where the certificate does not hold, there is no connection, and a reason. */
static void
expect_distrust(struct arena *a, const char *url)
{
    struct broker *b = open_broker(a, url);
    struct event e = make(a, "shop.sold", 1);
    bool confirmed = true;
    struct broker_figures figures = {0};
    for (int64_t until = env.mono_us() + WAIT_US;
         !strstr(figures.error, "connecting: ") && env.mono_us() < until; fiber_sleep_us(10000))
        figures = broker_figures(b);
    check(strstr(figures.error, "connecting: "));
    check_int(broker_publish(b, &e, 1, env.mono_us() + SOON_US, &confirmed), UNAVAILABLE);
    check(!confirmed);
    broker_free(b);
}

static void
trusts_the_named_authority_alone(const struct carrier *c)
{
    struct private_broker server;
    if (!getenv(c->variable))
        return;
    check(private_start(&server, c->script, "--tls"));
    struct arena *a = arena_new();
    struct broker *b = open_broker(a, server.url);
    check(publish(b, a, "shop.sold", 1, 300));
    broker_free(b);

    const char *query = strchr(server.url, '?'), *host = strstr(server.url, "localhost");
    expect_distrust(a, arena_strndup(a, server.url, (size_t)(query - server.url)));
    expect_distrust(a, arena_printf(a, "%.*s127.0.0.1%s", (int)(host - server.url), server.url,
                                    host + strlen("localhost")));
    arena_free(a);
    private_end(&server);
}
BOTH(trusts_the_named_authority_alone)
