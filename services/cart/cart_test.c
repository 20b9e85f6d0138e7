/* Carts in a whole Souk: commands that come twice, events alone, a disk that fails. */
#include "auth.api.h"
#include "cart.api.h"
#include "catalog.api.h"
#include "gateway.api.h"
#include "inventory.api.h"
#include "orders.api.h"
#include "test/world.h"

static struct world *world;
static const char *sku;

static struct arena *
arena(void)
{
    return world_arena(world);
}

static void
open_world(int64_t stock)
{
    world = world_new();
    sku = world_product(world, "lamp", 4299, stock);
}

static ShoppingCart *
make_cart(const char *who)
{
    ShoppingCart *cart = new_shopping_cart(arena());
    check_text(
        world_ask(world, who, "cart", "CreateCart", &new_create_cart_request(arena())->base, &cart),
        "");
    return cart;
}

static ShoppingCart *
see(const char *who, const char *id)
{
    GetCartRequest *in = new_get_cart_request(arena());
    in->id = id;
    ShoppingCart *cart = new_shopping_cart(arena());
    check_text(world_ask(world, who, "cart", "GetCart", &in->base, &cart), "");
    return cart;
}

static int64_t
quantity_in(const char *who, const char *id)
{
    const ShoppingCart *cart = see(who, id);
    return cart->n_lines ? cart->lines[0]->quantity : 0;
}

/* As the gateway adds: both services asked for one request. */
static const char *
add(const char *who, const char *id, int64_t quantity)
{
    AddCartLineBody *in = new_add_cart_line_body(arena());
    in->id = id;
    in->sku = sku;
    in->quantity = quantity;
    ShoppingCart *cart;
    return world_ask(world, who, "gateway", "AddCartLine", &in->base, &cart);
}

/* As it is added by events alone: catalog tells, cart hears. */
static const char *
add_by_event(const char *id, const char *command_id, const char *user_id, int64_t quantity)
{
    AddToCartRequest *in = new_add_to_cart_request(arena());
    in->cart_id = id;
    in->command_id = command_id;
    in->user_id = user_id;
    in->sku = sku;
    in->quantity = quantity;
    PricedLine *line;
    const char *code = world_ask(world, "operator", "catalog", "AddToCart", &in->base, &line);
    world_settle(world);
    return code;
}

static const char *
add_by_rpc(const char *id, const char *command_id, const char *user_id, int64_t quantity)
{
    AddLineRequest *in = new_add_line_request(arena());
    in->cart_id = id;
    in->command_id = command_id;
    in->user_id = user_id;
    ValidateLineRequest *line = new_validate_line_request(arena());
    line->sku = sku;
    line->quantity = quantity;
    check_text(world_ask(world, "operator", "catalog", "ValidateLine", &line->base, &in->line), "");
    ShoppingCart *cart;
    return world_ask(world, "operator", "cart", "AddLine", &in->base, &cart);
}

static const char *
begin(const char *id, const char *checkout_id, ShoppingCart **ret)
{
    BeginCheckoutRequest *in = new_begin_checkout_request(arena());
    in->cart_id = id;
    in->checkout_id = checkout_id;
    return world_ask(world, "operator", "cart", "BeginCheckout", &in->base, ret);
}

static void
end(const char *id, const char *checkout_id, const char *order_id)
{
    EndCheckoutRequest *in = new_end_checkout_request(arena());
    in->cart_id = id;
    in->checkout_id = checkout_id;
    in->order_id = order_id;
    Empty *done;
    check_text(world_ask(world, "operator", "cart", "EndCheckout", &in->base, &done), "");
}

static int64_t
updates_of(const char *id)
{
    return world_events(world, "cart.cart_updated", id);
}

static const char *
new_id(const char *prefix)
{
    return id_make(arena(), prefix, 1);
}

/* ---- telling, as other services do ---- */

struct told {
    const char *publisher;
    const struct topic *topic;
    const ProtobufCMessage *message;
};

static void
tell_on_fiber(void *arg)
{
    const struct told *told = arg;
    struct request rq = world_request(world, "");
    for (const struct service *const *s = node_services(world_node(world)); *s; s++)
        if (strcmp((*s)->name, told->publisher) == 0)
            rq.service = *s;
    struct tx *tx = tx_begin(&rq);
    publish(&rq, tx, told->topic, told->message);
    check_int(tx_commit(tx), OK);
    check_int(request_settle(&rq), OK);
}

static void
tell(const char *publisher, const struct topic *topic, const ProtobufCMessage *message)
{
    struct told told = {publisher, topic, message};
    world_run(world, publisher, tell_on_fiber, &told);
    world_settle(world);
}

