/* What becomes of an order's shipment, in a whole Souk. */
#include "catalog.api.h"
#include "orders.api.h"
#include "payments.api.h"
#include "shipping.api.h"
#include "shipping/methods.h"
#include "test/world.h"
#include "users.api.h"

static struct world *world;

/* ---- telling, as orders does ---- */

struct told {
    const struct topic *topic;
    const ProtobufCMessage *message;
};

static void
tell_on_fiber(void *arg)
{
    const struct told *told = arg;
    struct request rq = world_request(world, "");
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
    struct told told = {topic, message};
    world_run(world, topic->publisher, tell_on_fiber, &told);
    world_settle(world);
    world_settle(world); /* shipping heard it, and now the relay told on what shipping said */
}

static struct arena *
arena(void)
{
    return world_arena(world);
}

static Address *
an_address(void)
{
    Address *to = new_address(arena());
    to->name = "Grace Hopper";
    to->line1 = "1 Main Street";
    to->city = "Berlin";
    to->postal_code = "10115";
    to->country = "DE";
    return to;
}

static void
add_lines(PricedLine ***lines, size_t *n)
{
    *lines = arena_alloc(arena(), 2 * sizeof **lines);
    PricedLine *cup = (*lines)[(*n)++] = new_priced_line(arena());
    cup->sku = "cup-red";
    cup->title = "Cup";
    cup->quantity = 2;
    PricedLine *ticket = (*lines)[(*n)++] = new_priced_line(arena());
    ticket->ticket_type_id = "ttp_01000000000000000000000000";
    ticket->title = "Seat";
    ticket->quantity = 1;
}

static void
say_created(const char *order_id)
{
    OrderCreated *event = new_order_created(arena());
    event->order_id = order_id;
    event->shipping_address = an_address();
    event->charged_by_rpc = true;
    add_lines(&event->lines, &event->n_lines);
    tell(&order_created, &event->base);
}

static void
say_paid(const char *order_id)
{
    OrderPaid *event = new_order_paid(arena());
    event->order_id = order_id;
    event->shipping_address = an_address();
    add_lines(&event->lines, &event->n_lines);
    tell(&order_paid, &event->base);
}

static void
say_cancelled(const char *order_id, const char *reason, bool was_paid)
{
    OrderCancelled *event = new_order_cancelled(arena());
    event->order_id = order_id;
    event->reason = reason;
    event->was_paid = was_paid;
    tell(&order_cancelled, &event->base);
}

/* ---- asking ---- */

static ListShipmentsResponse *
list(ListShipmentsRequest in)
{
    ListShipmentsRequest *asked = new_list_shipments_request(arena());
    ProtobufCMessage base = asked->base;
    *asked = in;
    asked->base = base;
    asked->starting_after = in.starting_after ? in.starting_after : "";
    asked->status = in.status ? in.status : "";
    asked->order_id = in.order_id ? in.order_id : "";
    ListShipmentsResponse *out = new_list_shipments_response(arena());
    check_text(world_ask(world, "operator", "shipping", "ListShipments", &asked->base, &out), "");
    return out;
}

/* The order's shipment: its status, "" where there is none. */
static const char *
state_of(const char *order_id)
{
    ListShipmentsResponse *out = list((ListShipmentsRequest){.order_id = order_id});
    check(out->n_data <= 1);
    if (out->n_data == 0)
        return "";
    return protobuf_c_enum_descriptor_get_value(DESCRIPTOR_OF_ShipmentStatus,
                                                (int)out->data[0]->status)
        ->name;
}

static const char *
shipment_of(const char *order_id)
{
    ListShipmentsResponse *out = list((ListShipmentsRequest){.order_id = order_id});
    return out->n_data ? out->data[0]->id : "";
}

static DispatchShipmentRequest *
dispatch_request(const char *shipment_id)
{
    DispatchShipmentRequest *in = new_dispatch_shipment_request(arena());
    in->id = shipment_id;
    in->carrier = "DHL";
    in->tracking = "00340";
    return in;
}

static const char *
dispatch(const char *shipment_id)
{
    return world_ask(world, "operator", "shipping", "DispatchShipment",
                     &dispatch_request(shipment_id)->base, NULL);
}

static const char *
an_order(void)
{
    return id_make(arena(), "ord", world_request(world, "").now_us);
}

static void
open_world(void)
{
    world = world_new();
}

