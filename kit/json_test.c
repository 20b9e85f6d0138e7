#include "kit/json.h"

#include "catalog.api.h"
#include "kit/format.h"
#include "kit/rules.h"
#include "orders.api.h"
#include "payments.api.h"
#include "test/test.h"

static struct arena *a;

/* "pointer code" of each fault, in order, divided by commas. */
static const char *
faults_text(const struct faults *f)
{
    struct text t = text_in(a);
    for (size_t i = 0; i < f->n; i++) {
        if (i)
            text_add(&t, ", ");
        text_printf(&t, "%s %s", f->items[i].pointer, f->items[i].code);
    }
    return t.bytes;
}

static const char *
read_into(const char *json, ProtobufCMessage *out)
{
    struct faults f = faults_in(a);
    json_read(&f, json, strlen(json), NULL, out);
    return faults_text(&f);
}

static void
check_reading(const ProtobufCMessageDescriptor *type, const char *json, const char *want)
{
    ProtobufCMessage *out = arena_alloc(a, type->sizeof_message);
    protobuf_c_message_init(type, out);
    check_text(read_into(json, out), want);
}

TEST(a_good_body_fills_its_message)
{
    a = arena_new();
    CreateProductRequest *m = new_create_product_request(a);
    check_text(read_into("{\"title\": \"Caf\\u00e9\", \"tags\": [\"a\", \"b\"], \"vendor\": null,"
                         " \"variants\": [{\"sku\": \"s-1\", \"stock\": 7,"
                         " \"price\": {\"amount\": 4299, \"currency\": \"EUR\"}}]}",
                         &m->base),
               "");
    check_text(m->title, "Caf\xc3\xa9");
    check_int((long long)m->n_tags, 2);
    check_text(m->tags[1], "b");
    check_text(m->vendor, "");
    check_int((long long)m->n_variants, 1);
    check_int(m->variants[0]->stock, 7);
    check_int(m->variants[0]->price->amount, 4299);
    check_text(m->variants[0]->price->currency, "EUR");
    arena_free(a);
}

TEST(each_fault_is_told_with_its_pointer_and_code)
{
    static const char ok[] = "\"title\":\"t\",\"variants\":[{\"price\":{\"amount\":1,\"currency\":"
                             "\"EUR\"}}]";
    static const struct {
        const char *json, *want;
    } cases[] = {
        {"{%s}", ""},
        {"{}", "/title required, /variants required"},
        {"{%s,\"colour\":1}", "/colour unknown_field"},
        {"{%s,\"a/b~c\":1}", "/a~1b~0c unknown_field"},
        {"{%s,\"vendor\":1}", "/vendor wrong_type"},
        {"{%s,\"vendor\":{}}", "/vendor wrong_type"},
        {"{%s,\"tags\":\"a\"}", "/tags wrong_type"},
        {"{%s,\"tags\":[\"a\",2]}", "/tags/1 wrong_type"},
        {"{%s,\"handle\":\"Ab\"}", "/handle bad_pattern"},
        {"{%s,\"handle\":\"a\\nb\"}", "/handle bad_pattern"},
        {"{%s,\"handle\":\"\"}", ""},
        {"{%s,\"images\":[{\"url\":\"https://example.org/a.png\"}]}", ""},
        {"{%s,\"images\":[{\"url\":\"javascript:alert(1)\"}]}", "/images/0/url bad_format"},
        {"{%s,\"images\":[{}]}", "/images/0/url required"},
        {"{%s,\"images\":[null]}", "/images/0 wrong_type"},
        {"{%s,\"update_mask\":[]}", "/update_mask unknown_field"},
        {"{\"title\":\"\",\"variants\":[]}", "/title required, /variants required"},
        {"{\"title\":null,\"variants\":null}", "/title required, /variants required"},
        {"{\"title\":\"t\",\"variants\":[{\"price\":{\"amount\":-1,\"currency\":\"EUR\"}}]}",
         "/variants/0/price/amount too_small"},
        {"{\"title\":\"t\",\"variants\":[{\"price\":{\"amount\":9007199254740992,"
         "\"currency\":\"EUR\"}}]}",
         "/variants/0/price/amount too_large"},
        {"{\"title\":\"t\",\"variants\":[{\"price\":{\"amount\":1.0,\"currency\":\"EUR\"}}]}",
         "/variants/0/price/amount wrong_type"},
        {"{\"title\":\"t\",\"variants\":[{\"price\":{\"amount\":\"1\",\"currency\":\"EUR\"}}]}",
         "/variants/0/price/amount wrong_type"},
        {"{\"title\":\"t\",\"variants\":[{\"price\":{\"amount\":1,\"currency\":\"EURO\"}}]}",
         "/variants/0/price/currency bad_format"},
        {"{\"title\":\"t\",\"variants\":[{\"price\":{\"amount\":1}}]}",
         "/variants/0/price/currency required"},
        {"{\"title\":\"t\",\"variants\":[{\"price\":{\"currency\":\"EUR\"}}]}",
         "/variants/0/price/amount required"},
        {"{\"title\":\"t\",\"variants\":[{}]}", "/variants/0/price required"},
        {"{\"title\":\"t\",\"variants\":[7, {}]}",
         "/variants/0 wrong_type, /variants/1/price required"},
    };
    a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *hole = strstr(cases[i].json, "%s");
        const char *json = cases[i].json;
        if (hole)
            json = arena_printf(a, "%.*s%s%s", (int)(hole - json), json, ok, hole + 2);
        check_reading(DESCRIPTOR_OF_CreateProductRequest, json, cases[i].want);
        if (test_failed)
            break;
    }
    arena_free(a);
}

