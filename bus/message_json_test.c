/* Messages and CloudEvents as JSON. */
#include "bus/message_json.h"

#include "bus/cloudevents.h"
#include "bus_rows.pb-c.h"
#include "orders.pb-c.h"
#include "test/test.h"

static const char *
json_of(struct arena *a, const ProtobufCMessage *m, left_out_fn *left_out)
{
    struct text out = text_in(a);
    message_json_sparse(&out, m, left_out);
    check_int(strlen(out.bytes), out.n);
    return out.bytes;
}

TEST(a_message_is_written_by_its_descriptor)
{
    struct arena *a = arena_new();
    Souk__V1__Money total = SOUK__V1__MONEY__INIT;
    total.amount = -9007199254740991;
    total.currency = "EUR";
    Souk__V1__PricedLine line = SOUK__V1__PRICED_LINE__INIT, *lines[] = {&line, &line};
    line.sku = "a";
    line.quantity = 2;
    line.price = &total;
    Souk__Orders__V1__ListOrdersResponse list = SOUK__ORDERS__V1__LIST_ORDERS_RESPONSE__INIT;
    Souk__Orders__V1__OrderCreated created = SOUK__ORDERS__V1__ORDER_CREATED__INIT;
    created.order_id = "ord_1";
    created.lines = lines;
    created.n_lines = 2;
    created.charged_by_rpc = true;
    const char *one =
        "{\"sku\":\"a\",\"ticket_type_id\":\"\",\"event_id\":\"\",\"product_id\":\"\","
        "\"title\":\"\",\"quantity\":2,"
        "\"price\":{\"amount\":-9007199254740991,\"currency\":\"EUR\"}}";
    check_text(json_of(a, &created.base, NULL),
               arena_printf(a,
                            "{\"order_id\":\"ord_1\",\"checkout_id\":\"\",\"cart_id\":\"\","
                            "\"lines\":[%s,%s],\"user_id\":\"\",\"payment_method_id\":\"\","
                            "\"charged_by_rpc\":true,\"reservation_id\":\"\"}",
                            one, one));
    check_text(json_of(a, &list.base, NULL), "{\"data\":[],\"has_more\":false}");
    Souk__V1__Empty empty = SOUK__V1__EMPTY__INIT;
    check_text(json_of(a, &empty.base, NULL), "{}");
    arena_free(a);
}

TEST(text_is_escaped_where_json_asks_for_it)
{
    static const struct {
        const char *text, *json;
    } cases[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"12345678", "\"12345678\""},
        {"1234567\"", "\"1234567\\\"\""},
        {"12345678\\9", "\"12345678\\\\9\""},
        {"\"\"\"\"\"\"\"\"\"", "\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\""},
        {"a\nb\tc\rd\be\ff", "\"a\\nb\\tc\\rd\\be\\ff\""},
        {"\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\""},
        {"Größe 12 \xe2\x82\xac \xf0\x9f\x98\x80", "\"Größe 12 \xe2\x82\xac \xf0\x9f\x98\x80\""},
        {"</script>/", "\"</script>/\""},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Souk__Orders__V1__GetOrderRequest m = SOUK__ORDERS__V1__GET_ORDER_REQUEST__INIT;
        m.id = cases[i].text;
        check_text(json_of(a, &m.base, NULL), arena_printf(a, "{\"id\":%s}", cases[i].json));
    }
    arena_free(a);
}

TEST(a_long_message_grows_the_text)
{
    struct arena *a = arena_new();
    char *id = arena_alloc(a, 100001);
    memset(id, '\n', 100000);
    Souk__Orders__V1__GetOrderRequest m = SOUK__ORDERS__V1__GET_ORDER_REQUEST__INIT;
    m.id = id;
    struct text out = text_in(a);
    text_add(&out, "before ");
    message_json(&out, &m.base);
    text_add(&out, " behind");
    check_int(out.n, strlen("before {\"id\":\"\"} behind") + 200000);
    check(text_starts(out.bytes, "before {\"id\":\"\\n"));
    check_text(out.bytes + out.n - 10, "n\"} behind");
    arena_free(a);
}

