#include "gateway/answer.h"

#include <stdio.h>

#include "gateway.api.h"
#include "kit/json.h"
#include "kit/trace.h"

enum { HEADERS_OUT_MAX = 16, BODY_ROOM_BYTES = 1024 };

static const char problem_type[] = "application/problem+json";

static const char *etag_of(struct arena *a, int64_t version);
static void set_location(struct answer *out, struct request *rq, const struct route *route,
                         const ProtobufCMessage *message);
static char lower(char c);
static int64_t retry_after_s(const struct request *rq);
static void write_title(struct text *t, const char *code);
static void write_errors(struct text *t, const struct request *rq);
static bool is_ours_to_hide(const struct request *rq, int http_status);

void
answer_message(struct answer *out, struct request *rq, const struct route *route,
               const ProtobufCMessage *message)
{
    *out = (struct answer){.status = rq->http_status ? rq->http_status : route->rpc->http_status};
    const char *fields = (const char *)message;
    int64_t version = route->version ? *(const int64_t *)(fields + route->version->offset) : 0;
    if (version > 0)
        out->etag = etag_of(rq->arena, version);
    set_location(out, rq, route, message);
    if (out->status == 204)
        return;
    if (route->raw_out) {
        const ProtobufCBinaryData *raw =
            (const ProtobufCBinaryData *)(fields + route->raw_out->offset);
        out->content_type = route->rpc->produces;
        out->body = (const char *)raw->data;
        out->body_n = raw->len;
        return;
    }
    struct text t = text_in(rq->arena);
    json_write(&t, message);
    out->content_type = "application/json";
    out->body = t.bytes;
    out->body_n = t.n;
}

static const char *
etag_of(struct arena *a, int64_t version)
{
    struct text t = text_in(a);
    text_add_char(&t, '"');
    text_add_int(&t, version);
    text_add_char(&t, '"');
    return t.bytes;
}

void
answer_problem(struct answer *out, struct request *rq, enum status st)
{
    *out = (struct answer){.status = problem_http(rq, st), .content_type = problem_type};
    char code[32] = "";
    const char *name = status_name(st);
    for (size_t i = 0; name[i] && i < sizeof code - 1; i++)
        code[i] = lower(name[i]);
    const char *why = rq->reason ? rq->reason->code : code;
    const char *detail = rq->message ? rq->message : "";
    if (is_ours_to_hide(rq, out->status))
        detail = "something went wrong here; the trace_id finds it in the log";
    struct text t = text_in(rq->arena);
    text_add(&t, "{\"type\":\"urn:souk:problem:");
    text_add(&t, why);
    text_add(&t, "\",\"title\":\"");
    write_title(&t, why);
    text_add(&t, "\",\"status\":");
    text_add_int(&t, out->status);
    text_add(&t, ",\"detail\":");
    text_add_json(&t, detail);
    text_add(&t, ",\"code\":");
    text_add_json(&t, why);
    if (rq->n_violations)
        write_errors(&t, rq);
    text_add(&t, ",\"trace_id\":");
    text_add_json(&t, rq->trace_id);
    for (size_t i = 0; i < rq->n_extras; i++) {
        text_add_char(&t, ',');
        text_add_json(&t, rq->extras[i].name);
        text_add_char(&t, ':');
        text_add_json(&t, rq->extras[i].value);
    }
    text_add_char(&t, '}');
    out->body = t.bytes;
    out->body_n = t.n;
    if (st == ABORTED || out->status == 429 || out->status == 503)
        out->retry_after_s = retry_after_s(rq);
}

/* When to come again: in a second, unless the handler knows better. */
static int64_t
retry_after_s(const struct request *rq)
{
    int64_t wait_s = 1;
    for (size_t i = 0; i < rq->n_extras; i++)
        if (strcmp(rq->extras[i].name, "retry_after_s") == 0)
            int_parse(rq->extras[i].value, &wait_s);
    return wait_s;
}

