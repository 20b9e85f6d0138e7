/* What is recommended, in a whole Souk. */
#include <stdlib.h>

#include "audit.api.h"
#include "catalog.api.h"
#include "orders.api.h"
#include "recommendations.api.h"
#include "test/world.h"
#include "users.api.h"

static struct world *world;

struct told {
    const struct topic *topic;
    const ProtobufCMessage *message;
    int64_t now_us;
};

static int64_t told_at_us; /* when what is told happened; 0: now */

static void
tell_on_fiber(void *arg)
{
    const struct told *told = arg;
    struct request rq = world_request(world, "");
    if (told->now_us)
        rq.now_us = told->now_us;
    for (const struct service *const *s = node_services(world_node(world)); *s; s++)
        if (strcmp((*s)->name, told->topic->publisher) == 0)
            rq.service = *s;
    struct tx *tx = tx_begin(&rq);
    publish(&rq, tx, told->topic, told->message);
    check_int(tx_commit(tx), OK);
    check_int(request_settle(&rq), OK);
}

static void
tell(const struct topic *topic, const ProtobufCMessage *message)
{
    struct told told = {topic, message, told_at_us};
    world_run(world, topic->publisher, tell_on_fiber, &told);
}

static struct arena *
arena(void)
{
    return world_arena(world);
}

static const char *
product(char name)
{
    return arena_printf(arena(), "prd_0%c000000000000000000000000", name);
}

static const char *
order(int number)
{
    return arena_printf(arena(), "ord_%026d", number);
}

static void
say_added(char name)
{
    NewProductAdded *event = new_new_product_added(arena());
    event->product_id = product(name);
    event->product = new_product(arena());
    event->product->id = event->product_id;
    event->product->title = arena_printf(arena(), "%c", name);
    event->product->version = 1;
    tell(&new_product_added, &event->base);
}

static void
say_deleted(char name)
{
    static const char *fields[] = {"deleted"};
    ProductUpdated *event = new_product_updated(arena());
    event->product_id = product(name);
    event->version = 2;
    event->changed_fields = fields;
    event->n_changed_fields = 1;
    tell(&product_updated, &event->base);
}

static void
say_bought(int number, const char *names)
{
    OrderCompleted *event = new_order_completed(arena());
    event->order_id = order(number);
    event->lines = arena_alloc(arena(), strlen(names) * sizeof *event->lines);
    for (const char *p = names; *p; p++) {
        PricedLine *line = event->lines[event->n_lines++] = new_priced_line(arena());
        line->product_id = product(*p);
        line->sku = "sku";
        line->quantity = 1;
    }
    tell(&order_completed, &event->base);
}

static void
say_viewed(const char *viewer, char name)
{
    ProductViewed *event = new_product_viewed(arena());
    event->product_id = product(name);
    event->viewer = viewer;
    event->count = 1;
    tell(&product_viewed, &event->base);
}

/* Names of what is recommended; "-" stands before what is only popular. */
static const char *
ask(const char *product_id, int64_t limit)
{
    RecommendRequest *in = new_recommend_request(arena());
    in->product_id = product_id;
    in->limit = limit;
    RecommendResponse *out = new_recommend_response(arena());
    check_text(world_ask(world, "", "recommendations", "Recommend", &in->base, &out), "");
    struct text said = text_in(arena());
    text_add(&said, "");
    bool popular = false;
    for (size_t i = 0; i < out->n_data; i++) {
        if (!popular && out->data[i]->score == 0)
            text_add(&said, "-");
        popular = out->data[i]->score == 0;
        text_add(&said, out->data[i]->title);
    }
    return said.bytes;
}

static void
open_world(const char *names)
{
    told_at_us = 0;
    world = world_new();
    for (const char *p = names; *p; p++)
        say_added(*p);
    world_settle(world);
}

static bool
is_ours(const char *table, void *arg)
{
    (void)arg;
    return text_starts(table, "recommendations_proj_");
}

static void
dump_on_fiber(void *ret)
{
    struct store *store = node_store(world_node(world), "recommendations");
    check_int(store_dump(store, is_ours, NULL, arena(), ret), OK);
}

/* All rows. */
static const char *
dump(void)
{
    char *rows = NULL;
    world_run(world, "recommendations", dump_on_fiber, &rows);
    return rows;
}

static void
check_replays(void)
{
    ReplayProjectionsRequest *in = new_replay_projections_request(arena());
    ReplayProjectionsResponse *out = new_replay_projections_response(arena());
    check_text(world_ask(world, "operator", "audit", "ReplayProjections", &in->base, &out), "");
    for (size_t i = 0; i < out->n_services; i++)
        if (text_equal(out->services[i]->service, "recommendations")) {
            check(out->services[i]->equal);
            return;
        }
    check(false);
}

