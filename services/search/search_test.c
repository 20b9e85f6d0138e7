/* What a search finds, and in which order, in a whole Souk. */
#include <sqlite3.h>
#include <stdlib.h>

#include "audit.api.h"
#include "catalog.api.h"
#include "search.api.h"
#include "test/world.h"

static struct world *world;

struct good {
    const char *handle, *title, *description, *category, *tag;
};

static const struct good goods[] = {
    {"scarf", "Silk scarf", "<p>Made of <b>blue</b> silk, cut like a shirt &amp; light.</p>",
     "Accessories", "gift"},
    {"blue-shirt", "Blue shirt", "<p>Cotton.</p>", "Clothing", "summer"},
    {"cap", "Cap", "<p>Warm.</p>", "Clothing", "blue"},
    {"cafe", "Café Crème mug", "<script>blue()</script>For coffee.", "Kitchen", "gift"},
    {"shirt", "White shirt", "<p>Linen.</p>", "Clothing", "summer"},
};
enum { GOODS = sizeof goods / sizeof goods[0] };

static struct arena *
arena(void)
{
    return world_arena(world);
}

static const char *
create(const struct good *good, int64_t price_minor)
{
    NewVariant *variants[2];
    for (int i = 0; i < 2; i++) {
        variants[i] = new_new_variant(arena());
        variants[i]->title = i ? "Large" : "Small";
        variants[i]->price = new_money(arena());
        variants[i]->price->amount = price_minor - i;
        variants[i]->price->currency = "EUR";
        variants[i]->stock = 1;
    }
    const char *tags[] = {good->tag};
    CreateProductRequest *in = new_create_product_request(arena());
    in->handle = good->handle;
    in->title = good->title;
    in->description = good->description;
    in->category = good->category;
    in->tags = tags;
    in->n_tags = 1;
    in->variants = variants;
    in->n_variants = 2;
    Product *product = NULL;
    check_text(world_ask(world, "operator", "catalog", "CreateProduct", &in->base, &product), "");
    return product ? product->id : "";
}

static void
open_world(void)
{
    world = world_new();
    for (int i = 0; i < GOODS; i++)
        create(&goods[i], 1000 * (i + 1));
    world_settle(world);
}

static SearchProductsResponse *
ask(const char *q, int64_t limit)
{
    SearchProductsRequest *in = new_search_products_request(arena());
    in->q = q;
    in->limit = limit;
    SearchProductsResponse *out = new_search_products_response(arena());
    check_text(world_ask(world, "", "search", "SearchProducts", &in->base, &out), "");
    return out;
}

/* The handles that are found, in order. */
static const char *
found(const char *q)
{
    SearchProductsResponse *out = ask(q, 0);
    struct text said = text_in(arena());
    text_add(&said, "");
    for (size_t i = 0; i < out->n_data; i++)
        text_printf(&said, "%s%s", i ? " " : "", out->data[i]->handle);
    return said.bytes;
}

static void
change_title(const char *id, const char *title)
{
    UpdateProductRequest *in = new_update_product_request(arena());
    const char *mask[] = {"title"};
    in->id = id;
    in->title = title;
    in->update_mask = mask;
    in->n_update_mask = 1;
    check_text(world_ask(world, "operator", "catalog", "UpdateProduct", &in->base, NULL), "");
    world_settle(world);
}

static void delete (const char *id)
{
    DeleteProductRequest *in = new_delete_product_request(arena());
    in->id = id;
    check_text(world_ask(world, "operator", "catalog", "DeleteProduct", &in->base, NULL), "");
    world_settle(world);
}

static void
check_replays(void)
{
    ReplayProjectionsRequest *in = new_replay_projections_request(arena());
    ReplayProjectionsResponse *out = new_replay_projections_response(arena());
    check_text(world_ask(world, "operator", "audit", "ReplayProjections", &in->base, &out), "");
    bool seen = false;
    for (size_t i = 0; i < out->n_services; i++)
        if (text_equal(out->services[i]->service, "search")) {
            seen = true;
            check(out->services[i]->equal);
            check(out->services[i]->bytes > 0);
        }
    check(seen);
}