/* As if every field were optional. */
static bool
any_field(const ProtobufCMessageDescriptor *type, unsigned field)
{
    check(field < type->n_fields);
    return true;
}

TEST(times_enums_and_bytes_have_their_forms_and_empty_fields_may_go)
{
    struct arena *a = arena_new();
    Souk__Orders__V1__Order order = SOUK__ORDERS__V1__ORDER__INIT;
    check_text(json_of(a, &order.base, any_field), "{}");
    order.status = SOUK__ORDERS__V1__ORDER_STATUS__AWAITING_PAYMENT;
    order.created_at_us = 1763000000123456;
    order.version = 3;
    check_text(json_of(a, &order.base, any_field),
               "{\"status\":\"awaiting_payment\","
               "\"created_at\":\"2025-11-13T02:13:20.123456Z\",\"version\":3}");
    order.created_at_us = 0;
    order.status = 77;
    order.version = INT64_MIN;
    check_text(json_of(a, &order.base, any_field),
               "{\"status\":77,\"version\":-9223372036854775808}");

    static const char *const base64[] = {"", "YQ==", "YWI=", "YWJj", "YWJj/w=="};
    uint8_t bytes[] = {'a', 'b', 'c', 0xff};
    for (size_t n = 0; n <= 4; n++) {
        Souk__Bus__EventRow row = SOUK__BUS__EVENT_ROW__INIT;
        row.data = (ProtobufCBinaryData){n, bytes};
        check_text(json_of(a, &row.base, any_field),
                   n ? arena_printf(a, "{\"data\":\"%s\"}", base64[n]) : "{}");
    }
    arena_free(a);
}

TEST(an_event_is_a_cloudevent)
{
    struct arena *a = arena_new();
    Souk__Orders__V1__OrderShipped shipped = SOUK__ORDERS__V1__ORDER_SHIPPED__INIT;
    shipped.order_id = "ord_1";
    shipped.carrier = "Post";
    uint8_t packed[100];
    size_t n = souk__orders__v1__order_shipped__pack(&shipped, packed);
    struct event e = {
        .position = 9,
        .id = "evn_1",
        .topic = "orders.order_shipped",
        .publisher = "orders",
        .subject = "ord_1",
        .type = "souk.orders.v1.OrderShipped",
        .sequence = 4,
        .time_us = 1763000000000000,
        .correlation_id = "req_1",
        .causation_id = "",
        .traceparent = "00-1-2-01",
        .data = {n, packed},
    };
    const char *envelope =
        "{\"specversion\":\"1.0\",\"id\":\"evn_1\",\"source\":\"/souk/orders\","
        "\"type\":\"orders.order_shipped\",\"subject\":\"ord_1\",\"time\":\"2025-11-13T02:13:20Z\","
        "\"dataschema\":\"souk.orders.v1.OrderShipped\",\"sequence\":4,\"correlationid\":\"req_1\","
        "\"traceparent\":\"00-1-2-01\",\"position\":9,";
    struct text out = text_in(a);
    cloudevent_json(&out, &e, shipped.base.descriptor);
    check_text(out.bytes,
               arena_printf(a,
                            "%s\"datacontenttype\":\"application/json\",\"data\":{\"order_id\":"
                            "\"ord_1\",\"carrier\":\"Post\",\"tracking\":\"\"}}",
                            envelope));

    const char *raw = "%s\"datacontenttype\":\"application/protobuf\",\"data_base64\":\"%s\"}";
    out = text_in(a);
    cloudevent_json(&out, &e, NULL);
    check_text(out.bytes, arena_printf(a, raw, envelope, "CgVvcmRfMRIEUG9zdA=="));
    e.data = (ProtobufCBinaryData){2, packed}; /* cut off */
    out = text_in(a);
    cloudevent_json(&out, &e, shipped.base.descriptor);
    check_text(out.bytes, arena_printf(a, raw, envelope, "CgU="));
    arena_free(a);
}