static void
say_ordered(const char *cart_id, const char *checkout_id, const char *order_id)
{
    OrderCreated *event = new_order_created(arena());
    event->order_id = order_id;
    event->checkout_id = checkout_id;
    event->cart_id = cart_id;
    event->charged_by_rpc = true;
    event->reservation_id = arena_printf(arena(), "reservation-of-%s", order_id);
    tell("orders", &order_created, &event->base);
}

/* ---- commands ---- */

TEST(a_command_counts_once_whichever_way_it_comes_first_and_however_often)
{
    open_world(100);
    const char *id = make_cart("")->id;
    const char *first = new_id("cmd"), *second = new_id("cmd");
    check_text(add_by_event(id, first, "", 2), "");
    check_int(quantity_in("", id), 2);
    check_text(add_by_rpc(id, first, "", 2), "");
    check_text(add_by_event(id, first, "", 2), "");
    check_int(quantity_in("", id), 2);
    check_text(add_by_rpc(id, second, "", 3), "");
    check_text(add_by_event(id, second, "", 3), "");
    check_text(add_by_event(id, second, "", 3), "");
    check_int(quantity_in("", id), 5);
    check_int(see("", id)->version, 3);
    check_int(updates_of(id), 2);
    world_free(world);
}

TEST(a_command_that_was_refused_stays_refused)
{
    open_world(5000);
    const char *id = make_cart("")->id, *refused = new_id("cmd");
    check_text(add("", id, 600), "");
    check_text(add_by_rpc(id, refused, "", 500), "quantity_too_large");
    RemoveLineRequest *in = new_remove_line_request(arena());
    in->id = id;
    in->sku = sku;
    ShoppingCart *cart;
    check_text(world_ask(world, "", "cart", "RemoveLine", &in->base, &cart), "");
    check_text(add_by_rpc(id, refused, "", 500), "quantity_too_large");
    check_text(add_by_event(id, refused, "", 500), "");
    check_int(quantity_in("", id), 0);
    check_int((long long)see("", id)->n_refused, 0); /* whoever asked was told */
    world_free(world);
}

TEST(a_command_that_is_refused_with_nobody_waiting_is_shown_by_the_cart)
{
    enum { COMMANDS = 7, SHOWN = 5 };
    open_world(5000);
    const char *id = make_cart("")->id;
    check_text(add("", id, 1000), "");
    for (int i = 1; i <= COMMANDS; i++)
        check_text(add_by_event(id, new_id("cmd"), "", i), "");
    const ShoppingCart *cart = see("", id);
    check_int(cart->version, 2);
    check_int((long long)cart->n_refused, SHOWN);
    for (size_t i = 0; i < cart->n_refused; i++) {
        check_text(cart->refused[i]->code, "quantity_too_large");
        check_text(cart->refused[i]->sku, sku);
        check_int(cart->refused[i]->quantity, COMMANDS - (int)i);
    }
    world_free(world);
}

TEST(an_event_adds_to_no_cart_of_another)
{
    open_world(100);
    const char *ada = world_staff(world, "ada@example.org", "admin");
    const char *bob = world_staff(world, "bob@example.org", "admin");
    const char *id = make_cart(ada)->id;
    check_text(add_by_event(id, new_id("cmd"), bob, 1), "");
    check_text(add_by_event(id, new_id("cmd"), "", 1), "");
    check_text(add_by_event(new_id("crt"), new_id("cmd"), "", 1), "");
    check_text(add_by_rpc(id, new_id("cmd"), bob, 1), "no_such_cart");
    check_int(quantity_in(ada, id), 0);
    check_int((long long)see(ada, id)->n_refused, 0);
    check_text(add_by_event(id, new_id("cmd"), ada, 1), "");
    check_int(quantity_in(ada, id), 1);
    world_free(world);
}

TEST(a_line_without_a_price_or_a_commands_id_is_refused)
{
    open_world(5);
    const char *id = make_cart("")->id;
    check_text(add_by_rpc(id, "", "", 1), "bad_command");
    check_text(add_by_rpc(id, "cmd_1", "", 1), "bad_command");
    AddLineRequest *in = new_add_line_request(arena());
    in->cart_id = id;
    in->command_id = new_id("cmd");
    ShoppingCart *cart;
    check_text(world_ask(world, "operator", "cart", "AddLine", &in->base, &cart), "bad_command");
    check_int(see("", id)->version, 1);
    world_free(world);
}

/* ---- checkout ---- */

