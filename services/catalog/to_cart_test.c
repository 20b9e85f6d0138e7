/* Catalog's word for a cart: what a line costs, whether it can be had, and the event that says so.
 */
#include "cart.api.h"
#include "catalog.api.h"
#include "test/world.h"

static struct world *world;

static struct arena *
arena(void)
{
    return world_arena(world);
}

static const char *
validate(const char *sku, int64_t quantity, int64_t in_cart, PricedLine **ret)
{
    ValidateLineRequest *in = new_validate_line_request(arena());
    in->sku = sku;
    in->quantity = quantity;
    in->in_cart = in_cart;
    return world_ask(world, "operator", "catalog", "ValidateLine", &in->base, ret);
}

TEST(a_line_for_a_cart_has_its_price_and_must_be_available)
{
    static const struct {
        const char *sku;
        int64_t quantity, in_cart;
        const char *code;
        int64_t total;
    } cases[] = {
        {"", 1, 0, "no_such_sku", 0},         {"nothing", 1, 0, "no_such_sku", 0},
        {"lamp", 0, 0, "bad_line", 0},        {"lamp", 1001, 0, "bad_line", 0},
        {"lamp", 1, -1, "bad_line", 0},       {"lamp", 5, 0, "", 21495},
        {"lamp", 6, 0, "out_of_stock", 0},    {"lamp", 2, 3, "", 8598},
        {"lamp", 3, 3, "out_of_stock", 0},    {"dear", 1, 0, "", INT64_C(9007199254740000)},
        {"dear", 2, 0, "total_too_large", 0}, {"dear", 1, 1, "total_too_large", 0},
    };
    world = world_new();
    const char *lamp = world_product(world, "lamp", 4299, 5);
    const char *dear = world_product(world, "dear", INT64_C(9007199254740000), 5);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *sku = text_equal(cases[i].sku, "lamp")   ? lamp
                          : text_equal(cases[i].sku, "dear") ? dear
                                                             : cases[i].sku;
        PricedLine *line = NULL;
        check_text(validate(sku, cases[i].quantity, cases[i].in_cart, &line), cases[i].code);
        if (line) {
            check_text(line->sku, sku);
            check_int(line->quantity, cases[i].quantity);
            check_int(line->total->amount, cases[i].total);
            check(!text_empty(line->title));
        }
    }
    world_free(world);
}

TEST(a_refusal_says_what_is_left)
{
    world = world_new();
    ValidateLineRequest *in = new_validate_line_request(arena());
    in->sku = world_product(world, "lamp", 4299, 5);
    in->quantity = 6;
    struct request rq = world_request(world, "operator");
    PricedLine *line;
    world_serve(world, &rq, "catalog", "ValidateLine", &in->base, &line);
    check(rq.reason == &CATALOG_OUT_OF_STOCK);
    check_int((long long)rq.n_violations, 1);
    check_text(rq.violations[0].pointer, "/quantity");
    check_int(rq.violations[0].remaining, 5);
    world_free(world);
}

TEST(what_is_added_to_a_cart_is_told_and_what_is_refused_is_not)
{
    world = world_new();
    AddToCartRequest *in = new_add_to_cart_request(arena());
    in->cart_id = id_make(arena(), "crt", 1);
    in->command_id = id_make(arena(), "cmd", 1);
    in->sku = world_product(world, "lamp", 4299, 5);
    in->quantity = 6;
    PricedLine *line = NULL;
    check_text(world_ask(world, "operator", "catalog", "AddToCart", &in->base, &line),
               "out_of_stock");
    check_int(world_events(world, "catalog.product_added_to_cart", in->cart_id), 0);
    in->quantity = 5;
    check_text(world_ask(world, "operator", "catalog", "AddToCart", &in->base, &line), "");
    check_int(world_events(world, "catalog.product_added_to_cart", in->cart_id), 1);
    check_int(line->total->amount, 21495);
    in->cart_id = "crt_nonsense";
    check_text(world_ask(world, "operator", "catalog", "AddToCart", &in->base, &line), "bad_line");
    in->cart_id = id_make(arena(), "crt", 1);
    in->command_id = "";
    check_text(world_ask(world, "operator", "catalog", "AddToCart", &in->base, &line), "bad_line");
    world_free(world);
}

TEST(lines_that_are_not_for_sale_can_be_left_out_of_a_price)
{
    world = world_new();
    const char *const skus[] = {world_product(world, "lamp", 4299, 5), "gone",
                                world_product(world, "chair", 1000, 5)};
    PriceLinesRequest *in = new_price_lines_request(arena());
    in->lines = arena_alloc(arena(), 3 * sizeof *in->lines);
    for (in->n_lines = 0; in->n_lines < 3; in->n_lines++) {
        in->lines[in->n_lines] = new_line(arena());
        in->lines[in->n_lines]->sku = skus[in->n_lines];
        in->lines[in->n_lines]->quantity = 2;
    }
    PriceLinesResponse *out = NULL;
    check_text(world_ask(world, "operator", "catalog", "PriceLines", &in->base, &out),
               "no_such_sku");
    in->leave_out = true;
    check_text(world_ask(world, "operator", "catalog", "PriceLines", &in->base, &out), "");
    check_int((long long)out->n_lines, 2);
    check_text(out->lines[1]->sku, skus[2]);
    check_int(out->total->amount, 10598);
    in->lines += 1;
    in->n_lines = 1;
    check_text(world_ask(world, "operator", "catalog", "PriceLines", &in->base, &out), "");
    check_int((long long)out->n_lines, 0);
    check_int(out->total->amount, 0);
    world_free(world);
}