/* ---- what events make of it ---- */

TEST(a_shipment_follows_its_order_whatever_comes_in_whatever_order)
{
    /* c: created, p: paid; cancelled unpaid by l: lapse, b: buyer; r: paid and then refunded */
    static const struct {
        const char *events, *state;
    } cases[] = {
        {"c", "PREPARED"},
        {"cp", "RELEASED"},
        {"p", "RELEASED"},
        {"pc", "RELEASED"},
        {"ccpp", "RELEASED"},
        {"cl", "CANCELLED"},
        {"cll", "CANCELLED"},
        {"clp", "RELEASED"},
        {"clpl", "RELEASED"},
        {"cb", "CANCELLED"},
        {"cbp", "CANCELLED"},
        {"cpr", "CANCELLED"},
        {"crp", "CANCELLED"},
        {"r", ""},
        {"rp", ""},
        {"rcp", ""},
        {"bc", ""},
        {"lp", "RELEASED"},
        {"lcp", "RELEASED"},
        {"cprp", "CANCELLED"},
        {"clprc", "CANCELLED"},
    };
    open_world();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *order_id = an_order();
        for (const char *p = cases[i].events; *p; p++)
            if (*p == 'c')
                say_created(order_id);
            else if (*p == 'p')
                say_paid(order_id);
            else if (*p == 'l')
                say_cancelled(order_id, "lapsed", false);
            else
                say_cancelled(order_id, *p == 'b' ? "buyer" : "refunded", *p == 'r');
        if (strcmp(state_of(order_id), cases[i].state) != 0)
            printf("  after %s\n", cases[i].events);
        check_text(state_of(order_id), cases[i].state);
        const char *id = shipment_of(order_id);
        if (*id)
            check_int(world_events(world, "shipping.shipment_prepared", id), 1);
    }
    world_free(world);
}

TEST(only_goods_with_an_address_are_sent)
{
    open_world();
    OrderCreated *event = new_order_created(arena());
    event->order_id = an_order();
    event->charged_by_rpc = true;
    add_lines(&event->lines, &event->n_lines);
    tell(&order_created, &event->base);
    check_text(state_of(event->order_id), "");
    event->order_id = an_order();
    event->shipping_address = an_address();
    event->lines++; /* the ticket alone */
    event->n_lines--;
    tell(&order_created, &event->base);
    check_text(state_of(event->order_id), "");
    check_int(world_events(world, "shipping.shipment_prepared", NULL), 0);

    const char *order_id = an_order();
    say_created(order_id);
    ListShipmentsResponse *out = list((ListShipmentsRequest){.order_id = order_id});
    check_int((long long)out->n_data, 1);
    check_int((long long)out->data[0]->n_lines, 1);
    check_text(out->data[0]->lines[0]->sku, "cup-red");
    check_int(out->data[0]->lines[0]->quantity, 2);
    check_text(out->data[0]->address->city, "Berlin");
    world_free(world);
}

/* ---- dispatching ---- */

TEST(only_a_released_shipment_leaves_and_only_once)
{
    open_world();
    const char *order_id = an_order();
    check_text(dispatch("shp_01000000000000000000000000"), "no_such_shipment");
    say_created(order_id);
    const char *id = shipment_of(order_id);
    check_text(dispatch(id), "not_released");
    say_paid(order_id);
    check_text(dispatch(id), "");
    check_text(state_of(order_id), "DISPATCHED");
    check_text(dispatch(id), "already_dispatched");
    say_cancelled(order_id, "buyer", true);
    check_text(state_of(order_id), "DISPATCHED");
    world_settle(world);
    check_int(world_events(world, "shipping.shipment_dispatched", id), 1);

    GetShipmentRequest *in = new_get_shipment_request(arena());
    in->id = id;
    Shipment *shipment = new_shipment(arena());
    check_text(world_ask(world, "operator", "shipping", "GetShipment", &in->base, &shipment), "");
    check_text(shipment->carrier, "DHL");
    check_text(shipment->tracking, "00340");
    check(shipment->dispatched_at_us >= shipment->released_at_us);

    const char *other = an_order();
    say_created(other);
    say_cancelled(other, "buyer", false);
    check_text(dispatch(shipment_of(other)), "not_released");
    world_free(world);
}

