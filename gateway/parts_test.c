/* The gateway's parts that need neither network nor store. */
#include "base/env.h"
#include "gateway.api.h"
#include "gateway/answer.h"
#include "gateway/idempotency.h"
#include "gateway/input.h"
#include "gateway/limits.h"
#include "kit/json.h"
#include "kit/rules.h"
#include "kit/trace.h"
#include "orders.api.h"
#include "test/test.h"

static struct arena *a;

TEST(a_traceparent_is_taken_only_when_it_is_well_formed)
{
    static const struct {
        const char *header;
        bool good;
    } cases[] = {
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true},
        {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
        {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later", true},
        {"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.later", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later", false},
        {"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
        {"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x", false},
        {"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct trace_context got = {.sampled = false};
        if (trace_parse(cases[i].header, &got) != cases[i].good)
            test_complain(__FILE__, __LINE__, cases[i].header);
        check_text(got.trace_id, cases[i].good ? "0af7651916cd43dd8448eb211c80319c" : "");
        check_text(got.span_id, cases[i].good ? "b7ad6b7169203331" : "");
        check_int(got.sampled, cases[i].good && !strstr(cases[i].header, "-00"));
    }
}

TEST(a_bucket_gives_its_burst_and_then_its_rate)
{
    struct limits *l = limits_new(10, 20);
    struct allowance now;
    int64_t t = 5 * SECOND_US;
    for (int i = 0; i < 20; i++) {
        check(limits_take(l, "ip:192.0.2.1", t, &now));
        check_int(now.remaining, 19 - i);
    }
    check_int(now.limit, 20);
    check_int(now.reset_s, 2);
    check(!limits_take(l, "ip:192.0.2.1", t, &now));
    check_int(now.remaining, 0);
    check_int(now.reset_s, 1);
    check(limits_take(l, "ip:192.0.2.2", t, &now));
    check(limits_take(l, "ip:192.0.2.1", t + SECOND_US / 10, &now));
    check(!limits_take(l, "ip:192.0.2.1", t + SECOND_US / 10, &now));
    check(limits_take(l, "ip:192.0.2.1", t + 3 * SECOND_US, &now));
    check_int(now.remaining, 19);
    limits_free(l);
}

TEST(a_full_table_of_limits_forgets_the_idle_first)
{
    struct limits *l = limits_new(1, 2);
    struct allowance now;
    check(limits_take(l, "busy", SECOND_US, &now) && limits_take(l, "busy", SECOND_US, &now));
    a = arena_new();
    for (int i = 0; i < 20000; i++)
        check(limits_take(l, arena_printf(a, "other%d", i), SECOND_US, &now));
    check(!limits_take(l, "busy", SECOND_US, &now));
    arena_free(a);
    limits_free(l);
}

TEST(an_ipv6_network_is_one_address)
{
    static const struct {
        const char *one, *other;
        bool same;
    } cases[] = {
        {"2001:db8::1", "2001:db8::2:3", true},
        {"2001:db8::1", "2001:db8:0:1::1", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
        {"unix", "unix", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char one[ADDRESS_KEY_CHARS], other[ADDRESS_KEY_CHARS];
        limits_address_key(cases[i].one, one);
        limits_address_key(cases[i].other, other);
        check_int(strcmp(one, other) == 0, cases[i].same);
    }
}

TEST(if_match_names_one_version)
{
    static const struct {
        const char *header;
        int64_t version;
    } cases[] = {
        {"\"7\"", 7},
        {"*", 0},
        {"7", -1},
        {"W/\"7\"", -1},
        {"\"7\", \"8\"", -1},
        {"\"\"", -1},
        {"\"", -1},
        {"", -1},
        {"\"0\"", -1},
        {"\"-3\"", -1},
        {"\"7a\"", -1},
        {"\"9223372036854775807\"", INT64_MAX},
        {"\"9223372036854775808\"", -1},
        {"\"00000000000000000000000000000000000000001\"", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_int(input_if_match(cases[i].header), cases[i].version);
}

TEST(a_media_type_may_say_utf_8_and_nothing_else)
{
    static const struct {
        const char *header;
        bool good;
    } cases[] = {
        {"application/json", true},
        {"Application/JSON", true},
        {"application/json; charset=utf-8", true},
        {"application/json;charset=UTF-8", true},
        {"application/json;", true},
        {"application/json; charset=latin1", false},
        {"application/jsonx", false},
        {"text/json", false},
        {"", false},
        {NULL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_int(input_media_type(cases[i].header, "application/json"), cases[i].good);
}

TEST(a_query_is_read_strictly)
{
    static const struct {
        const char *query, *want;
    } cases[] = {
        {"", ""},
        {"limit=5&starting_after=ord_1", ""},
        {"&limit=5&&", ""},
        {"limit=5&limit=6", "/limit repeated"},
        {"limit", "/limit wrong_type"},
        {"limt=5", "/limt unknown_field"},
        {"limit=%3", " not_utf8"},
        {"limit=x&status=gone&a=b", "/limit wrong_type, /status bad_pattern, /a unknown_field"},
    };
    a = arena_new();
    const struct routes *routes = routes_new(a, souk_rpc_lists);
    const struct route *list = routes_find(routes, "GET", "/v1/orders").route;
    const struct route *post = routes_find(routes, "POST", "/v1/orders").route;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct faults f = faults_in(a);
        uint64_t present = 0;
        input_query(&f, list, cases[i].query, &new_list_orders_request(a)->base, &present);
        struct text t = text_in(a);
        for (size_t j = 0; j < f.n; j++)
            text_printf(&t, "%s%s %s", j ? ", " : "", f.items[j].pointer, f.items[j].code);
        check_text(t.bytes, cases[i].want);
    }
    struct faults f = faults_in(a);
    uint64_t present = 0;
    input_query(&f, post, "lines=1", &new_place_order_body(a)->base, &present);
    check_int((long long)f.n, 1);
    arena_free(a);
}

TEST(what_a_key_keeps_depends_on_the_answer)
{
    static const struct {
        int http_status;
        enum key_fate fate;
    } cases[] = {
        {200, KEY_KEEP_ANSWER},
        {201, KEY_KEEP_ANSWER},
        {202, KEY_KEEP_ANSWER},
        {204, KEY_KEEP_ANSWER},
        {402, KEY_KEEP_ANSWER},
        {409, KEY_KEEP_ANSWER},
        {400, KEY_FREE},
        {401, KEY_FREE},
        {403, KEY_FREE},
        {404, KEY_FREE},
        {412, KEY_FREE},
        {422, KEY_FREE},
        {429, KEY_FREE},
        {500, KEY_KEEP_REQUEST_ID},
        {503, KEY_KEEP_REQUEST_ID},
        {504, KEY_KEEP_REQUEST_ID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_int(key_fate(cases[i].http_status), cases[i].fate);
}

TEST(a_key_is_visible_ascii_of_bounded_length)
{
    char longest[KEY_CHARS_MAX + 2];
    memset(longest, 'k', sizeof longest);
    longest[KEY_CHARS_MAX] = '\0';
    check(key_valid("a"));
    check(key_valid("!~"));
    check(key_valid(longest));
    longest[KEY_CHARS_MAX] = 'k';
    longest[KEY_CHARS_MAX + 1] = '\0';
    check(!key_valid(longest));
    check(!key_valid(""));
    check(!key_valid("a b"));
    check(!key_valid("a\tb"));
    check(!key_valid("\xc3\xa9"));
}

static struct request
request_for_test(void)
{
    return (struct request){.arena = a, .trace_id = "0af7651916cd43dd8448eb211c80319c"};
}

TEST(a_failure_is_a_problem_document)
{
    a = arena_new();
    struct request rq = request_for_test();
    struct violation left = {"/lines/0", "3 are left", "out_of_stock", 3};
    rq.reason = &ORDERS_OUT_OF_STOCK;
    rq.message = "1 line of 1 is \"short\"";
    rq.violations = &left;
    rq.n_violations = 1;
    rq.extras[rq.n_extras++] = (struct pair){"order_id", "ord_1"};
    struct answer out;
    answer_problem(&out, &rq, FAILED_PRECONDITION);
    check_int(out.status, 409);
    check_text(out.content_type, "application/problem+json");
    check_text(out.body,
               "{\"type\":\"urn:souk:problem:out_of_stock\",\"title\":\"Out of stock\","
               "\"status\":409,\"detail\":\"1 line of 1 is \\\"short\\\"\","
               "\"code\":\"out_of_stock\",\"errors\":[{\"pointer\":\"/lines/0\","
               "\"detail\":\"3 are left\",\"code\":\"out_of_stock\",\"remaining\":3}],"
               "\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\",\"order_id\":\"ord_1\"}");
    arena_free(a);
}

TEST(a_failure_of_ours_does_not_tell_of_our_insides)
{
    static const struct {
        enum status st;
        const char *detail;
        int http_status;
        int64_t retry_after_s;
    } cases[] = {
        {INTERNAL, "something went wrong here; the trace_id finds it in the log", 500, 0},
        {UNKNOWN, "something went wrong here; the trace_id finds it in the log", 500, 0},
        {UNAVAILABLE, "row 7 of secrets", 503, 1},
        {ABORTED, "row 7 of secrets", 409, 1},
        {RESOURCE_EXHAUSTED, "row 7 of secrets", 429, 1},
        {NOT_FOUND, "row 7 of secrets", 404, 0},
    };
    a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct request rq = request_for_test();
        rq.message = "row 7 of secrets";
        struct answer out;
        answer_problem(&out, &rq, cases[i].st);
        check(strstr(out.body, cases[i].detail) != NULL);
        check_int(out.status, cases[i].http_status);
        check_int(out.retry_after_s, cases[i].retry_after_s);
    }
    arena_free(a);
}

TEST(an_answer_carries_tag_and_place_of_what_was_made)
{
    a = arena_new();
    const struct routes *routes = routes_new(a, souk_rpc_lists);
    const struct route *made = routes_find(routes, "POST", "/v1/orders").route;
    const struct route *read = routes_find(routes, "GET", "/v1/orders/ord_1").route;
    Order *order = new_order(a);
    order->id = "ord_1";
    order->version = 7;
    struct request rq = request_for_test();
    struct answer out;
    answer_message(&out, &rq, made, &order->base);
    check_int(out.status, 201);
    check_text(out.etag, "\"7\"");
    check_text(out.location, "/v1/orders/ord_1");
    rq.http_status = 202;
    rq.location = "/v1/elsewhere";
    answer_message(&out, &rq, made, &order->base);
    check_int(out.status, 202);
    check_text(out.location, "/v1/elsewhere");
    rq = request_for_test();
    order->version = 8;
    answer_message(&out, &rq, read, &order->base);
    check_int(out.status, 200);
    check(out.body_n > 0);
    arena_free(a);
}