int
problem_http(const struct request *rq, enum status st)
{
    return rq->reason && rq->reason->http ? rq->reason->http : status_http(st);
}

static void
add(struct http_response *response, struct http_header *headers, const char *name,
    const char *value)
{
    if (value && response->n_headers < HEADERS_OUT_MAX)
        headers[response->n_headers++] = (struct http_header){name, value};
}

static const char *
number(struct arena *a, int64_t n)
{
    return arena_printf(a, "%lld", (long long)n);
}

void
answer_send(const struct answer *out, const struct request *rq, const struct allowance *allowance,
            struct http_exchange *x, const struct http_request *in)
{
    struct http_header *h = arena_alloc(in->arena, HEADERS_OUT_MAX * sizeof *h);
    struct http_response response = {
        .status = out->status, .headers = h, .body = out->body, .body_n = out->body_n};
    add(&response, h, "content-type", out->content_type);
    add(&response, h, "etag", out->etag);
    add(&response, h, "location", out->location);
    add(&response, h, "allow", out->allow);
    if (out->respond_async && out->status < 300)
        add(&response, h, "preference-applied", "respond-async");
    add(&response, h, "x-content-type-options", "nosniff");
    /* What is available changes without the version: no cache may show it later. */
    add(&response, h, "cache-control", out->page ? "no-cache" : "no-store");
    add(&response, h, "traceparent", trace_parent(rq));
    if (out->retry_after_s)
        add(&response, h, "retry-after", number(in->arena, out->retry_after_s));
    if (out->status == 401)
        add(&response, h, "www-authenticate",
            rq->reason == &GATEWAY_BAD_TOKEN ? "Bearer realm=\"souk\", error=\"invalid_token\""
                                             : "Bearer realm=\"souk\"");
    if (allowance && allowance->counted) {
        add(&response, h, "ratelimit-limit", number(in->arena, allowance->limit));
        add(&response, h, "ratelimit-remaining", number(in->arena, allowance->remaining));
        add(&response, h, "ratelimit-reset", number(in->arena, allowance->reset_s));
    }
    if (out->page) {
        add(&response, h, "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'");
        add(&response, h, "referrer-policy", "no-referrer");
    }
    http_respond(x, &response);
}

/* What was made is found where it was made, under its id, unless the handler says otherwise. */
static void
set_location(struct answer *out, struct request *rq, const struct route *route,
             const ProtobufCMessage *message)
{
    out->location = rq->location;
    if (out->location || out->status != 201 || !route->id || route->n_params)
        return;
    const char *id = *(const char *const *)((const char *)message + route->id->offset);
    if (!text_empty(id))
        out->location = arena_printf(rq->arena, "%s/%s", route->rpc->path, id);
}

static char
lower(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c;
}

/* "out_of_stock" → "Out of stock" */
static void
write_title(struct text *t, const char *code)
{
    if (*code >= 'a' && *code <= 'z')
        text_add_char(t, (char)(*code++ - 'a' + 'A'));
    for (; *code; code++)
        text_add_char(t, (char)(*code == '_' ? ' ' : *code));
}

static void
write_errors(struct text *t, const struct request *rq)
{
    text_add(t, ",\"errors\":[");
    for (size_t i = 0; i < rq->n_violations; i++) {
        const struct violation *v = &rq->violations[i];
        text_add(t, i ? ",{\"pointer\":" : "{\"pointer\":");
        text_add_json(t, v->pointer);
        text_add(t, ",\"detail\":");
        text_add_json(t, v->detail);
        text_add(t, ",\"code\":");
        text_add_json(t, v->code);
        if (v->remaining >= 0) {
            text_add(t, ",\"remaining\":");
            text_add_int(t, v->remaining);
        }
        text_add_char(t, '}');
    }
    text_add_char(t, ']');
}

/* A failure of ours without a reason may tell of our insides; the log has it. */
static bool
is_ours_to_hide(const struct request *rq, int http_status)
{
    return !rq->reason && http_status >= 500 && http_status != 503 && http_status != 504;
}
