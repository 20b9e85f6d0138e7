/*
 * interop_server LISTEN [DESCRIPTORS [AUTHORITIES CERTIFICATE KEY]]: prints its port, then does
 * what its input says: "unhealthy", "healthy", "drain"; and ends with it.
 */
#include <unistd.h>

#include "fiber/fiber.h"
#include "test/interop/interop.h"

static struct sched *fibers;

struct work {
    struct grpc_call *call;
    const struct grpc_request *in;
};

static void
read_status(struct arena *a, const uint8_t *bytes, size_t n, struct interop_in *ret)
{
    struct proto_in in = proto_in(bytes, n);
    struct proto_field f;
    ret->has_status = true;
    while (proto_next(&in, &f))
        if (f.number == 1)
            ret->code = (int)f.value;
        else if (f.number == 2)
            ret->why = arena_strndup(a, (const char *)f.bytes, f.n);
}

static void
read_parameters(const uint8_t *bytes, size_t n, struct interop_in *ret)
{
    struct proto_in in = proto_in(bytes, n);
    struct proto_field f;
    if (ret->n_parameters == PARAMETERS_MAX)
        return;
    size_t i = ret->n_parameters++;
    while (proto_next(&in, &f))
        if (f.number == 1)
            ret->parameters[i].size = f.value;
        else if (f.number == 2)
            ret->parameters[i].interval_us = (int64_t)f.value;
}

static struct interop_in
read_request(struct arena *a, const uint8_t *bytes, size_t n)
{
    struct interop_in ret = {.why = ""};
    struct proto_in in = proto_in(bytes, n);
    struct proto_field f;
    while (proto_next(&in, &f))
        if (f.number == RESPONSE_SIZE && !f.bytes)
            ret.response_size = f.value;
        else if (f.number == RESPONSE_PARAMETERS)
            read_parameters(f.bytes, f.n, &ret);
        else if (f.number == PAYLOAD && f.bytes)
            ret.payload_n = interop_payload_n(f.bytes, f.n);
        else if (f.number == RESPONSE_STATUS && f.bytes)
            read_status(a, f.bytes, f.n, &ret);
    return ret;
}

/* What the client wants to have back. */
static size_t
echo_metadata(struct grpc_call *call, const struct grpc_request *in, struct grpc_pair *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < in->n_metadata; i++)
        if (strcmp(in->metadata[i].name, "x-grpc-test-echo-initial") == 0)
            grpc_header(call, &in->metadata[i]);
        else if (strcmp(in->metadata[i].name, "x-grpc-test-echo-trailing-bin") == 0 && n == 0)
            ret[n++] = in->metadata[i];
    return n;
}

static void
unary(struct grpc_call *call, const struct grpc_request *in)
{
    struct interop_in ask = read_request(in->arena, in->message, in->n);
    struct grpc_pair trailer;
    size_t n = echo_metadata(call, in, &trailer);
    if (ask.has_status && ask.code != OK) {
        grpc_end(call, (enum status)ask.code, ask.why, &trailer, n);
        return;
    }
    struct text t = text_in(in->arena);
    interop_add_payload(&t, in->arena, ANSWER_PAYLOAD, ask.response_size);
    grpc_answer(call, (const uint8_t *)t.bytes, t.n, &trailer, n);
}

/* True while it may go on. */
static bool
send_all(struct grpc_call *call, const struct interop_in *ask)
{
    for (size_t i = 0; i < ask->n_parameters; i++) {
        struct arena *a = arena_new();
        struct text t = text_in(a);
        if (ask->parameters[i].interval_us > 0)
            fiber_sleep_us(ask->parameters[i].interval_us);
        interop_add_payload(&t, a, ANSWER_PAYLOAD, ask->parameters[i].size);
        bool sent = grpc_send(call, (const uint8_t *)t.bytes, t.n);
        arena_free(a);
        if (!sent)
            return false;
    }
    return true;
}

static void
duplex(void *arg)
{
    struct work *w = arg;
    struct grpc_call *call = w->call;
    const struct grpc_request *in = w->in;
    const uint8_t *message = in->message;
    size_t n = in->n;
    struct grpc_pair trailer;
    size_t n_trailers = echo_metadata(call, in, &trailer);
    struct interop_in ask = {0};
    for (bool more = message != NULL; more; more = grpc_next(call, &message, &n)) {
        ask = read_request(in->arena, message, n);
        if ((ask.has_status && ask.code != OK) || !send_all(call, &ask))
            break;
    }
    grpc_end(call, ask.has_status ? (enum status)ask.code : OK, ask.why, &trailer, n_trailers);
    free(w);
}

