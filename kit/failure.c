/* Why a call failed, carried between processes as google.rpc.Status with its details. */
#include "base/env.h"
#include "kit/rules.h"
#include "kit/wire.h"

#define TYPE_PREFIX "type.googleapis.com/"

static const char details_name[] = "grpc-status-details-bin";
static const char error_info[] = TYPE_PREFIX "google.rpc.ErrorInfo";
static const char bad_request[] = TYPE_PREFIX "google.rpc.BadRequest";
static const char remaining_url[] = TYPE_PREFIX "souk.kit.v1.Remaining";

static void add_detail(struct arena *a, Souk__Kit__V1__Failure *failure, const char *url,
                       const ProtobufCMessage *message);
static void add_reason(const struct request *rq, Souk__Kit__V1__Failure *failure);
static void add_violations(const struct request *rq, Souk__Kit__V1__Failure *failure);
static void read_reason(struct request *rq, const Souk__Kit__V1__Detail *detail);
static void read_violations(struct request *rq, const Souk__Kit__V1__Detail *detail);
static void read_remaining(struct request *rq, const Souk__Kit__V1__Detail *detail);
static const struct reason *reason_find(const char *service, const char *name);

size_t
failure_write(const struct request *rq, enum status st, struct grpc_pair *ret)
{
    if (!rq->reason && !rq->n_violations && !rq->n_extras)
        return 0;
    enum { DETAILS_MAX = 3 };
    struct arena *a = rq->arena;
    Souk__Kit__V1__Failure failure = SOUK__KIT__V1__FAILURE__INIT;
    failure.code = (int32_t)st;
    failure.message = rq->message ? rq->message : status_name(st);
    failure.details = arena_alloc(a, DETAILS_MAX * sizeof *failure.details);
    if (rq->reason || rq->n_extras)
        add_reason(rq, &failure);
    if (rq->n_violations)
        add_violations(rq, &failure);
    *ret = pair_message(a, details_name, &failure.base);
    return 1;
}

void
failure_read(struct request *rq, enum status st, const struct grpc_reply *reply)
{
    fail_clear(rq);
    rq->message = text_empty(reply->why) ? status_name(st) : reply->why;
    const struct grpc_pair *pair = pair_find(reply->trailers, reply->n_trailers, details_name);
    Souk__Kit__V1__Failure *failure =
        pair ? (void *)message_unpack(rq->arena, &souk__kit__v1__failure__descriptor, pair->value,
                                      pair->value_n)
             : NULL;
    for (size_t i = 0; failure && i < failure->n_details; i++) {
        const Souk__Kit__V1__Detail *detail = failure->details[i];
        if (strcmp(detail->type_url, error_info) == 0)
            read_reason(rq, detail);
        else if (strcmp(detail->type_url, bad_request) == 0)
            read_violations(rq, detail);
        else if (strcmp(detail->type_url, remaining_url) == 0)
            read_remaining(rq, detail);
    }
}

const struct grpc_pair *
pair_find(const struct grpc_pair *pairs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(pairs[i].name, name) == 0)
            return &pairs[i];
    return NULL;
}

const char *
pair_text(struct arena *a, const struct grpc_pair *pairs, size_t n, const char *name)
{
    const struct grpc_pair *pair = pair_find(pairs, n, name);
    return pair ? arena_strndup(a, pair->value, pair->value_n) : "";
}

struct grpc_pair
pair_message(struct arena *a, const char *name, const ProtobufCMessage *message)
{
    size_t n;
    const uint8_t *bytes = message_pack(a, message, &n);
    return (struct grpc_pair){name, (const char *)bytes, n};
}

static void
add_detail(struct arena *a, Souk__Kit__V1__Failure *failure, const char *url,
           const ProtobufCMessage *message)
{
    Souk__Kit__V1__Detail *detail = arena_alloc(a, sizeof *detail);
    souk__kit__v1__detail__init(detail);
    detail->type_url = url;
    detail->value.data = message_pack(a, message, &detail->value.len);
    failure->details[failure->n_details++] = detail;
}

