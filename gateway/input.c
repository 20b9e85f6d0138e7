#include "gateway/input.h"

#include <stdio.h>
#include <strings.h>

#include "gateway.api.h"
#include "kit/json.h"

static enum status read_params(struct request *rq, const struct route_match *match,
                               ProtobufCMessage *out);
static void read_headers(struct request *rq, const struct route *route,
                         const struct http_request *in, ProtobufCMessage *out);
static enum status read_body(struct request *rq, const struct route *route,
                             const struct http_request *in, struct faults *f,
                             ProtobufCMessage *out);
static enum status read_precondition(struct request *rq, const struct route *route,
                                     const struct http_request *in, ProtobufCMessage *out);
static enum status refuse(struct request *rq, const struct reason *why, const struct faults *f);
static void query_field(struct faults *f, const struct route *route, struct slice name,
                        struct slice value, ProtobufCMessage *out, uint64_t *present);

enum status
input_read(struct request *rq, const struct route_match *match, const struct http_request *in,
           ProtobufCMessage **ret)
{
    const struct route *route = match->route;
    const ProtobufCMessageDescriptor *type = route->rpc->in;
    ProtobufCMessage *out = arena_alloc(rq->arena, type->sizeof_message);
    protobuf_c_message_init(type, out);
    enum status st = read_params(rq, match, out);
    if (st)
        return st;
    read_headers(rq, route, in, out);
    struct faults f = faults_in(rq->arena);
    uint64_t present = 0;
    input_query(&f, route, in->query, out, &present);
    if (route->bodiless || route->raw_in)
        json_require(&f, present, type, route->closed);
    st = read_body(rq, route, in, &f, out);
    if (st == OK && f.n)
        st = refuse(rq, &GATEWAY_INVALID_REQUEST, &f);
    if (st == OK)
        st = read_precondition(rq, route, in, out);
    if (st == OK)
        *ret = out;
    return st;
}

void
input_query(struct faults *f, const struct route *route, const char *query, ProtobufCMessage *out,
            uint64_t *present)
{
    while (*query) {
        size_t n = strcspn(query, "&");
        size_t name_n = strcspn(query, "=&");
        struct slice name = {query, name_n};
        struct slice value = {query + n, 0};
        if (name_n < n)
            value = (struct slice){query + name_n + 1, n - name_n - 1};
        if (n > 0)
            query_field(f, route, name, value, out, present);
        query += n + (query[n] == '&');
    }
}

int64_t
input_if_match(const char *header)
{
    int64_t version;
    char digits[24];
    size_t n = strlen(header);
    if (strcmp(header, "*") == 0)
        return 0;
    if (n < 3 || n > sizeof digits || header[0] != '"' || header[n - 1] != '"')
        return -1;
    snprintf(digits, n - 1, "%s", header + 1);
    return int_parse(digits, &version) && version > 0 ? version : -1;
}

bool
input_media_type(const char *header, const char *type)
{
    size_t n = strlen(type);
    if (!header || strncasecmp(header, type, n) != 0)
        return false;
    const char *rest = header + n + strspn(header + n, " \t");
    if (*rest == '\0')
        return true;
    if (*rest++ != ';')
        return false;
    rest += strspn(rest, " \t");
    return *rest == '\0' || strcasecmp(rest, "charset=utf-8") == 0 ||
           strcasecmp(rest, "charset=\"utf-8\"") == 0;
}

/* A parameter that could not be anybody's name is simply not found. */
static enum status
read_params(struct request *rq, const struct route_match *match, ProtobufCMessage *out)
{
    struct faults f = faults_in(rq->arena);
    for (size_t i = 0; i < match->route->n_params; i++) {
        const char *value = percent_decode(rq->arena, match->params[i], false);
        if (value)
            json_read_text(&f, "", match->route->params[i], value, out);
        if (!value || f.n)
            return fail(rq, &GATEWAY_NOT_FOUND, "there is nothing at this path");
    }
    return OK;
}

