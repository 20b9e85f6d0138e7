/* Catalog in a whole Souk: what merchants make and shoppers see. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "authz.api.h"
#include "catalog.api.h"
#include "catalog/views.h"
#include "catalog/words.h"
#include "inventory.api.h"
#include "test/world.h"

static struct world *world;

/* ---- asking ---- */

static void
open_world(void)
{
    world = world_new();
}

static struct arena *
arena(void)
{
    return world_arena(world);
}

static const char *
ask(const char *service, const char *rpc, const ProtobufCMessage *in, void *ret)
{
    return world_ask(world, "operator", service, rpc, in, ret);
}

static Money *
euros(int64_t amount)
{
    Money *money = new_money(arena());
    money->amount = amount;
    money->currency = "EUR";
    return money;
}

/* A product of one variant for each title. */
static CreateProductRequest *
product_request(const char *title, const char *const *titles, size_t n)
{
    CreateProductRequest *in = new_create_product_request(arena());
    in->title = title;
    in->variants = arena_alloc(arena(), n * sizeof *in->variants);
    in->n_variants = n;
    for (size_t i = 0; i < n; i++) {
        NewVariant *variant = in->variants[i] = new_new_variant(arena());
        variant->title = titles[i];
        variant->price = euros(1000 * ((int64_t)i + 1));
        variant->stock = (int64_t)i + 5;
    }
    return in;
}

static CreateProductRequest *
plain_request(const char *title)
{
    static const char *const none[] = {""};
    return product_request(title, none, 1);
}

static Product *
create(const CreateProductRequest *in)
{
    Product *product = new_product(arena());
    check_text(ask("catalog", "CreateProduct", &in->base, &product), "");
    return product;
}

static const char *
get(const char *id, Product **ret)
{
    GetProductRequest *in = new_get_product_request(arena());
    in->id = id;
    return ask("catalog", "GetProduct", &in->base, ret);
}

static Product *
product_of(const char *id)
{
    Product *product = new_product(arena());
    check_text(get(id, &product), "");
    return product;
}

static int64_t
available(const char *id, const char *sku)
{
    const Product *product = product_of(id);
    for (size_t i = 0; i < product->n_variants; i++)
        if (strcmp(product->variants[i]->sku, sku) == 0)
            return product->variants[i]->available;
    return -1;
}

/* Titles of a page, parted by commas, and "+" if there are more. */
static const char *
list(const char *q, const char *category, int64_t limit, const char *starting_after,
     const char **ret_last)
{
    ListProductsRequest *in = new_list_products_request(arena());
    in->q = q;
    in->category = category;
    in->limit = limit;
    in->starting_after = starting_after;
    ListProductsResponse *out = new_list_products_response(arena());
    check_text(world_ask(world, "", "catalog", "ListProducts", &in->base, &out), "");
    struct text titles = text_in(arena());
    text_add(&titles, "");
    for (size_t i = 0; i < out->n_data; i++)
        text_printf(&titles, "%s%s", i ? "," : "", out->data[i]->title);
    if (out->has_more)
        text_add(&titles, "+");
    if (ret_last)
        *ret_last = out->n_data ? out->data[out->n_data - 1]->id : "";
    return titles.bytes;
}

static const char *
price(const char *const *skus, const int64_t *quantities, size_t n, PriceLinesResponse **ret)
{
    PriceLinesRequest *in = new_price_lines_request(arena());
    in->lines = arena_alloc(arena(), n * sizeof *in->lines);
    in->n_lines = n;
    for (size_t i = 0; i < n; i++) {
        in->lines[i] = new_line(arena());
        in->lines[i]->sku = skus[i];
        in->lines[i]->quantity = quantities[i];
    }
    return ask("catalog", "PriceLines", &in->base, ret);
}

static UpdateProductRequest *
update_request(const char *id, const char **mask, size_t n)
{
    UpdateProductRequest *in = new_update_product_request(arena());
    in->id = id;
    in->update_mask = mask;
    in->n_update_mask = n;
    return in;
}

static const char *
update(const UpdateProductRequest *in, Product **ret)
{
    return ask("catalog", "UpdateProduct", &in->base, ret);
}

static const char *
import_bytes(const void *bytes, size_t n, ImportResponse **ret)
{
    ImportRequest *in = new_import_request(arena());
    in->body.len = n;
    in->body.data = arena_copy(arena(), bytes, n);
    return ask("catalog", "ImportShopify", &in->base, ret);
}

