/* The kit's own parts: settings, tallies, failures, permissions, jobs' services in a whole Souk. */
#include "kit/kit.h"

#include <pthread.h>
#include <stdio.h>

#include "catalog.api.h"
#include "inventory.api.h"
#include "kit/conf.h"
#include "test/test.h"
#include "test/world.h"

TEST(settings_refuse_what_they_do_not_know)
{
    static const struct {
        const char *name, *value, *why;
    } cases[] = {
        {"currency", "EUR", NULL},
        {"currency", "EURO", "currency: \"EURO\" is no currency of ISO 4217"},
        {"reservation_hold_s", "900", NULL},
        {"reservation_hold_s", "1", "reservation_hold_s: \"1\" is not a whole number from 30 to 86400"},
        {"reservation_hold_s", "many",
         "reservation_hold_s: \"many\" is not a whole number from 30 to 86400"},
        {"log", "json", NULL},
        {"log", "loud", "log: \"loud\" is none of text, json and off"},
        {"sandbox", "maybe", "sandbox: \"maybe\" is neither on nor off"},
        {"colour", "red", "there is no setting \"colour\""},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct conf *c = conf_new();
        const char *why = NULL;
        enum status st = conf_set(c, cases[i].name, cases[i].value, a, &why);
        check_int(st == OK, cases[i].why == NULL);
        check_text(why, cases[i].why);
        if (st == OK)
            check_text(conf_get(c, cases[i].name), cases[i].value);
        conf_free(c);
    }
    arena_free(a);
}

TEST(a_settings_file_is_read_and_its_mistakes_have_a_place)
{
    struct arena *a = arena_new();
    const char *path = arena_printf(a, "%s/souk.conf", test_dir());
    FILE *f = fopen(path, "w");
    fputs("# our shop\n\n  currency =  JPY  # yen\nlog=json\ncolour = red\n", f);
    fclose(f);
    struct conf *c = conf_new();
    const char *why = NULL;
    check_int(conf_load(c, path, a, &why), INVALID_ARGUMENT);
    check_text(why, arena_printf(a, "%s:5: there is no setting \"colour\"", path));
    check_text(conf_get(c, "currency"), "JPY");
    check_text(conf_get(c, "log"), "json");
    conf_free(c);
    arena_free(a);
}

enum { ADDERS = 4, ADDS = 5000 };

static void *
add_many(void *tally)
{
    for (int i = 0; i < ADDS; i++)
        tally_add(tally, i % 2 ? "odd" : "even", 1);
    return NULL;
}

TEST(a_tally_loses_no_count_between_threads)
{
    struct tally *t = tally_new();
    pthread_t threads[ADDERS];
    for (int i = 0; i < ADDERS; i++)
        pthread_create(&threads[i], NULL, add_many, t);
    struct arena *a = arena_new();
    int64_t sum = 0;
    for (int round = 0; round <= ADDERS; round++) {
        if (round)
            pthread_join(threads[round - 1], NULL);
        const char *const *keys;
        const int64_t *counts;
        size_t n = tally_take(t, a, &keys, &counts);
        for (size_t i = 0; i < n; i++)
            sum += counts[i];
    }
    check_int(sum, ADDERS * ADDS);
    tally_free(t);
    arena_free(a);
}

TEST(a_tally_is_bounded_and_counts_the_rest_under_the_empty_key)
{
    struct tally *t = tally_new();
    struct arena *a = arena_new();
    for (int i = 0; i < TALLY_KEYS_MAX + 10; i++)
        tally_add(t, arena_printf(a, "key-%d", i), 1);
    const char *const *keys;
    const int64_t *counts;
    size_t n = tally_take(t, a, &keys, &counts);
    check_int((long long)n, TALLY_KEYS_MAX + 1);
    check_text(keys[n - 1], "");
    check_int(counts[n - 1], 10);
    check_int((long long)tally_take(t, a, &keys, &counts), 0);
    tally_free(t);
    arena_free(a);
}

TEST(permissions_are_asked_for_each_kind_of_caller)
{
    struct world *w = world_new();
    const char *sku = world_product(w, "lamp", 1000, 5);
    const char *admin = world_staff(w, "ada@example.org", "admin");
    const struct {
        const char *who, *code;
    } cases[] = {
        {"", "UNAUTHENTICATED"},
        {"guest:ord_00000000000000000000000000", "UNAUTHENTICATED"},
        {"usr_00000000000000000000000000", "PERMISSION_DENIED"},
        {admin, ""},
        {"operator", ""},
    };
    GetStockRequest *in = new_get_stock_request(world_arena(w));
    in->sku = sku;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_text(world_ask(w, cases[i].who, "inventory", "GetStock", &in->base, NULL),
                   cases[i].code);
    check_int(world_events(w, "authz.access_granted", admin), 1);
    world_free(w);
}

TEST(what_visitors_may_is_remembered_and_reported)
{
    struct world *w = world_new();
    ListProductsRequest *in = new_list_products_request(world_arena(w));
    in->limit = 1;
    struct request rq = world_request(w, "");
    const struct rpc *list = node_rpc(world_node(w), "catalog", "ListProducts");
    check(!node_serves_quickly(&rq, list));
    for (int i = 0; i < 3; i++)
        check_text(world_ask(w, "", "catalog", "ListProducts", &in->base, NULL), "");
    check(node_serves_quickly(&rq, list));
    int64_t before = world_events(w, "authz.access_granted", NULL);
    world_restart(w); /* the last counts are told at the end */
    check_int(world_events(w, "authz.access_granted", NULL), before + 1);
    world_free(w);
}

TEST(a_failed_disk_fails_the_answer_and_keeps_nothing)
{
    struct world *w = world_new();
    const char *sku = world_product(w, "lamp", 1000, 5);
    RestockRequest *in = new_restock_request(world_arena(w));
    in->sku = sku;
    in->quantity = 3;
    GetStockRequest *ask = new_get_stock_request(world_arena(w));
    ask->sku = sku;
    /* Jobs run beside us and may meet a failure in our place: it is tried until enough were ours. */
    enum { TRIES_MAX = 400, STATEMENTS = 8, FAILURES = 10 };
    int failures = 0;
    int64_t on_hand = 5;
    for (int i = 0; i < TRIES_MAX && failures < FAILURES; i++) {
        store_fail_at(node_store(world_node(w), "inventory"), i % STATEMENTS + 1);
        const char *code = world_ask(w, "operator", "inventory", "Restock", &in->base, NULL);
        store_fail_at(node_store(world_node(w), "inventory"), 0);
        if (*code)
            check_text(code, "UNAVAILABLE");
        failures += *code != '\0';
        on_hand += *code ? 0 : in->quantity;
        Stock *now = NULL;
        check_text(world_ask(w, "operator", "inventory", "GetStock", &ask->base, &now), "");
        check_int(now->on_hand, on_hand);
    }
    check_int(failures, FAILURES);
    world_free(w);
}