/* FTS5's own comparison of the index with the texts that it was made from. */
static void
check_index(void)
{
    sqlite3 *db = NULL;
    const char *path = arena_printf(arena(), "%s/listeners.db", world_dir(world));
    check_int(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    check_int(sqlite3_exec(db,
                           "INSERT INTO search_index (search_index, rank)"
                           " VALUES ('integrity-check', 1)",
                           NULL, NULL, NULL),
              SQLITE_OK);
    sqlite3_close(db);
}

TEST(titles_come_before_labels_and_labels_before_descriptions)
{
    open_world();
    check_text(found("blue"), "blue-shirt cap scarf");
    check_text(found("shirt"), "shirt blue-shirt scarf");
    check_text(found("blue shirt"), "blue-shirt scarf");
    check_text(found("clothing"), "cap shirt blue-shirt");
    check_text(found("nothing-like-it"), "");
    world_free(world);
}

TEST(the_last_word_may_be_a_beginning_and_accents_do_not_matter)
{
    open_world();
    check_text(found("blu"), "blue-shirt cap scarf");
    check_text(found("b"), "blue-shirt cap scarf");
    check_text(found("BLUE SHI"), "blue-shirt scarf");
    check_text(found("blu shirt"), "");
    check_text(found("cafe creme"), "cafe");
    check_text(found("CAFÉ CRÈME"), "cafe");
    check_text(found("cap-small"), "cap");
    check_text(found("alert"), "");
    world_free(world);
}

TEST(an_answer_has_what_a_page_shows)
{
    open_world();
    SearchProductsResponse *out = ask("light", 0);
    check_int((long long)out->n_data, 1);
    if (out->n_data) {
        check_text(out->data[0]->title, "Silk scarf");
        check_text(out->data[0]->snippet, "Made of blue silk, cut like a shirt & light.");
        check_int(out->data[0]->price->amount, 999);
        check_text(out->data[0]->price->currency, "EUR");
        check(id_valid("prd", out->data[0]->id));
    }
    check_int((long long)ask("blue", 2)->n_data, 2);
    check(ask("blue", 2)->has_more && !ask("blue", 0)->has_more);
    struct http_answer answer = world_http(world, "GET", "/v1/search?q=crem", NULL, NULL);
    check_int(answer.status, 200);
    check(strstr(answer.body, "\"handle\":\"cafe\"") != NULL);
    check_int(world_http(world, "GET", "/v1/search", NULL, NULL).status, 200);
    check_int(world_http(world, "GET", "/v1/search?limit=101", NULL, NULL).status, 400);
    world_free(world);
}

TEST(any_question_is_safe)
{
    static const char *const questions[] = {"",
                                            "   ",
                                            "!!!",
                                            "\"",
                                            "\"\"",
                                            "'",
                                            "*",
                                            "-",
                                            "+",
                                            "^",
                                            "(",
                                            ")",
                                            "a(",
                                            "NEAR(",
                                            "NEAR/2",
                                            "title:",
                                            "title : x",
                                            "AND",
                                            "OR",
                                            "NOT",
                                            "NOT a",
                                            "a AND",
                                            "{title}:x",
                                            "- title:x",
                                            "\xe2\x80\x94",
                                            "\xe2\x80\x94 \xe2\x80\x9c",
                                            "a \xe2\x80\x94",
                                            "\xe2\x80\x94 a",
                                            "\xef\xbc\x8a",
                                            "\xf0\x9f\x98\x80",
                                            "\xcc\x81",
                                            "a\xcc\x81",
                                            "x'; DROP TABLE search_index",
                                            "%",
                                            "_",
                                            "\\",
                                            ":query",
                                            "?1",
                                            "\x01\x02",
                                            "0",
                                            "-1",
                                            "1e9"};
    open_world();
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++)
        ask(questions[i], 0);
    check_int((long long)ask("!?- (\"", 0)->n_data, 0);
    check_int((long long)ask("\xe2\x80\x94", 0)->n_data, 0);
    check_int((long long)ask("shirt \xe2\x80\x94", 0)->n_data, 3);

    static const char *const pieces[] = {"blue", "\"", "*", "(", ")", " ", "OR", ":", "title",
                                         "^",    "-",  "'", "é", "—", "{", "}",  "+", "b"};
    srand(1);
    for (int i = 0; i < 300; i++) {
        struct text q = text_in(arena());
        for (int j = 0; j < 8; j++)
            text_add(&q, pieces[(size_t)rand() % (sizeof pieces / sizeof pieces[0])]);
        ask(q.bytes, 0);
    }
    world_free(world);
}