TEST(a_disk_that_fails_at_any_statement_lets_it_leave_once)
{
    enum { STATEMENTS = 14 };
    open_world();
    struct store *store = node_store(world_node(world), "shipping");
    bool failed = false;
    for (int k = 1; k <= STATEMENTS; k++) {
        const char *order_id = an_order();
        store_fail_at(store, k);
        say_created(order_id); /* the follower tries again by itself */
        store_fail_at(store, k);
        say_paid(order_id);
        store_fail_at(store, 0);
        world_settle(world);
        check_text(state_of(order_id), "RELEASED");

        const char *id = shipment_of(order_id);
        struct request rq = world_request(world, "operator");
        const char *request_id = rq.id;
        store_fail_at(store, k);
        enum status st = world_serve(world, &rq, "shipping", "DispatchShipment",
                                     &dispatch_request(id)->base, NULL);
        store_fail_at(store, 0);
        failed = failed || st;
        rq = world_request(world, "operator");
        rq.id = request_id; /* repeated, whether it was answered or not */
        check_int(world_serve(world, &rq, "shipping", "DispatchShipment",
                              &dispatch_request(id)->base, NULL),
                  OK);
        check_text(dispatch(id), "already_dispatched");
        world_settle(world);
        check_int(world_events(world, "shipping.shipment_prepared", id), 1);
        check_int(world_events(world, "shipping.shipment_dispatched", id), 1);
    }
    check(failed);
    world_free(world);
}

TEST(an_order_is_shipped_when_its_shipment_left_and_completed_before)
{
    open_world();
    const char *sku = world_product(world, "lamp", 1000, 5);
    const char *body = arena_printf(
        arena(),
        "{\"lines\":[{\"sku\":\"%s\",\"quantity\":1}],\"customer\":{\"email\":\"a@example.org\"},"
        "\"shipping_address\":{\"name\":\"A\",\"line1\":\"1\",\"city\":\"B\",\"postal_code\":\"1\","
        "\"country\":\"DE\"},\"payment\":{\"provider\":\"sandbox\",\"token\":\"approve\"}}",
        sku);
    struct http_answer made = world_http(world, "POST", "/v1/orders", NULL, body);
    check_int(made.status, 201);
    world_settle(world);
    ListShipmentsResponse *out = list((ListShipmentsRequest){.status = "released"});
    check_int((long long)out->n_data, 1);
    if (out->n_data == 1) {
        check_text(dispatch(out->data[0]->id), "");
        world_settle(world);
        const char *order_id = out->data[0]->order_id;
        GetOrderRequest *in = new_get_order_request(arena());
        in->id = order_id;
        Order *order = new_order(arena());
        check_text(world_ask(world, "operator", "orders", "GetOrder", &in->base, &order), "");
        check_int(order->status, ORDER_STATUS_SHIPPED);
        check_int(world_events(world, "orders.order_completed", order_id), 1);
        check_int(world_events(world, "orders.order_shipped", order_id), 1);
        say_cancelled(order_id, "buyer", true);
        check_text(state_of(order_id), "DISPATCHED");
    }
    world_free(world);
}

/* ---- who sees what ---- */

/* The city of the order's shipment, "" where it is erased. */
static const char *
city_of(const char *order_id)
{
    ListShipmentsResponse *out = list((ListShipmentsRequest){.order_id = order_id});
    return out->n_data && out->data[0]->address ? out->data[0]->address->city : "";
}

static void
say_erased(const char *user_id, const char *email)
{
    PersonErased *event = new_person_erased(arena());
    event->user_id = user_id;
    event->email = email;
    tell(&person_erased, &event->base);
}