static char *
file_bytes(const char *path, size_t *ret_n)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    struct text text = text_in(arena());
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;)
        text_add_n(&text, part, n);
    fclose(file);
    *ret_n = text.n;
    return text.bytes;
}

/* "products variants created updated skipped" */
static const char *
import_file(const char *path)
{
    size_t n;
    char *bytes = file_bytes(path, &n);
    check(bytes);
    ImportResponse *out = new_import_response(arena());
    if (bytes)
        check_text(import_bytes(bytes, n, &out), "");
    return arena_printf(arena(), "%lld %lld %lld %lld %zu", (long long)out->products,
                        (long long)out->variants, (long long)out->created, (long long)out->updated,
                        out->n_skipped);
}

static const char *
fixture(const char *name)
{
    const char *root = getenv("SOUK_ROOT");
    return arena_printf(arena(), "%s/services/catalog/fixtures/%s", root ? root : ".", name);
}

/* ---- making ---- */

TEST(a_product_can_be_seen_and_bought_at_once)
{
    static const char *const titles[] = {"Small", "Large"};
    open_world();
    Product *product = create(product_request("Größe des Glücks", titles, 2));
    check(id_valid("prd", product->id));
    check_text(product->handle, "grosse-des-glucks");
    check_int(product->version, 1);
    check_int((long long)product->n_variants, 2);
    check_text(product->variants[1]->sku, "grosse-des-glucks-large");
    check_int(product->variants[1]->available, 6);
    check_int(available(product->id, "grosse-des-glucks-small"), 5);
    check_text(product_of("grosse-des-glucks")->id, product->id);

    GetStockRequest *stock_in = new_get_stock_request(arena());
    stock_in->sku = "grosse-des-glucks-large";
    Stock *stock = new_stock(arena());
    check_text(ask("inventory", "GetStock", &stock_in->base, &stock), "");
    check_int(stock->on_hand, 6);

    static const char *skus[] = {"grosse-des-glucks-large", "grosse-des-glucks-small"};
    static const int64_t quantities[] = {2, 1};
    PriceLinesResponse *priced = new_price_lines_response(arena());
    check_text(price(skus, quantities, 2, &priced), "");
    check_int(priced->total ? priced->total->amount : 0, 5000);
    if (priced->n_lines == 2) {
        check_text(priced->lines[0]->title, "Größe des Glücks (Large)");
        check_text(priced->lines[0]->product_id, product->id);
        check_int(priced->lines[0]->total->amount, 4000);
    }
    check_int(world_events(world, "catalog.new_product_added", product->id), 1);
    world_free(world);
}

TEST(a_retried_create_makes_one_product)
{
    open_world();
    CreateProductRequest *in = plain_request("Mug");
    struct request rq = world_request(world, "operator");
    const char *id = rq.id;
    Product *first = new_product(arena()), *second = new_product(arena());
    check_int(world_serve(world, &rq, "catalog", "CreateProduct", &in->base, &first), OK);
    rq = world_request(world, "operator");
    rq.id = id;
    check_int(world_serve(world, &rq, "catalog", "CreateProduct", &in->base, &second), OK);
    check_text(second->id, first->id);
    check_int(world_events(world, "catalog.new_product_added", NULL), 1);
    world_free(world);
}

TEST(names_that_are_taken_are_refused_and_made_ones_numbered)
{
    open_world();
    create(plain_request("Mug"));
    check_text(create(plain_request("Mug"))->variants[0]->sku, "mug-2");
    check_text(product_of("mug-2")->title, "Mug");

    CreateProductRequest *in = plain_request("Mug");
    in->handle = "mug";
    check_text(ask("catalog", "CreateProduct", &in->base, NULL), "handle_taken");
    in->handle = "cup";
    in->variants[0]->sku = "mug";
    check_text(ask("catalog", "CreateProduct", &in->base, NULL), "sku_taken");
    static const char *const twice[] = {"A", "B"};
    in = product_request("Twins", twice, 2);
    in->variants[0]->sku = in->variants[1]->sku = "twin";
    check_text(ask("catalog", "CreateProduct", &in->base, NULL), "sku_taken");
    check_text(get("cup", NULL), "no_such_product");
    world_free(world);
}