/* One that is not there, or is no text, leaves its field empty. */
static void
read_headers(struct request *rq, const struct route *route, const struct http_request *in,
             ProtobufCMessage *out)
{
    for (size_t i = 0; i < route->n_headers; i++) {
        const char *value = http_header(in, route->header_names[i]);
        if (value && utf8_valid(value, strlen(value)))
            *(const char **)((char *)out + route->headers[i]->offset) =
                arena_strdup(rq->arena, value);
    }
}

static enum status
read_body(struct request *rq, const struct route *route, const struct http_request *in,
          struct faults *f, ProtobufCMessage *out)
{
    if (route->bodiless) {
        if (in->body_n == 0)
            return OK;
        return fail(rq, &GATEWAY_INVALID_REQUEST, "a %s takes no body", route->rpc->method);
    }
    const char *wanted = route->raw_in ? route->rpc->consumes : "application/json";
    if (in->body_n && !input_media_type(http_header(in, "content-type"), wanted))
        return fail(rq, &GATEWAY_UNSUPPORTED_MEDIA_TYPE, "the body must be %s", wanted);
    if (route->raw_in) {
        ProtobufCBinaryData *raw = (ProtobufCBinaryData *)((char *)out + route->raw_in->offset);
        raw->data = arena_copy(rq->arena, in->body, in->body_n);
        raw->len = in->body_n;
        return OK;
    }
    const char *body = in->body_n ? in->body : "{}";
    size_t n = in->body_n ? in->body_n : 2;
    if (json_read(f, body, n, route->closed, out))
        return OK;
    return refuse(rq, &GATEWAY_MALFORMED_JSON, f);
}

/* If-Match goes before an expected_version in the body. */
static enum status
read_precondition(struct request *rq, const struct route *route, const struct http_request *in,
                  ProtobufCMessage *out)
{
    const char *header = route->expected_version ? http_header(in, "if-match") : NULL;
    if (!header)
        return OK;
    int64_t version = input_if_match(header);
    if (version < 0)
        return fail(rq, &GATEWAY_VERSION_MISMATCH, "no version has the tag of If-Match");
    if (version > 0)
        *(int64_t *)((char *)out + route->expected_version->offset) = version;
    return OK;
}

static enum status
refuse(struct request *rq, const struct reason *why, const struct faults *f)
{
    rq->violations = f->items;
    rq->n_violations = f->n;
    const struct violation *first = &f->items[0];
    if (first->pointer[0] == '\0')
        return fail(rq, why, "%s", first->detail);
    return fail(rq, why, "%s: %s", first->pointer, first->detail);
}

static void
query_field(struct faults *f, const struct route *route, struct slice name, struct slice value,
            ProtobufCMessage *out, uint64_t *present)
{
    const char *name_text = percent_decode(f->arena, name, true);
    const char *value_text = percent_decode(f->arena, value, true);
    if (!name_text || !value_text) {
        fault_add(f, "", "not_utf8", "the query has an escape that is not UTF-8 text");
        return;
    }
    const ProtobufCMessageDescriptor *type = route->rpc->in;
    const ProtobufCFieldDescriptor *field = json_field(type, name_text);
    bool taken = field && field->label != PROTOBUF_C_LABEL_REPEATED &&
                 field->type != PROTOBUF_C_TYPE_MESSAGE && field->type != PROTOBUF_C_TYPE_BYTES &&
                 (route->bodiless || route->raw_in);
    for (size_t i = 0; taken && route->closed[i]; i++)
        taken = strcmp(field->name, route->closed[i]) != 0;
    const char *pointer = json_pointer(f->arena, name_text);
    if (!taken) {
        fault_add(f, pointer, "unknown_field", "there is no such parameter");
        return;
    }
    uint64_t bit = UINT64_C(1) << (field - type->fields);
    if (*present & bit)
        fault_add(f, pointer, "repeated", "must not be given twice");
    else
        json_read_text(f, pointer, field, value_text, out);
    *present |= bit;
}