TEST(a_cart_that_is_being_ordered_takes_no_change_until_that_ends)
{
    open_world(100);
    const char *id = make_cart("")->id, *mine = new_id("chk"), *other = new_id("chk");
    ShoppingCart *cart = NULL;
    check_text(begin(id, mine, &cart), "cart_empty");
    check_text(add("", id, 2), "");
    check_text(begin(id, mine, &cart), "");
    check_int(cart->total->amount, 8598);
    check_text(begin(id, mine, &cart), "");
    check_text(begin(id, other, &cart), "in_checkout");
    check_text(add("", id, 1), "in_checkout");
    check_text(add_by_event(id, new_id("cmd"), "", 1), "");
    check_int(quantity_in("", id), 2);
    check_text(see("", id)->refused[0]->code, "in_checkout");
    end(id, other, "");
    check_text(add("", id, 1), "in_checkout");
    end(id, mine, "");
    check_text(add("", id, 1), "");
    check_text(begin(id, other, &cart), "");
    check_int(cart->lines[0]->quantity, 3);
    world_free(world);
}

TEST(an_order_closes_its_cart_by_the_event_alone_and_its_checkout_can_be_repeated)
{
    open_world(100);
    const char *id = make_cart("")->id, *mine = new_id("chk"), *other = new_id("chk");
    const char *order_id = new_id("ord");
    ShoppingCart *cart = NULL;
    check_text(add("", id, 2), "");
    check_text(begin(id, mine, &cart), "");
    say_ordered(id, mine, order_id);
    check_int((int)see("", id)->status, CART_STATUS_ORDERED);
    check_text(see("", id)->order_id, order_id);
    check_text(add("", id, 1), "cart_closed");
    check_text(begin(id, other, &cart), "cart_closed");
    check_text(begin(id, mine, &cart), "");
    check_int(cart->lines[0]->quantity, 2);
    say_ordered(id, other, new_id("ord")); /* too late: it is closed by the first */
    end(id, mine, "");
    end(id, other, new_id("ord"));
    check_text(see("", id)->order_id, order_id);
    say_ordered("", other, new_id("ord"));
    check_int(updates_of(id), 1); /* a fact does not answer itself */
    world_free(world);
}

TEST(orders_makes_no_order_at_another_price_than_was_shown)
{
    static const struct {
        int64_t price, quantity;
        const char *currency, *code;
    } cases[] = {
        {4298, 2, "EUR", "cart_changed"},           {4300, 2, "EUR", "cart_changed"},
        {4299, 1, "EUR", "cart_changed"},           {4299, 2, "USD", "cart_changed"},
        {4299, 2, "EUR", "no_such_payment_method"}, /* shown as it is: the sale goes on */
    };
    open_world(100);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        PlaceOrderRequest *in = new_place_order_request(arena());
        in->checkout_id = new_id("chk");
        in->customer = new_contact(arena());
        in->customer->email = "grace@example.org";
        in->payment_method_id = "pmm_nothing";
        Line *line = new_line(arena());
        line->sku = sku;
        line->quantity = 2;
        in->lines = &line;
        in->n_lines = 1;
        PricedLine *shown = new_priced_line(arena());
        shown->sku = sku;
        shown->quantity = cases[i].quantity;
        shown->price = new_money(arena());
        shown->price->amount = cases[i].price;
        shown->price->currency = cases[i].currency;
        in->shown = &shown;
        in->n_shown = 1;
        Order *order;
        check_text(world_ask(world, "operator", "orders", "PlaceOrder", &in->base, &order),
                   cases[i].code);
    }
    world_free(world);
}

TEST(a_checkout_that_failed_lets_its_cart_go)
{
    open_world(100);
    const char *id = make_cart("")->id;
    ShoppingCart *cart = NULL;
    check_text(add("", id, 1), "");
    for (int by_auth = 0; by_auth < 2; by_auth++) {
        const char *mine = new_id("chk");
        check_text(begin(id, mine, &cart), "");
        check_text(add("", id, 1), "in_checkout");
        CheckoutFailed *failed = new_checkout_failed(arena());
        AuthCheckoutFailed *refused = new_auth_checkout_failed(arena());
        failed->checkout_id = refused->checkout_id = mine;
        if (by_auth)
            tell("auth", &auth_checkout_failed, &refused->base);
        else
            tell("orders", &checkout_failed, &failed->base);
        check_text(add("", id, 1), "");
    }
    check_int(quantity_in("", id), 3);
    world_free(world);
}

/* ---- a disk that fails ---- */