static void
add_reason(const struct request *rq, Souk__Kit__V1__Failure *failure)
{
    struct arena *a = rq->arena;
    Souk__Kit__V1__ErrorInfo info = SOUK__KIT__V1__ERROR_INFO__INIT;
    info.reason = rq->reason ? rq->reason->name : "";
    info.domain = rq->reason ? rq->reason->service : "";
    info.metadata = arena_alloc(a, EXTRAS_MAX * sizeof *info.metadata);
    for (; info.n_metadata < rq->n_extras; info.n_metadata++) {
        Souk__Kit__V1__Pair *pair = arena_alloc(a, sizeof *pair);
        souk__kit__v1__pair__init(pair);
        pair->key = rq->extras[info.n_metadata].name;
        pair->value = rq->extras[info.n_metadata].value;
        info.metadata[info.n_metadata] = pair;
    }
    add_detail(a, failure, error_info, &info.base);
}

static void
add_violations(const struct request *rq, Souk__Kit__V1__Failure *failure)
{
    struct arena *a = rq->arena;
    size_t n = rq->n_violations;
    Souk__Kit__V1__BadRequest bad = SOUK__KIT__V1__BAD_REQUEST__INIT;
    Souk__Kit__V1__Remaining remaining = SOUK__KIT__V1__REMAINING__INIT;
    bad.field_violations = arena_alloc(a, n * sizeof *bad.field_violations);
    remaining.of = arena_alloc(a, n * sizeof *remaining.of);
    for (size_t i = 0; i < n; i++) {
        Souk__Kit__V1__FieldViolation *v = arena_alloc(a, sizeof *v);
        souk__kit__v1__field_violation__init(v);
        v->field = rq->violations[i].pointer;
        v->description = rq->violations[i].detail;
        v->reason = rq->violations[i].code;
        remaining.of[i] = rq->violations[i].remaining;
        bad.field_violations[i] = v;
    }
    bad.n_field_violations = remaining.n_of = n;
    add_detail(a, failure, bad_request, &bad.base);
    add_detail(a, failure, remaining_url, &remaining.base);
}

static void
read_reason(struct request *rq, const Souk__Kit__V1__Detail *detail)
{
    const Souk__Kit__V1__ErrorInfo *info =
        (void *)message_unpack(rq->arena, &souk__kit__v1__error_info__descriptor,
                               detail->value.data, detail->value.len);
    if (!info)
        return;
    rq->reason = reason_find(info->domain, info->reason);
    for (size_t i = 0; i < info->n_metadata && rq->n_extras < EXTRAS_MAX; i++)
        fail_extra(rq, info->metadata[i]->key, info->metadata[i]->value);
}

static void
read_violations(struct request *rq, const Souk__Kit__V1__Detail *detail)
{
    const Souk__Kit__V1__BadRequest *bad =
        (void *)message_unpack(rq->arena, &souk__kit__v1__bad_request__descriptor,
                               detail->value.data, detail->value.len);
    for (size_t i = 0; bad && i < bad->n_field_violations; i++) {
        const Souk__Kit__V1__FieldViolation *v = bad->field_violations[i];
        fail_at(rq, v->field, v->reason, -1, "%s", v->description);
    }
}

static void
read_remaining(struct request *rq, const Souk__Kit__V1__Detail *detail)
{
    const Souk__Kit__V1__Remaining *remaining =
        (void *)message_unpack(rq->arena, &souk__kit__v1__remaining__descriptor,
                               detail->value.data, detail->value.len);
    for (size_t i = 0; remaining && i < remaining->n_of && i < rq->n_violations; i++)
        rq->violations[i].remaining = remaining->of[i];
}

/* What a newer process knows and we do not is a status without a reason. */
static const struct reason *
reason_find(const char *service, const char *name)
{
    for (size_t i = 0; souk_reasons[i]; i++)
        if (strcmp(souk_reasons[i]->service, service) == 0 &&
            strcmp(souk_reasons[i]->name, name) == 0)
            return souk_reasons[i];
    return NULL;
}