TEST(a_person_is_erased_once_nothing_is_to_be_sent_any_more)
{
    open_world();
    const char *of_user = an_order(), *of_guest = an_order(), *of_other = an_order();
    OrderPaid *event = new_order_paid(arena());
    event->shipping_address = an_address();
    event->customer = new_contact(arena());
    add_lines(&event->lines, &event->n_lines);
    event->customer->email = "ada@example.org";
    event->order_id = of_guest;
    tell(&order_paid, &event->base);
    event->customer->email = "Other@example.org";
    event->order_id = of_user;
    event->user_id = "usr_1";
    tell(&order_paid, &event->base);
    event->order_id = of_other;
    event->user_id = "usr_2";
    tell(&order_paid, &event->base);
    check_text(dispatch(shipment_of(of_user)), "");
    check_text(dispatch(shipment_of(of_other)), "");

    say_erased("usr_1", "");
    check_text(city_of(of_user), "");
    check_text(state_of(of_user), "DISPATCHED");
    say_erased("", "ada@example.org");
    check_text(city_of(of_guest), "Berlin");
    check_text(city_of(of_other), "Berlin");
    check_text(dispatch(shipment_of(of_guest)), "");
    check_text(city_of(of_guest), "");

    const char *cancelled = an_order();
    event->order_id = cancelled;
    tell(&order_paid, &event->base);
    say_erased("", "other@example.org"); /* whoever has ordered for it */
    check_text(city_of(of_other), "");
    check_text(city_of(cancelled), "Berlin");
    say_cancelled(cancelled, "staff", true);
    check_text(city_of(cancelled), "");

    const char *late = an_order();
    event->order_id = late;
    tell(&order_paid, &event->base);
    check_text(dispatch(shipment_of(late)), "");
    check_text(city_of(late), "Berlin");
    OrderErased *erased = new_order_erased(arena());
    erased->order_id = late;
    tell(&order_erased, &erased->base);
    check_text(city_of(late), "");
    world_free(world);
}

TEST(a_list_goes_on_behind_a_shipment_and_says_if_there_is_more)
{
    enum { ORDERS = 5 };
    open_world();
    for (int i = 0; i < ORDERS; i++)
        say_created(an_order());
    const char *after = "";
    int seen = 0;
    bool more = true;
    while (more && seen < 2 * ORDERS) {
        ListShipmentsResponse *out =
            list((ListShipmentsRequest){.limit = 2, .starting_after = after});
        for (size_t i = 0; i < out->n_data; i++, seen++) {
            check(!*after || strcmp(out->data[i]->id, after) < 0);
            after = out->data[i]->id;
        }
        more = out->has_more;
    }
    check_int(seen, ORDERS);
    check_int((long long)list((ListShipmentsRequest){.status = "prepared"})->n_data, ORDERS);
    check_int((long long)list((ListShipmentsRequest){.status = "dispatched"})->n_data, 0);
    world_free(world);
}

TEST(shipments_are_for_staff_and_methods_for_everybody)
{
    open_world();
    const char *admin = world_staff(world, "eve@example.org", "admin");
    ListShipmentsRequest *in = new_list_shipments_request(arena());
    check_text(world_ask(world, admin, "shipping", "ListShipments", &in->base, NULL), "");
    check(world_ask(world, "", "shipping", "ListShipments", &in->base, NULL)[0]);
    check(world_ask(world, "", "shipping", "DispatchShipment",
                    &dispatch_request("shp_01000000000000000000000000")->base, NULL)[0]);
    check(world_ask(world, "usr_01000000000000000000000000", "shipping", "ListShipments", &in->base,
                    NULL)[0]);
    ListShippingMethodsRequest *asked = new_list_shipping_methods_request(arena());
    ListShippingMethodsResponse *methods = NULL;
    check_text(world_ask(world, "", "shipping", "ListShippingMethods", &asked->base, &methods), "");
    check_int((long long)methods->n_data, 1);
    check_text(methods->data[0]->name, "Standard");
    check_int(methods->data[0]->price->amount, 0);
    world_free(world);
}

TEST(methods_are_read_from_their_setting)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"Standard:0:3", "Standard 0 3;"},
        {" Standard : 4.90 : 3 , By night:19:1", "Standard 490 3;By night 1900 1;"},
        {"", NULL},
        {"Standard", NULL},
        {"Standard:0", NULL},
        {":0:3", NULL},
        {"Standard:-1:3", NULL},
        {"Standard:0.001:3", NULL},
        {"Standard:0:366", NULL},
        {"Standard:0:3:4", NULL},
        {"Standard:0:3,", NULL},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ShippingMethod **methods = NULL;
        size_t n = 0;
        const char *why = "";
        bool read = methods_parse(a, cases[i].text, "EUR", &methods, &n, &why);
        struct text said = text_in(a);
        text_add(&said, "");
        for (size_t j = 0; j < n; j++)
            text_printf(&said, "%s %lld %lld;", methods[j]->name,
                        (long long)methods[j]->price->amount, (long long)methods[j]->days);
        check(read == (cases[i].says != NULL));
        check(read || *why);
        check_text(said.bytes, cases[i].says ? cases[i].says : "");
    }
    arena_free(a);
}