TEST(what_was_bought_together_comes_first_then_what_the_same_people_saw_then_what_is_popular)
{
    open_world("abcdef");
    say_bought(1, "ab");
    say_bought(2, "ab");
    say_bought(3, "ac");
    say_bought(4, "e");
    say_viewed("usr_1", 'a');
    say_viewed("usr_1", 'd');
    say_viewed("", 'f'); /* a visitor without an account */
    world_settle(world);
    check_text(ask(product('a'), 0), "bcd-ef");
    check_text(ask(product('b'), 0), "a-ecfd");
    check_text(ask(product('d'), 2), "a-b");
    check_text(ask("", 0), "-abecfd");
    check_text(ask("prd_unknown", 3), "-abe");
    check_replays();
    world_free(world);
}

TEST(a_product_is_never_recommended_to_itself_nor_once_it_is_deleted)
{
    open_world("abc");
    say_bought(1, "aab");
    say_bought(2, "abc");
    say_bought(3, "ax"); /* of x nothing is known */
    world_settle(world);
    check_text(ask(product('a'), 0), "bc");
    say_deleted('b');
    world_settle(world);
    check_text(ask(product('a'), 0), "c");
    check_text(ask("", 0), "-ac");
    say_added('b'); /* told again, too late */
    world_settle(world);
    check_text(ask("", 0), "-ac");
    check_replays();
    world_free(world);
}

TEST(what_is_told_twice_or_in_another_order_leaves_the_same_rows)
{
    enum { ORDERS = 130, PRODUCTS = 25 };
    char *said[2], *rows[2];
    for (int turn = 0; turn < 2; turn++) {
        open_world("");
        int64_t start_us = 1800000000 * SECOND_US;
        for (int i = 0; i < ORDERS; i++) {
            int at = turn ? ORDERS - 1 - i : i;
            char name = (char)('b' + at % 20);
            told_at_us = start_us + at * SECOND_US;
            say_bought(at, (char[]){'a', name, '\0'});
            if (turn)
                say_bought(at, (char[]){name, 'a', '\0'});
            say_viewed("usr_1", (char)('a' + at % PRODUCTS));
        }
        for (char name = 'a'; name < 'a' + PRODUCTS; name++)
            say_added(name);
        world_settle(world);
        said[turn] = strdup(ask(product('a'), 50));
        rows[turn] = strdup(dump());
        check_replays();
        world_free(world);
    }
    check_text(said[0], said[1]);
    check_text(rows[0], rows[1]);
    for (int turn = 0; turn < 2; turn++) {
        free(said[turn]);
        free(rows[turn]);
    }
}

TEST(what_a_person_looked_at_goes_with_the_person)
{
    open_world("ab");
    say_viewed("usr_1", 'a');
    say_viewed("usr_1", 'b');
    world_settle(world);
    check_text(ask(product('a'), 0), "b");
    PersonErased *event = new_person_erased(arena());
    event->user_id = "usr_1";
    tell(&person_erased, &event->base);
    world_settle(world);
    check_text(ask(product('a'), 0), "-b");
    say_viewed("usr_1", 'a'); /* told late */
    say_viewed("usr_1", 'b');
    world_settle(world);
    check_text(ask(product('a'), 0), "-b");
    check_replays();
    world_free(world);
}

TEST(a_large_order_says_as_much_of_each_of_its_products)
{
    open_world("abcdefghijklmnopqrst");
    say_bought(1, "abcdefghijklmnopqrst");
    world_settle(world);
    for (char name = 'a'; name <= 't'; name++) {
        const char *others = ask(product(name), 15);
        check_int((long long)strcspn(others, "-"), 10);
    }
    world_free(world);
}

TEST(a_disk_that_fails_at_any_statement_changes_nothing_in_the_end)
{
    enum { STATEMENTS = 30 };
    open_world("abc");
    struct store *store = node_store(world_node(world), "recommendations");
    for (int k = 1; k <= STATEMENTS; k++) {
        store_fail_at(store, k);
        say_bought(k, "ab");
        say_viewed("usr_1", 'c');
        say_viewed("usr_1", 'a');
        world_settle(world);
        store_fail_at(store, 0);
    }
    world_settle(world);
    RecommendRequest *in = new_recommend_request(arena());
    in->product_id = product('a');
    RecommendResponse *out = new_recommend_response(arena());
    check_text(world_ask(world, "", "recommendations", "Recommend", &in->base, &out), "");
    check_int((long long)out->n_data, 2);
    check_int(out->data[0]->score, 3 * STATEMENTS);
    check_int(out->data[1]->score, 1);
    check_replays();
    world_free(world);
}

TEST(everybody_may_ask_over_http)
{
    open_world("ab");
    say_bought(1, "ab");
    world_settle(world);
    const char *path = arena_printf(arena(), "/v1/recommendations?product_id=%s", product('a'));
    struct http_answer answer = world_http(world, "GET", path, NULL, NULL);
    check_int(answer.status, 200);
    check(strstr(answer.body, "\"title\":\"b\",\"score\":3") != NULL);
    check_int(world_http(world, "GET", "/v1/recommendations?limit=51", NULL, NULL).status, 400);
    world_free(world);
}
