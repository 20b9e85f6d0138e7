/* grpc.health.v1.Health: all services of a process are as healthy as it is. */
#include <string.h>

#include "net/grpc_server.h"
#include "net/proto_wire.h"

enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

static void check(struct grpc_call *call, const uint8_t *bytes, size_t n);
static void watch(struct grpc_call *call, const uint8_t *bytes, size_t n);
static void no_more(struct grpc_call *call);
static void unwatch(struct grpc_call *call);

static const struct grpc_own rpcs[] = {
    {"/grpc.health.v1.Health/Check", check, no_more, NULL},
    {"/grpc.health.v1.Health/Watch", watch, no_more, unwatch},
};

const struct grpc_own *
grpc_health_find(const char *path)
{
    for (size_t i = 0; i < sizeof rpcs / sizeof rpcs[0]; i++)
        if (strcmp(rpcs[i].path, path) == 0)
            return &rpcs[i];
    return NULL;
}

/* The service's name, "" for the process; NULL if the message is malformed. */
static const char *
service_in(struct grpc_call *call, const uint8_t *bytes, size_t n)
{
    struct proto_in in = proto_in(bytes, n);
    struct proto_field f;
    const char *service = "";
    while (proto_next(&in, &f))
        if (f.number == 1 && f.bytes)
            service = arena_strndup(call->arena, (const char *)f.bytes, f.n);
    return in.broken ? NULL : service;
}

static int
status_of(const struct grpc_server *s, const char *service)
{
    bool known = service[0] == '\0';
    for (size_t i = 0; s->services[i] && !known; i++)
        known = strcmp(s->services[i], service) == 0;
    if (!known)
        return SERVICE_UNKNOWN;
    return s->unhealthy ? NOT_SERVING : SERVING;
}

static void
check(struct grpc_call *call, const uint8_t *bytes, size_t n)
{
    const char *service = service_in(call, bytes, n);
    int status = service ? status_of(call->server, service) : SERVICE_UNKNOWN;
    if (call->done)
        return;
    if (!service) {
        grpc_end(call, INVALID_ARGUMENT, "the request is malformed", NULL, 0);
    } else if (status == SERVICE_UNKNOWN) {
        grpc_end(call, NOT_FOUND, "there is no such service here", NULL, 0);
    } else {
        struct text t = text_in(call->arena);
        proto_add_int(&t, 1, (uint64_t)status);
        grpc_answer(call, (const uint8_t *)t.bytes, t.n, NULL, 0);
    }
}

static void
say(struct grpc_call *call)
{
    const uint8_t message[] = {1 << 3, (uint8_t)status_of(call->server, call->watched)};
    grpc_send(call, message, sizeof message);
}

static void
watch(struct grpc_call *call, const uint8_t *bytes, size_t n)
{
    if (call->watched || call->done)
        return; /* it takes one message */
    const char *service = service_in(call, bytes, n);
    if (!service) {
        grpc_end(call, INVALID_ARGUMENT, "the request is malformed", NULL, 0);
        return;
    }
    call->watched = service;
    call->next_watcher = call->server->watchers;
    call->server->watchers = call;
    say(call);
}

static void
unwatch(struct grpc_call *call)
{
    for (struct grpc_call **at = &call->server->watchers; *at; at = &(*at)->next_watcher)
        if (*at == call) {
            *at = call->next_watcher;
            return;
        }
}

static void
no_more(struct grpc_call *call)
{
    (void)call;
}

void
grpc_health_changed(struct grpc_server *s)
{
    for (struct grpc_call *call = s->watchers; call; call = call->next_watcher)
        if (!call->done && !call->finished)
            say(call);
}