TEST(a_product_needs_a_title_a_variant_and_prices_in_the_shops_currency)
{
    open_world();
    check_text(ask("catalog", "CreateProduct", &plain_request("")->base, NULL), "bad_product");
    check_text(ask("catalog", "CreateProduct", &product_request("Mug", NULL, 0)->base, NULL),
               "bad_product");
    CreateProductRequest *in = plain_request("Mug");
    in->variants[0]->price->currency = "USD";
    check_text(ask("catalog", "CreateProduct", &in->base, NULL), "wrong_currency");
    in->variants[0]->price = NULL;
    check_text(ask("catalog", "CreateProduct", &in->base, NULL), "bad_product");
    in = plain_request("Mug");
    static const char *tags[] = {"clay", "two\nlines"};
    in->tags = tags;
    in->n_tags = 2;
    check_text(ask("catalog", "CreateProduct", &in->base, NULL), "bad_product");
    in = plain_request("Mug");
    char *long_text = arena_alloc(arena(), 300001);
    memset(long_text, 'x', 300000);
    in->description = long_text;
    check_text(ask("catalog", "CreateProduct", &in->base, NULL), "product_too_large");
    check_text(list("", "", 0, "", NULL), "");
    world_free(world);
}

/* ---- changing ---- */

TEST(only_what_the_mask_names_is_changed)
{
    open_world();
    CreateProductRequest *new = plain_request("Mug");
    new->vendor = "Potter";
    Product *product = create(new);
    static const char *mask[] = {"title", "description"};
    UpdateProductRequest *in = update_request(product->id, mask, 2);
    in->title = "Large mug";
    in->description = "Holds more.";
    in->vendor = "Nobody";
    Product *changed = new_product(arena());
    check_text(update(in, &changed), "");
    check_text(changed->title, "Large mug");
    check_text(changed->vendor, "Potter");
    check_text(changed->handle, "mug");
    check_text(changed->variants[0]->title, "Large mug");
    check_int(changed->version, 2);
    check_text(update(in, &changed), ""); /* nothing is different */
    check_int(changed->version, 2);
    check_int(world_events(world, "catalog.product_updated", product->id), 1);
    in->title = "";
    check_text(update(in, NULL), "bad_product");
    world_free(world);
}

TEST(a_change_asks_for_the_version_it_was_made_from)
{
    open_world();
    Product *product = create(plain_request("Mug"));
    static const char *mask[] = {"title"};
    UpdateProductRequest *in = update_request(product->id, mask, 1);
    in->title = "Cup";
    in->expected_version = 2;
    check_text(update(in, NULL), "version_mismatch");
    in->expected_version = 1;
    check_text(update(in, NULL), "");
    in->id = "prd_00000000000000000000000000";
    check_text(update(in, NULL), "no_such_product");
    DeleteProductRequest *delete = new_delete_product_request(arena());
    delete->id = product->id;
    delete->expected_version = 1;
    check_text(ask("catalog", "DeleteProduct", &delete->base, NULL), "version_mismatch");
    world_free(world);
}

TEST(variants_are_repriced_added_and_their_stock_asked_for)
{
    open_world();
    Product *product = create(plain_request("Mug"));
    create(plain_request("Cup"));
    static const char *mask[] = {"variants"}, *stock[] = {"stock"}, *prices[] = {"price", "stock"};
    ChangedVariant *known = new_changed_variant(arena()), *new = new_changed_variant(arena());
    known->sku = "mug";
    known->stock = 42;
    known->update_mask = stock;
    known->n_update_mask = 1;
    new->sku = "mug-blue";
    new->title = "Blue";
    new->price = euros(1200);
    new->stock = 3;
    new->update_mask = prices;
    new->n_update_mask = 2;
    ChangedVariant *both[] = {known, new};
    UpdateProductRequest *in = update_request(product->id, mask, 1);
    in->variants = both;
    in->n_variants = 2;
    Product *changed = new_product(arena());
    check_text(update(in, &changed), "");
    check_int((long long)changed->n_variants, 2);
    check_int(available(product->id, "mug-blue"), 3); /* at once */
    world_settle(world);                              /* inventory has heard the request */
    world_settle(world);                              /* and we its answer */
    check_int(available(product->id, "mug"), 42);
    check_int(world_events(world, "catalog.product_stock_updated", "mug"), 1);
    check_int(world_events(world, "catalog.product_stock_updated", "mug-blue"), 0);

    known->price = euros(900);
    known->compare_at_price = euros(1000);
    static const char *repriced[] = {"price", "compare_at_price"};
    known->update_mask = repriced;
    known->n_update_mask = 2;
    in->n_variants = 1;
    check_text(update(in, &changed), "");
    check_int(changed->variants[0]->price->amount, 900);
    check_int(changed->variants[0]->compare_at_price->amount, 1000);
    known->compare_at_price = NULL;
    check_text(update(in, &changed), "");
    check(!changed->variants[0]->compare_at_price);

    new->sku = "cup";
    both[0] = new;
    check_text(update(in, NULL), "sku_taken");
    new->sku = "mug-red";
    new->price = NULL;
    check_text(update(in, NULL), "bad_product");
    world_free(world);
}