TEST(what_is_no_json_is_told_as_one_fault)
{
    static const struct {
        const char *json, *want;
    } cases[] = {
        {"", " malformed_json"},
        {"{", " malformed_json"},
        {"{} {}", " malformed_json"},
        {"{\"title\":\"a\xff\"}", " not_utf8"},
        {"{\"title\":\"a\\u0000\"}", " malformed_json"},
        {"{\"title\":\"\\ud800\"}", " malformed_json"},
        {"{\"title\":\"a\",\"title\":\"b\"}", " duplicate_key"},
        {"{\"version\":9223372036854775808}", " too_large"},
        {"{\"title\":NaN}", " malformed_json"},
        {"[]", " wrong_type"},
        {"7", " wrong_type"},
        {"[[[[[[[[[[[[[[[[[", " too_deep"},
        {"{\"title\":\"[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"}", "/variants required"},
    };
    a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_reading(DESCRIPTOR_OF_CreateProductRequest, cases[i].json, cases[i].want);
    struct faults f = faults_in(a);
    CreateProductRequest *m = new_create_product_request(a);
    check(!json_read(&f, "{\"title\":\"a\0b\"}", 15, NULL, &m->base));
    check_text(faults_text(&f), " not_utf8");
    arena_free(a);
}

TEST(faults_stop_at_their_bound)
{
    a = arena_new();
    struct text t = text_in(a);
    for (int i = 0; i < 3 * ERRORS_MAX; i++)
        text_printf(&t, "%s\"x%d\":1", i ? "," : "{", i);
    text_add(&t, "}");
    struct faults f = faults_in(a);
    CreateProductRequest *m = new_create_product_request(a);
    check(json_read(&f, t.bytes, t.n, NULL, &m->base));
    check_int((long long)f.n, ERRORS_MAX);
    arena_free(a);
}

TEST(lists_and_strings_have_bounds_that_count_characters)
{
    a = arena_new();
    struct text tags = text_in(a), title = text_in(a);
    for (int i = 0; i < 1000; i++)
        text_add(&tags, i ? ",\"t\"" : "\"t\"");
    for (int i = 0; i < 300; i++)
        text_add(&title, "\xc3\xa9");
    CreateProductRequest *m = new_create_product_request(a);
    static const char variants[] = "\"variants\":[{\"price\":{\"amount\":1,\"currency\":\"EUR\"}}]";
    const char *json = arena_printf(a, "{\"title\":\"%s\",%s}", title.bytes, variants);
    check_text(read_into(json, &m->base), "");
    json =
        arena_printf(a, "{\"title\":\"%sx\",\"tags\":[%s],%s}", title.bytes, tags.bytes, variants);
    check_text(read_into(json, &m->base), "/title too_long, /tags too_many");
    arena_free(a);
}

TEST(an_update_mask_names_the_keys_that_are_there)
{
    a = arena_new();
    UpdateProductRequest *m = new_update_product_request(a);
    check_text(read_into("{\"vendor\":\"\",\"title\":\"t\",\"category\":null,"
                         "\"variants\":[{\"sku\":\"a\",\"stock\":3}]}",
                         &m->base),
               "");
    check_int((long long)m->n_update_mask, 4);
    check_text(m->update_mask[0], "title");
    check_text(m->update_mask[1], "category");
    check_text(m->update_mask[2], "vendor");
    check_text(m->update_mask[3], "variants");
    check_int((long long)m->variants[0]->n_update_mask, 2);
    check_text(m->variants[0]->update_mask[0], "sku");
    check_text(m->variants[0]->update_mask[1], "stock");
    arena_free(a);
}

TEST(closed_fields_are_unknown_to_a_body)
{
    a = arena_new();
    static const char *const closed[] = {"id", "expected_version", NULL};
    static const char json[] = "{\"id\":\"prd_1\",\"expected_version\":3}";
    struct faults f = faults_in(a);
    UpdateProductRequest *m = new_update_product_request(a);
    json_read(&f, json, strlen(json), closed, &m->base);
    check_text(faults_text(&f), "/id unknown_field, /expected_version unknown_field");
    arena_free(a);
}