TEST(a_change_is_found_and_what_is_deleted_is_not)
{
    open_world();
    const struct good good = {"hat", "Green hat", "<p>Felt.</p>", "Clothing", "winter"};
    const char *id = create(&good, 700);
    world_settle(world);
    check_text(found("green"), "hat");
    change_title(id, "Purple hat");
    check_text(found("green"), "");
    check_text(found("purple"), "hat");
    delete (id);
    check_text(found("purple"), "");
    check_text(found("felt"), "");
    check_text(found("blue"), "blue-shirt cap scarf");
    check_replays();
    check_index();
    world_restart(world);
    check_text(found("blue"), "blue-shirt cap scarf");
    world_free(world);
}

/* ---- what is told twice, too late, or to a failing disk ---- */

static void
tell_on_fiber(void *message)
{
    struct request rq = world_request(world, "");
    for (const struct service *const *s = node_services(world_node(world)); *s; s++)
        if (strcmp((*s)->name, "catalog") == 0)
            rq.service = *s;
    struct tx *tx = tx_begin(&rq);
    publish(&rq, tx, &product_updated, message);
    check_int(tx_commit(tx), OK);
    check_int(request_settle(&rq), OK);
}

static void
say_updated(const char *id, const char *title, int64_t version, bool deleted)
{
    static const char *fields[] = {"deleted"};
    ProductUpdated *event = new_product_updated(arena());
    event->product_id = id;
    event->version = version;
    event->changed_fields = fields;
    event->n_changed_fields = deleted;
    event->product = new_product(arena());
    event->product->id = id;
    event->product->handle = title;
    event->product->title = title;
    event->product->version = version;
    world_run(world, "catalog", tell_on_fiber, event);
    world_settle(world);
}

TEST(what_is_told_twice_or_late_changes_nothing)
{
    open_world();
    const char *id = "prd_01000000000000000000000000";
    say_updated(id, "tea", 3, false);
    say_updated(id, "tea", 3, false);
    say_updated(id, "same-tea", 3, false);
    say_updated(id, "old-tea", 2, false);
    check_text(found("tea"), "tea");
    say_updated(id, "", 5, true);
    say_updated(id, "", 5, true);
    say_updated(id, "late-tea", 4, false);
    check_text(found("tea"), "");
    const char *other = "prd_02000000000000000000000000";
    say_updated(other, "", 2, true);
    say_updated(other, "rum", 1, false);
    check_text(found("rum"), "");
    check_replays();
    check_index();
    world_free(world);
}

TEST(a_disk_that_fails_at_any_statement_leaves_the_index_whole)
{
    enum { STATEMENTS = 16 };
    open_world();
    struct store *store = node_store(world_node(world), "search");
    const char *id = "prd_01000000000000000000000000";
    for (int k = 1; k <= STATEMENTS; k++) {
        const char *title = arena_printf(arena(), "tea%d", k);
        store_fail_at(store, k);
        say_updated(id, title, k, false);
        store_fail_at(store, 0);
        world_settle(world);
        check_text(found(title), title);
        check_text(found("tea"), title);
    }
    check_replays();
    check_index();
    world_free(world);
}