TEST(a_disk_that_fails_at_any_statement_of_adding_adds_once_when_it_is_tried_again)
{
    enum { STATEMENTS = 45 };
    open_world(5000);
    struct store *store = node_store(world_node(world), "cart");
    const char *id = make_cart("")->id;
    bool failed = false;
    for (int k = 1; k <= STATEMENTS; k++) {
        AddCartLineBody *in = new_add_cart_line_body(arena());
        in->id = id;
        in->sku = sku;
        in->quantity = 2;
        ShoppingCart *cart = NULL;
        struct request rq = world_request(world, "");
        const char *request_id = rq.id;
        store_fail_at(store, k);
        enum status st = world_serve(world, &rq, "gateway", "AddCartLine", &in->base, &cart);
        store_fail_at(store, 0);
        failed = failed || st;
        if (st) {
            rq = world_request(world, "");
            rq.id = request_id;
            st = world_serve(world, &rq, "gateway", "AddCartLine", &in->base, &cart);
        }
        check_int(st, OK);
        check_int(quantity_in("", id), 2 * k);
    }
    world_settle(world);
    check(failed);
    check_int(quantity_in("", id), 2 * STATEMENTS);
    check_int(see("", id)->version, STATEMENTS + 1);
    check_int(updates_of(id), STATEMENTS);
    world_free(world);
}

static PlaceOrderBody *
order_of(const char *cart_id)
{
    PlaceOrderBody *in = new_place_order_body(arena());
    in->cart_id = cart_id;
    in->customer = new_contact(arena());
    in->customer->email = "grace@example.org";
    in->payment = new_payment_details(arena());
    in->payment->provider = "sandbox";
    in->payment->token = "approve";
    return in;
}

TEST(a_disk_that_fails_at_any_statement_of_a_checkout_makes_one_order_of_a_cart)
{
    enum { STATEMENTS = 120, STEP = 3 };
    open_world(5000);
    struct store *store = node_store(world_node(world), "cart");
    bool failed = false;
    int64_t sold = 0;
    for (int k = 1; k <= STATEMENTS; k += STEP) {
        const char *id = make_cart("")->id;
        check_text(add("", id, 1), "");
        const PlaceOrderBody *in = order_of(id);
        Order *order = NULL;
        struct request rq = world_request(world, "");
        const char *request_id = rq.id;
        store_fail_at(store, k);
        enum status st = world_serve(world, &rq, "gateway", "PlaceOrder", &in->base, &order);
        store_fail_at(store, 0);
        failed = failed || st;
        if (st) {
            rq = world_request(world, "");
            rq.id = request_id;
            st = world_serve(world, &rq, "gateway", "PlaceOrder", &in->base, &order);
        }
        check_text(st ? rq.reason ? rq.reason->code : rq.message : "", "");
        if (st)
            break;
        sold++;
        world_settle(world);
        check_int((int)see("", id)->status, CART_STATUS_ORDERED);
        check_text(see("", id)->order_id, order->id);
        check_text(world_ask(world, "", "gateway", "PlaceOrder", &in->base, &order), "cart_closed");
        check_int(world_events(world, "orders.order_created", order->id), 1);
    }
    check(failed);
    check_int(world_events(world, "orders.order_created", NULL), sold);
    world_free(world);
}

TEST(a_disk_that_fails_at_any_statement_of_a_merge_merges_once_when_it_is_tried_again)
{
    enum { STATEMENTS = 30 };
    open_world(5000);
    struct store *store = node_store(world_node(world), "cart");
    const char *ada = world_staff(world, "ada@example.org", "admin");
    const char *mine = make_cart(ada)->id;
    check_text(add(ada, mine, 1), "");
    bool failed = false;
    for (int k = 1; k <= STATEMENTS; k++) {
        const char *id = make_cart("")->id;
        check_text(add("", id, 2), "");
        MergeCartRequest *in = new_merge_cart_request(arena());
        in->id = id;
        ShoppingCart *cart = NULL;
        store_fail_at(store, k);
        const char *code = world_ask(world, ada, "cart", "MergeCart", &in->base, &cart);
        store_fail_at(store, 0);
        failed = failed || *code;
        check_text(world_ask(world, ada, "cart", "MergeCart", &in->base, &cart), "");
        check_text(cart->id, mine);
        check_int(cart->lines[0]->quantity, 1 + 2 * k);
    }
    check(failed);
    world_free(world);
}

/* ---- staying ---- */

TEST(a_cart_outlives_a_restart_with_what_it_remembers)
{
    open_world(100);
    const char *id = make_cart("")->id, *command = new_id("cmd");
    check_text(add_by_rpc(id, command, "", 2), "");
    world_restart(world);
    check_text(add_by_rpc(id, command, "", 2), "");
    check_int(quantity_in("", id), 2);
    world_free(world);
}