TEST(times_and_enums_are_read_and_written_as_text)
{
    a = arena_new();
    Order *m = new_order(a);
    check_text(read_into("{\"status\":\"awaiting_payment\","
                         "\"created_at\":\"2026-11-22T13:00:00.5+01:00\"}",
                         &m->base),
               "");
    check_int(m->status, ORDER_STATUS_AWAITING_PAYMENT);
    check_int(m->created_at_us, INT64_C(1795348800500000));
    check_reading(DESCRIPTOR_OF_Order, "{\"status\":\"PAID\"}", "/status not_one_of");
    check_reading(DESCRIPTOR_OF_Order, "{\"status\":\"order_status_unspecified\"}",
                  "/status not_one_of");
    check_reading(DESCRIPTOR_OF_Order, "{\"created_at_us\":5}", "/created_at_us unknown_field");
    check_reading(DESCRIPTOR_OF_Order, "{\"created_at\":\"yesterday\"}", "/created_at bad_format");
    m->id = "ord_1";
    struct text t = text_in(a);
    json_write(&t, &m->base);
    check_text(t.bytes,
               "{\"id\":\"ord_1\",\"status\":\"awaiting_payment\",\"lines\":[],\"total\":null,"
               "\"customer\":null,\"payment\":null,\"checkout_id\":\"\","
               "\"created_at\":\"2026-11-22T12:00:00.500000Z\",\"pay_by\":null,\"version\":0}");
    arena_free(a);
}

TEST(a_parameter_is_read_from_text_by_the_same_rules)
{
    static const struct {
        const char *name, *value, *want;
    } cases[] = {
        {"limit", "20", ""},
        {"limit", "0", "/limit too_small"},
        {"limit", "101", "/limit too_large"},
        {"limit", "", "/limit wrong_type"},
        {"limit", "1e1", "/limit wrong_type"},
        {"limit", "99999999999999999999", "/limit wrong_type"},
        {"status", "paid", ""},
        {"status", "gone", "/status bad_pattern"},
    };
    a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ListOrdersRequest *m = new_list_orders_request(a);
        struct faults f = faults_in(a);
        const ProtobufCFieldDescriptor *field =
            json_field(DESCRIPTOR_OF_ListOrdersRequest, cases[i].name);
        json_read_text(&f, json_pointer(a, cases[i].name), field, cases[i].value, &m->base);
        check_text(faults_text(&f), cases[i].want);
    }
    arena_free(a);
}

TEST(formats_accept_and_refuse)
{
    static const struct {
        const char *format, *text;
        bool good;
    } cases[] = {
        {"email", "ada@example.org", true},
        {"email", "a.b+c@localhost", true},
        {"email", "ada", false},
        {"email", "@example.org", false},
        {"email", "ada@", false},
        {"email", "ada@example..org", false},
        {"email", "ada@-example.org", false},
        {"email", "ada@example.org.", false},
        {"email", "a b@example.org", false},
        {"email", "a@b@example.org", false},
        {"email", "a\r\nbcc:x@example.org", false},
        {"currency", "EUR", true},
        {"currency", "eur", false},
        {"currency", "XXY", false},
        {"url", "https://example.org", true},
        {"url", "http://example.org:8080/a?b#c", true},
        {"url", "https://", false},
        {"url", "https://example.org:x/", false},
        {"url", "https://user@example.org/", false},
        {"url", "ftp://example.org", false},
        {"url", "https://example.org/a b", false},
        {"phone", "+49 (30) 123-456", true},
        {"phone", "0301234", true},
        {"phone", "123", false},
        {"phone", "+1234567890123456", false},
        {"phone", "call me", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (format_matches(cases[i].format, cases[i].text) != cases[i].good)
            test_complain(__FILE__, __LINE__, cases[i].text);
}

TEST(a_pattern_takes_the_whole_text)
{
    static const char either[] = "(admin|superadmin)", sku[] = "[a-z0-9-]{1,64}";
    check(pattern_matches(either, "admin"));
    check(!pattern_matches(either, "admins"));
    check(!pattern_matches(either, "xadmin"));
    check(pattern_matches(sku, "a-1"));
    check(!pattern_matches(sku, "a-1\n"));
    check(!pattern_matches(sku, ""));
}

TEST(every_pattern_of_the_protos_compiles)
{
    for (size_t i = 0; i < souk_n_message_rules; i++)
        for (unsigned j = 0; j < souk_message_rules[i].type->n_fields; j++) {
            const struct field_rule *rule = &souk_message_rules[i].fields[j];
            if (rule->pattern)
                pattern_matches(rule->pattern, "x");
            if (rule->format)
                format_matches(rule->format, "x");
        }
}
