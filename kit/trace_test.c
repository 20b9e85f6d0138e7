/* Spans: the bounded buffer between those who record and the one who sends, and what is recorded.
 */
#include <pthread.h>
#include <stdlib.h>

#include "kit/conf.h"
#include "kit/node_impl.h"
#include "kit/tracer.h"
#include "test/test.h"

enum { WRITERS = 4, EACH = 20000 };

static struct arena *a;
static struct tracer *t;

static void
begin_buffer(void)
{
    t = calloc(1, sizeof *t);
    t->ring = calloc(SPANS_MAX, sizeof *t->ring);
}

static void
write_spans(const char *service)
{
    struct span span = {.service = service, .kind = SPAN_INTERNAL};
    for (int i = 0; i < EACH; i++) {
        span.start_us = span.took_us = i;
        tracer_add(t, &span);
    }
}

static void *
writer_main(void *service)
{
    write_spans(service);
    return NULL;
}

TEST(what_was_added_is_taken_or_counted_as_dropped_and_is_whole)
{
    begin_buffer();
    static const char *const names[WRITERS] = {"a", "b", "c", "d"};
    pthread_t writers[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        pthread_create(&writers[i], NULL, writer_main, (void *)(uintptr_t)names[i]);
    struct span *got = calloc(SPAN_BATCH_MAX, sizeof *got);
    int64_t last[WRITERS] = {-1, -1, -1, -1}, taken = 0, joined = 0;
    for (size_t n = 1; n || joined < WRITERS;) {
        if (n == 0)
            pthread_join(writers[joined++], NULL);
        n = tracer_take(t, got, SPAN_BATCH_MAX);
        taken += (int64_t)n;
        for (size_t i = 0; i < n; i++) {
            int64_t *of = &last[got[i].service[0] - 'a'];
            check_int(got[i].took_us, got[i].start_us);
            check(got[i].start_us > *of); /* in each writer's order */
            *of = got[i].start_us;
        }
    }
    check_int(taken + (int64_t)t->dropped, WRITERS * EACH);
    free(got);
    tracer_free(t);
}

TEST(past_the_bound_spans_are_dropped_and_the_oldest_stay)
{
    begin_buffer();
    write_spans("a");
    check_int((int64_t)t->dropped, EACH - SPANS_MAX);
    struct span got;
    check_int((int64_t)tracer_take(t, &got, 1), 1);
    check_int(got.start_us, 0);
    write_spans("b"); /* room for one */
    check_int((int64_t)t->dropped, 2 * EACH - SPANS_MAX - 1);
    tracer_free(t);
}

static const char *
resource(const char *service, const char *span)
{
    return arena_printf(a,
                        "{\"resource\":{\"attributes\":["
                        "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"%s\"}},"
                        "{\"key\":\"service.namespace\",\"value\":{\"stringValue\":\"souk\"}},"
                        "{\"key\":\"service.version\",\"value\":{\"stringValue\":\"" SOUK_VERSION
                        "\"}}]},"
                        "\"scopeSpans\":[{\"scope\":{\"name\":\"souk\"},\"spans\":[%s]}]}",
                        service, span);
}

TEST(a_batch_is_told_by_service_in_otlp_json)
{
    static const struct span spans[] = {
        {.service = "orders",
         .kind = SPAN_SERVER,
         .start_us = 1700000000000001,
         .took_us = 20,
         .trace_id = "0af7651916cd43dd8448eb211c80319c",
         .span_id = "b7ad6b7169203331",
         .name = "a \"name\"",
         .n_attributes = 1,
         .attributes = {{"n", "7", true}}},
        {.service = "audit",
         .kind = SPAN_CONSUMER,
         .start_us = 1700000000000001,
         .failed = true,
         .trace_id = "0af7651916cd43dd8448eb211c80319c",
         .span_id = "00ad6b7169203331",
         .parent_id = "b7ad6b7169203331",
         .name = "x",
         .n_attributes = 1,
         .attributes = {{"t", "é", false}}},
    };
    a = arena_new();
    const char *first =
        "{\"traceId\":\"0af7651916cd43dd8448eb211c80319c\",\"spanId\":\"b7ad6b7169203331\","
        "\"flags\":1,\"name\":\"a \\\"name\\\"\",\"kind\":2,"
        "\"startTimeUnixNano\":\"1700000000000001000\",\"endTimeUnixNano\":\"1700000000000021000\","
        "\"attributes\":[{\"key\":\"n\",\"value\":{\"intValue\":\"7\"}}],\"status\":{}}";
    const char *second =
        "{\"traceId\":\"0af7651916cd43dd8448eb211c80319c\",\"spanId\":\"00ad6b7169203331\","
        "\"parentSpanId\":\"b7ad6b7169203331\",\"flags\":1,\"name\":\"x\",\"kind\":5,"
        "\"startTimeUnixNano\":\"1700000000000001000\",\"endTimeUnixNano\":\"1700000000000001000\","
        "\"attributes\":[{\"key\":\"t\",\"value\":{\"stringValue\":\"é\"}}],\"status\":{\"code\":2}"
        "}";
    const char *wanted = arena_printf(a, "{\"resourceSpans\":[%s,%s]}", resource("orders", first),
                                      resource("audit", second));
    check_text(tracer_json(a, spans, 2), wanted);
    arena_free(a);
}

/* ---- what a request records ------------------------------------------------------------------ */

static const struct service shop = {.name = "shop"};
static struct conf *conf;
static struct node *node;
static struct request rq;

/* No collector listens there: what is recorded stays, or is dropped at the end. */
static void
begin(const char *sample)
{
    static const struct service *const services[] = {&shop, NULL};
    a = arena_new();
    conf = conf_new();
    const char *why;
    conf_set(conf, "log", "off", a, &why);
    conf_set(conf, "trace_sample", sample, a, &why);
    const struct node_options options = {
        .data_dir = test_dir(), .services = services, .conf = conf, .quiet = true};
    check_int(node_open(&options, a, &node, &why), OK);
    begin_buffer();
    t->sample = setting_int(node, "trace_sample");
    node->tracer = t; /* without its sender */
    t->ended = true;
    request_init(&rq, node, a);
    rq.service = &shop;
}

static void
end(void)
{
    node_free(node);
    conf_free(conf);
    arena_free(a);
}

static struct span
take_one(void)
{
    struct span got = {.service = "none"};
    tracer_take(t, &got, 1);
    return got;
}

TEST(spans_nest_and_a_failure_has_its_reason)
{
    static const struct reason why = {"shop", "SOLD_OUT", FAILED_PRECONDITION, 0, "sold_out"};
    begin("1000");
    const char *own = arena_strdup(a, rq.span_id);
    struct span *outer = span_begin(&rq, SPAN_SERVER, "outer");
    check_text(rq.span_id, own);
    struct span *inner = span_begin(&rq, SPAN_INTERNAL, "inner");
    check(strcmp(rq.span_id, own) != 0);
    span_end(inner, &rq, fail(&rq, &why, "there is nothing left for ada@example.org"));
    check_text(rq.span_id, own);
    span_end(outer, &rq, INTERNAL);
    check_text(rq.span_id, own); /* the answer tells of it */

    struct span got = take_one();
    check_text(got.name, "inner");
    check_text(got.service, "shop");
    check_text(got.parent_id, own);
    check(!got.failed);
    check_text(got.attributes[0].name, "error.type");
    check_text(got.attributes[0].value, "sold_out");
    got = take_one();
    check_text(got.name, "outer");
    check_text(got.span_id, own);
    check_text(got.parent_id, "");
    check(got.failed);
    end();
}

TEST(a_request_that_is_not_sampled_records_nothing)
{
    begin("0");
    check(!span_begin(&rq, SPAN_SERVER, "outer"));
    span_text(NULL, "n", "v");
    span_int(NULL, "n", 1);
    span_end(NULL, &rq, OK);
    check(strcmp(trace_parent(&rq) + 52, "-00") == 0);
    check(trace_join(&rq, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    check_text(trace_parent(&rq), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    struct span *span = span_begin(&rq, SPAN_CONSUMER, "heard");
    span_end(span, &rq, OK);
    check_text(take_one().parent_id, "b7ad6b7169203331");
    end();
}

TEST(a_job_is_told_only_if_it_did_something)
{
    begin("1000");
    span_end_job(span_begin(&rq, SPAN_INTERNAL, "idle"), &rq, OK);
    check_text(take_one().service, "none");
    span_end_job(span_begin(&rq, SPAN_INTERNAL, "failed"), &rq, UNAVAILABLE);
    check_text(take_one().name, "failed");
    end();
}

TEST(a_visit_to_another_trace_leaves_nothing_behind)
{
    begin("1000");
    struct span *job = span_begin(&rq, SPAN_INTERNAL, "job");
    const char *before = trace_parent(&rq);
    struct trace_visit visit =
        trace_enter(&rq, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    struct span *span = span_begin(&rq, SPAN_CLIENT, "mail");
    trace_leave(&rq, visit);
    check_text(trace_parent(&rq), before);
    span_end(span, &rq, OK);
    check_text(trace_parent(&rq), before);
    check_text(take_one().parent_id, "b7ad6b7169203331");
    span_end_job(job, &rq, OK); /* which did nothing of its own */
    check_text(take_one().service, "none");

    visit = trace_enter(&rq, "");
    check_text(trace_parent(&rq), before);
    trace_leave(&rq, visit);
    check_text(trace_parent(&rq), before);
    end();
}

TEST(an_attribute_is_cut_between_characters)
{
    begin("1000");
    struct span *span = span_begin(&rq, SPAN_INTERNAL, "long");
    char value[SPAN_VALUE_MAX + 2];
    memset(value, 'x', SPAN_VALUE_MAX - 1);
    strcpy(value + SPAN_VALUE_MAX - 1, "é");
    for (int i = 0; i < SPAN_ATTRIBUTES_MAX + 3; i++)
        span_text(span, "v", value);
    span_end(span, &rq, OK);
    struct span got = take_one();
    check_int((int64_t)got.n_attributes, SPAN_ATTRIBUTES_MAX);
    check_int((int64_t)strlen(got.attributes[0].value), SPAN_VALUE_MAX - 1);
    end();
}