TEST(an_image_is_added_once)
{
    open_world();
    Product *product = create(plain_request("Mug"));
    AddImageRequest *in = new_add_image_request(arena());
    in->id = product->id;
    in->url = "https://images.example.org/mug.jpg";
    in->alt = "A mug";
    check_text(ask("catalog", "AddImage", &in->base, &product), "");
    check_text(ask("catalog", "AddImage", &in->base, &product), "");
    check_int((long long)product->n_images, 1);
    check_text(product->images[0]->alt, "A mug");
    check_int(product->version, 2);
    world_free(world);
}

TEST(what_is_taken_off_sale_is_gone_and_its_names_are_free)
{
    open_world();
    Product *product = create(plain_request("Mug"));
    DeleteProductRequest *in = new_delete_product_request(arena());
    in->id = product->id;
    check_text(ask("catalog", "DeleteProduct", &in->base, NULL), "");
    check_text(get(product->id, NULL), "no_such_product");
    check_text(get("mug", NULL), "no_such_product");
    check_text(list("", "", 0, "", NULL), "");
    check_text(list("mug", "", 0, "", NULL), "");
    static const char *skus[] = {"mug"};
    static const int64_t quantities[] = {1};
    check_text(price(skus, quantities, 1, NULL), "no_such_sku");
    check_text(ask("catalog", "DeleteProduct", &in->base, NULL), "no_such_product");
    Product *again = create(plain_request("Mug"));
    check(strcmp(again->id, product->id) != 0);
    check_text(again->variants[0]->sku, "mug");
    check_int(again->variants[0]->available, 5); /* the stock was there all the time */
    world_free(world);
}

/* ---- looking ---- */

TEST(a_list_goes_newest_first_page_by_page)
{
    open_world();
    static const char *const titles[] = {"One", "Two", "Three", "Four", "Five"};
    for (int i = 0; i < 5; i++) {
        create(plain_request(titles[i]));
        usleep(2000); /* ids sort by the millisecond */
    }
    const char *last;
    check_text(list("", "", 2, "", &last), "Five,Four+");
    check_text(list("", "", 2, last, &last), "Three,Two+");
    check_text(list("", "", 2, last, &last), "One");
    check_text(list("", "", 2, last, &last), "");
    check_text(list("", "", 5, "", NULL), "Five,Four,Three,Two,One");
    world_free(world);
}

TEST(a_list_has_each_products_own_variants_and_images)
{
    open_world();
    static const char *const sizes[] = {"S", "M", "L"};
    for (int i = 0; i < 4; i++) {
        CreateProductRequest *in =
            product_request(arena_printf(arena(), "Shirt %d", i), sizes, (size_t)i % 3 + 1);
        Image *image = new_image(arena());
        image->url = arena_printf(arena(), "https://images.example.org/%d.jpg", i);
        in->images = arena_copy(arena(), &image, sizeof image);
        in->n_images = i == 1 ? 0 : 1;
        static const char *tags[] = {"cotton", "shirt"};
        in->tags = tags;
        in->n_tags = 2;
        create(in);
    }
    static const char *const questions[] = {"", "shirt"};
    for (int q = 0; q < 2; q++) {
        ListProductsRequest *in = new_list_products_request(arena());
        in->q = questions[q];
        ListProductsResponse *out = new_list_products_response(arena());
        check_text(ask("catalog", "ListProducts", &in->base, &out), "");
        check_int((long long)out->n_data, 4);
        for (size_t i = 0; i < out->n_data; i++) {
            const Product *listed = out->data[i], *whole = product_of(listed->id);
            size_t size = protobuf_c_message_get_packed_size(&whole->base);
            uint8_t *one = arena_alloc(arena(), size), *other = arena_alloc(arena(), size);
            check_int((long long)protobuf_c_message_get_packed_size(&listed->base),
                      (long long)size);
            protobuf_c_message_pack(&whole->base, one);
            protobuf_c_message_pack(&listed->base, other);
            check(memcmp(one, other, size) == 0);
        }
    }
    world_free(world);
}