static void
output(void *arg)
{
    struct work *w = arg;
    struct interop_in ask = read_request(w->in->arena, w->in->message, w->in->n);
    send_all(w->call, &ask);
    grpc_end(w->call, ask.has_status ? (enum status)ask.code : OK, ask.why, NULL, 0);
    free(w);
}

static void
input(void *arg)
{
    struct work *w = arg;
    struct arena *a = w->in->arena;
    const uint8_t *message = w->in->message;
    size_t n = w->in->n, total = 0;
    for (bool more = message != NULL; more; more = grpc_next(w->call, &message, &n)) {
        struct proto_in in = proto_in(message, n);
        struct proto_field f;
        while (proto_next(&in, &f))
            if (f.number == ANSWER_PAYLOAD)
                total += interop_payload_n(f.bytes, f.n);
    }
    struct text t = text_in(a);
    proto_add_int(&t, 1, total);
    grpc_answer(w->call, (const uint8_t *)t.bytes, t.n, NULL, 0);
    free(w);
}

static void
empty(struct grpc_call *call)
{
    grpc_answer(call, NULL, 0, NULL, 0);
}

static bool
is(const char *path, const char *method)
{
    static const char service[] = "/grpc.testing.TestService/";
    return text_starts(path, service) && strcmp(path + sizeof service - 1, method) == 0;
}

static void
spawn(void (*fn)(void *arg), struct grpc_call *call, const struct grpc_request *in)
{
    struct work *w = malloc(sizeof *w);
    if (!w)
        abort();
    *w = (struct work){call, in};
    if (sched_spawn(fibers, fn, w))
        return;
    free(w);
    grpc_end(call, RESOURCE_EXHAUSTED, "too many calls", NULL, 0);
}

static void
on_call(void *arg, struct grpc_call *call, const struct grpc_request *in)
{
    (void)arg;
    if (is(in->path, "EmptyCall"))
        empty(call);
    else if (is(in->path, "UnaryCall") || is(in->path, "CacheableUnaryCall"))
        unary(call, in);
    else if (is(in->path, "StreamingOutputCall"))
        spawn(output, call, in);
    else if (is(in->path, "StreamingInputCall"))
        spawn(input, call, in);
    else if (is(in->path, "FullDuplexCall") || is(in->path, "HalfDuplexCall"))
        spawn(duplex, call, in);
    else
        grpc_end(call, UNIMPLEMENTED, "there is no such rpc", NULL, 0);
}

static bool
streams(void *arg, const char *path)
{
    (void)arg;
    return is(path, "StreamingInputCall") || is(path, "FullDuplexCall") ||
           is(path, "HalfDuplexCall");
}

/* All of a file, or nothing. */
static size_t
read_file(const char *path, uint8_t *bytes, size_t room)
{
    FILE *f = path ? fopen(path, "r") : NULL;
    size_t n = f ? fread(bytes, 1, room, f) : 0;
    if (f)
        fclose(f);
    return n;
}

int
main(int argc, char **argv)
{
    static const char *const services[] = {"grpc.testing.TestService", NULL};
    static uint8_t descriptors[1 << 20];
    if (argc < 2)
        return 2;
    struct arena *a = arena_new();
    struct loop *loop = loop_new();
    fibers = sched_new("fibers", 1000);
    struct grpc_tls tls = {0};
    if (argc > 5)
        tls = (struct grpc_tls){argv[3], argv[4], argv[5]};
    struct grpc_server_options o = {
        .listen = argv[1],
        .tls = argc > 5 ? &tls : NULL,
        .services = services,
        .descriptors = descriptors,
        .descriptors_n = read_file(argc > 2 ? argv[2] : NULL, descriptors, sizeof descriptors),
        .streams = streams,
        .on_call = on_call,
    };
    struct grpc_server *server;
    const char *why;
    if (grpc_serve(loop, &o, a, &server, &why)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    printf("%d\n", grpc_server_port(server));
    fflush(stdout);
    char line[32];
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "drain\n") == 0)
            grpc_server_drain(server, 10 * SECOND_US);
        else
            grpc_server_healthy(server, strcmp(line, "healthy\n") == 0);
        printf("done\n");
        fflush(stdout);
    }
    grpc_server_drain(server, SECOND_US);
    loop_free(loop);
    sched_free(fibers);
    arena_free(a);
    return 0;
}