TEST(a_search_finds_what_has_all_words)
{
    open_world();
    CreateProductRequest *in = plain_request("Blue Shirt");
    in->category = "Shirts";
    in->vendor = "Ærø Weavers";
    create(in);
    in = plain_request("Red Shirt 100%");
    in->category = "Shirts";
    static const char *tags[] = {"summer_sale"};
    in->tags = tags;
    in->n_tags = 1;
    create(in);
    create(plain_request("Blue Mug"));
    static const struct {
        const char *q, *category, *found;
    } cases[] = {
        {"blue shirt", "", "Blue Shirt"},
        {"SHIRT", "", "Red Shirt 100%,Blue Shirt"},
        {"", "Shirts", "Red Shirt 100%,Blue Shirt"},
        {"blue", "Shirts", "Blue Shirt"},
        {"ærØ", "", "Blue Shirt"},
        {"100%", "", "Red Shirt 100%"},
        {"r_d", "", ""},
        {"summer_sale", "", "Red Shirt 100%"},
        {"%", "", "Red Shirt 100%"},
        {"' OR 1=1 --", "", ""},
        {"shirt mug", "", ""},
        {"", "Mugs", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *found = list(cases[i].q, cases[i].category, 0, "", NULL);
        /* Made within a millisecond, two may stand either way. */
        if (!strchr(cases[i].found, ',') || strlen(found) != strlen(cases[i].found))
            check_text(found, cases[i].found);
    }
    world_free(world);
}

TEST(lines_that_are_not_for_sale_are_named)
{
    open_world();
    create(plain_request("Mug"));
    PriceLinesRequest *in = new_price_lines_request(arena());
    Line *lines[3];
    for (int i = 0; i < 3; i++) {
        lines[i] = new_line(arena());
        lines[i]->quantity = 1;
    }
    lines[0]->sku = "mug";
    lines[1]->sku = "no-mug";
    lines[2]->ticket_type_id = "ttp_00000000000000000000000000";
    in->lines = lines;
    in->n_lines = 3;
    struct request rq = world_request(world, "operator");
    world_serve(world, &rq, "catalog", "PriceLines", &in->base, NULL);
    check(rq.reason == &CATALOG_NO_SUCH_SKU);
    check_int((long long)rq.n_violations, 2);
    check_text(rq.violations[0].pointer, "/lines/1/sku");
    check_text(rq.violations[1].pointer, "/lines/2/ticket_type_id");
    in->n_lines = 1;
    lines[0]->quantity = 0;
    check_text(ask("catalog", "PriceLines", &in->base, NULL), "bad_line");
    lines[0]->quantity = INT64_C(1) << 45;
    check_text(ask("catalog", "PriceLines", &in->base, NULL), "total_too_large");
    world_free(world);
}

TEST(what_is_available_follows_inventory)
{
    open_world();
    Product *product = create(plain_request("Mug"));
    SetStockRequest *in = new_set_stock_request(arena());
    in->sku = "mug";
    in->on_hand = 77;
    check_text(ask("inventory", "SetStock", &in->base, NULL), "");
    world_settle(world);
    check_int(available(product->id, "mug"), 77);
    world_restart(world);
    check_int(available(product->id, "mug"), 77);
    world_free(world);
}

static const struct service *
service_named(const char *name)
{
    const struct service *const *s = node_services(world_node(world));
    while (*s && strcmp((*s)->name, name) != 0)
        s++;
    return *s;
}

static void
tell_old_stock(void *arg)
{
    struct request rq = world_request(world, "");
    rq.service = service_named("inventory");
    struct tx *tx = tx_begin(&rq);
    publish(&rq, tx, &stock_updated, arg);
    check_int(tx_commit(tx), OK);
    check_int(request_settle(&rq), OK);
}

TEST(an_older_word_of_inventory_never_replaces_a_newer_one)
{
    open_world();
    Product *product = create(plain_request("Mug"));
    StockUpdated *event = new_stock_updated(arena());
    event->sku = "mug";
    event->available = 1000;
    event->version = 1; /* the answer that made the product said this version too */
    world_run(world, "inventory", tell_old_stock, event);
    world_settle(world);
    check_int(available(product->id, "mug"), 5);
    world_free(world);
}

static void
replay_catalog(void *arg)
{
    struct request rq = world_request(world, "operator");
    rq.service = service_named("catalog");
    check_int(node_replay(&rq, rq.service, arg), OK);
}

TEST(a_replay_of_the_journal_makes_the_same_availability)
{
    open_world();
    check_text(import_file(fixture("potter.csv")), "4 8 4 0 0");
    create(plain_request("Mug"));
    for (int64_t on_hand = 9; on_hand > 3; on_hand--) {
        SetStockRequest *in = new_set_stock_request(arena());
        in->sku = "mug";
        in->on_hand = on_hand;
        check_text(ask("inventory", "SetStock", &in->base, NULL), "");
    }
    world_settle(world);
    struct replayed replayed = {0};
    world_run(world, "catalog", replay_catalog, &replayed);
    check(replayed.equal && replayed.bytes > 0);
    world_free(world);
}

static void
tell_views(void *arg)
{
    (void)arg;
    struct request rq = world_request(world, "");
    rq.caller.kind = CALLER_SERVICE;
    rq.service = service_named("catalog");
    check_int(views_tell(&rq), OK);
    check_int(request_settle(&rq), OK);
}

static const char *
account(const char *role)
{
    AssignRoleRequest *in = new_assign_role_request(arena());
    in->user_id = id_make(arena(), "usr", SECOND_US);
    in->role = role;
    check_text(ask("authz", "AssignRole", &in->base, NULL), "");
    return in->user_id;
}

TEST(what_shoppers_look_at_is_told_in_batches)
{
    open_world();
    const char *customer = account("customer"), *merchant = account("admin");
    Product *mug = create(plain_request("Mug")), *cup = create(plain_request("Cup"));
    GetProductRequest *in = new_get_product_request(arena());
    for (int i = 0; i < 7; i++) {
        in->id = i < 5 ? mug->id : "cup";
        check_text(world_ask(world, "", "catalog", "GetProduct", &in->base, NULL), "");
    }
    in->id = mug->id;
    check_text(world_ask(world, customer, "catalog", "GetProduct", &in->base, NULL), "");
    check_text(world_ask(world, merchant, "catalog", "GetProduct", &in->base, NULL), "");
    product_of(mug->id); /* like a merchant's, an operator's look does not count */
    world_run(world, "catalog", tell_views, NULL);
    int64_t viewed = 0, viewed_by_customer = 0;
    struct tx_scope scope = {.arena = arena()};
    struct event *events;
    size_t n = 0;
    check_int(bus_read(node_bus(world_node(world)), &scope, 0, "catalog.product_viewed", NULL, 100,
                       &events, &n),
              OK);
    for (size_t i = 0; i < n; i++) {
        ProductViewed *event = (ProductViewed *)protobuf_c_message_unpack(
            DESCRIPTOR_OF_ProductViewed, NULL, events[i].data.len, events[i].data.data);
        check_text(event->name, strcmp(event->product_id, cup->id) == 0 ? "Cup" : "Mug");
        viewed += event->count;
        check(strcmp(event->viewer, merchant) != 0);
        viewed_by_customer += strcmp(event->viewer, customer) == 0 ? event->count : 0;
        protobuf_c_message_free_unpacked(&event->base, NULL);
    }
    check_int(viewed, 8);
    check_int(viewed_by_customer, 1);
    world_free(world);
}

/* ---- importing ---- */

TEST(an_imported_file_is_for_sale_at_once_and_a_repeated_one_changes_nothing)
{
    open_world();
    check_text(import_file(fixture("potter.csv")), "4 8 4 0 0");
    check_int(available("stoneware-bowl", "stoneware-bowl-small"), 4);
    static const char *salt_pig[] = {"salt-pig"};
    static const int64_t once[] = {1};
    PriceLinesResponse *priced = new_price_lines_response(arena());
    check_text(price(salt_pig, once, 1, &priced), "");
    check_int(priced->total ? priced->total->amount : -1, 3200);
    check_text(list("apron", "", 0, "", NULL), "Linen Apron");

    SetStockRequest *in = new_set_stock_request(arena());
    in->sku = "stoneware-bowl-small";
    in->on_hand = 1;
    check_text(ask("inventory", "SetStock", &in->base, NULL), "");
    world_settle(world);
    int64_t events = world_events(world, NULL, NULL);
    check_text(import_file(fixture("potter.csv")), "4 8 0 0 0");
    world_settle(world);
    check_int(world_events(world, NULL, NULL), events);
    check_int(available("stoneware-bowl", "stoneware-bowl-small"), 1);
    check_int(product_of("stoneware-bowl")->version, 1);
    world_free(world);
}

TEST(a_changed_file_changes_what_is_different_and_adds_what_is_new)
{
    static const char before[] = "Handle,Title,Option1 Value,Variant Price,Variant Inventory Qty\n"
                                 "mug,Mug,Red,10,5\nmug,,Blue,11,6\ncup,Cup,,9,4\n";
    static const char after[] = "Handle,Title,Option1 Value,Variant Price,Variant Inventory Qty\n"
                                "mug,Great Mug,Red,12,50\nmug,,Green,13,7\ncup,Cup,,9,40\n";
    open_world();
    ImportResponse *out = new_import_response(arena());
    check_text(import_bytes(before, sizeof before - 1, &out), "");
    check_int(out->created, 2);
    check_text(import_bytes(after, sizeof after - 1, &out), "");
    check_int(out->products, 2);
    check_int(out->variants, 3);
    check_int(out->created, 0);
    check_int(out->updated, 1);
    Product *mug = product_of("mug");
    check_text(mug->title, "Great Mug");
    check_int(mug->version, 2);
    check_int((long long)mug->n_variants, 3);
    check_int(mug->variants[0]->price->amount, 1200);
    check_int(mug->variants[0]->available, 5);
    check_int(mug->variants[1]->price->amount, 1100);
    check_text(mug->variants[2]->sku, "mug-green");
    check_int(mug->variants[2]->available, 7);
    check_int(product_of("cup")->version, 1);
    world_free(world);
}

TEST(bad_rows_are_named_and_a_bad_file_is_refused_whole)
{
    open_world();
    check_text(import_file(fixture("nasty.csv")), "2 3 2 0 15");
    static const char bad[] = "Handle,Title,Variant Price\na,Apple,1\nb,Bre\"ad,1\n";
    ImportRequest *in = new_import_request(arena());
    in->body.len = sizeof bad - 1;
    in->body.data = arena_copy(arena(), bad, sizeof bad);
    struct request rq = world_request(world, "operator");
    check_int(world_serve(world, &rq, "catalog", "ImportShopify", &in->base, NULL),
              INVALID_ARGUMENT);
    check(rq.reason == &CATALOG_BAD_FILE);
    check_text(rq.message, "line 3: a quote in the middle of a cell");
    check_text(get("a", NULL), "no_such_product");
    world_free(world);
}

TEST(a_made_sku_that_another_product_has_is_numbered_and_a_given_one_refused)
{
    static const char file[] = "Handle,Title,Option1 Value,Variant SKU,Variant Price\n"
                               "a,A,b,,1\na-b,AB,,,2\nc,C,,A-B,3\nc,,Blue,,4\n";
    open_world();
    ImportResponse *out = new_import_response(arena());
    for (int i = 0; i < 2; i++) { /* the same skus when repeated */
        check_text(import_bytes(file, sizeof file - 1, &out), "");
        check_text(product_of("a")->variants[0]->sku, "a-b");
        check_text(product_of("a-b")->variants[0]->sku, "a-b-2");
        check_int((long long)product_of("c")->n_variants, 1);
        check_int((long long)out->n_skipped, 1);
        if (out->n_skipped) {
            check_int(out->skipped[0]->line, 4);
            check_text(out->skipped[0]->reason, "its sku a-b is one of product a");
        }
    }
    check_int(out->updated, 0);
    world_free(world);
}

TEST(the_real_exports_are_imported_as_they_are)
{
    open_world();
    const char *shared = getenv("SOUK_SHARED"), *root = getenv("SOUK_ROOT");
    const char *folder =
        shared ? arena_printf(arena(), "%s/data/shopify", shared)
               : arena_printf(arena(), "%s/../shared/data/shopify", root ? root : ".");
    if (access(folder, R_OK) == 0) {
        check_text(import_file(arena_printf(arena(), "%s/apparel.csv", folder)), "20 22 20 0 0");
        check_text(import_file(arena_printf(arena(), "%s/jewelery.csv", folder)), "20 23 20 0 0");
        check_text(import_file(arena_printf(arena(), "%s/apparel.csv", folder)), "20 22 0 0 0");
        check_int(available("leather-anchor", "leather-anchor-gold"), 1);
        check_int(available("leather-anchor", "leather-anchor-silver"), 0);
        check_int((long long)product_of("leather-anchor")->n_images, 3);
        world_settle(world);
        check_int(world_events(world, "catalog.new_product_added", NULL), 40);
        check_int(world_events(world, "inventory.stock_updated", NULL), 45);
    }
    world_free(world);
}

TEST(the_demo_goods_are_taken_without_a_complaint)
{
    open_world();
    const char *root = getenv("SOUK_ROOT");
    check_text(import_file(arena_printf(arena(), "%s/app/demo_goods.csv", root ? root : ".")),
               "24 49 24 0 0");
    world_free(world);
}

/* ---- when the disk fails ---- */

TEST(a_disk_that_fails_at_any_statement_leaves_no_half_product)
{
    enum { STATEMENTS = 60 };
    open_world();
    struct store *store = node_store(world_node(world), "catalog");
    static const char *const titles[] = {"Small", "Large"};
    bool failed = false;
    for (int k = 1; k <= STATEMENTS; k++) {
        const char *title = arena_printf(arena(), "Mug %d", k);
        struct request rq = world_request(world, "operator");
        const char *id = rq.id;
        CreateProductRequest *in = product_request(title, titles, 2);
        Product *product = new_product(arena());
        store_fail_at(store, k);
        enum status st = world_serve(world, &rq, "catalog", "CreateProduct", &in->base, &product);
        store_fail_at(store, 0);
        failed = failed || st;
        if (st) { /* what came of it is whole or nothing, and a retry makes it whole */
            Product *found = NULL;
            if (get(slug_make(arena(), title, HANDLE_CHARS_MAX), &found)[0] == '\0')
                check_int((long long)found->n_variants, 2);
            rq = world_request(world, "operator");
            rq.id = id;
            st = world_serve(world, &rq, "catalog", "CreateProduct", &in->base, &product);
        }
        check_int(st, OK);
        check_int((long long)product->n_variants, 2);
        check_int(available(product->id, product->variants[1]->sku), 6);
        check_int(world_events(world, "catalog.new_product_added", product->id), 1);
    }
    check(failed);
    world_free(world);
}

TEST(a_disk_that_fails_at_any_statement_of_an_import_leaves_what_a_repeated_one_completes)
{
    enum { STATEMENTS = 150, STEP = 7 };
    open_world();
    struct store *store = node_store(world_node(world), "catalog");
    bool failed = false;
    for (int k = 1; k <= STATEMENTS; k += STEP) {
        struct text file = text_in(arena());
        text_add(&file, "Handle,Title,Option1 Value,Variant Price,Variant Inventory Qty\n");
        for (int i = 0; i < 25; i++)
            text_printf(&file, "k%d-%d,Thing,Red,10,3\nk%d-%d,,Blue,11,4\n", k, i, k, i);
        ImportResponse *out = new_import_response(arena());
        store_fail_at(store, k);
        failed = import_bytes(file.bytes, file.n, &out)[0] || failed;
        store_fail_at(store, 0);
        check_text(import_bytes(file.bytes, file.n, &out), "");
        check_int(out->products, 25);
        check_int(out->variants, 50);
        world_settle(world);
        for (int i = 0; i < 25; i += 6) {
            const char *handle = arena_printf(arena(), "k%d-%d", k, i);
            const Product *product = product_of(handle);
            check_int(product->version, 1);
            check_int(available(handle, arena_printf(arena(), "%s-blue", handle)), 4);
            check_int(world_events(world, "catalog.new_product_added", product->id), 1);
        }
    }
    check(failed);
    world_free(world);
}
