/* interop_client TARGET: gRPC's interoperability cases against whoever serves there; one line each.
 */
#include "test/interop/interop.h"

#define SERVICE "/grpc.testing.TestService/"

struct client {
    struct grpc_channel *channel;
    struct arena *a;
    const char *wrong; /* of the case that runs, or NULL */
};

static void
want(struct client *w, bool holds, const char *what)
{
    if (!holds && !w->wrong)
        w->wrong = what;
}

#define WANT(claim) want(w, (claim), #claim)

static struct grpc_ask
ask_of(const char *path, const struct text *t)
{
    return (struct grpc_ask){.path = path,
                             .message = (const uint8_t *)(t && t->n ? t->bytes : ""),
                             .n = t ? t->n : 0,
                             .deadline_us = env.mono_us() + 20 * SECOND_US};
}

static struct text
simple_request(struct arena *a, size_t response_size, size_t payload_n)
{
    struct text t = text_in(a);
    proto_add_int(&t, RESPONSE_SIZE, response_size);
    interop_add_payload(&t, a, PAYLOAD, payload_n);
    return t;
}

static void
add_status(struct text *t, struct arena *a, int code, const char *why)
{
    struct text status = text_in(a);
    proto_add_int(&status, 1, (uint64_t)code);
    proto_add_bytes(&status, 2, why, strlen(why));
    proto_add_bytes(t, RESPONSE_STATUS, status.bytes, status.n);
}

/* Of StreamingOutputCallRequest: one answer of this size. */
static void
add_parameters(struct text *t, struct arena *a, size_t size)
{
    struct text one = text_in(a);
    proto_add_int(&one, 1, size);
    proto_add_bytes(t, RESPONSE_PARAMETERS, one.bytes, one.n);
}

static size_t
answer_n(const uint8_t *bytes, size_t n)
{
    struct proto_in in = proto_in(bytes, n);
    struct proto_field f;
    while (proto_next(&in, &f))
        if (f.number == ANSWER_PAYLOAD && f.bytes)
            return interop_payload_n(f.bytes, f.n);
    return 0;
}

static bool
has_pair(const struct grpc_pair *pairs, size_t n, const char *name, const char *value)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(pairs[i].name, name) == 0 && pairs[i].value_n == strlen(value) &&
            memcmp(pairs[i].value, value, pairs[i].value_n) == 0)
            return true;
    return false;
}

static void
empty_unary(struct client *w)
{
    struct grpc_ask in = ask_of(SERVICE "EmptyCall", NULL);
    struct grpc_reply out;
    WANT(grpc_unary(w->channel, w->a, &in, &out) == OK);
    WANT(out.n == 0);
}

static void
large_unary(struct client *w)
{
    struct text t = simple_request(w->a, 314159, 271828);
    struct grpc_ask in = ask_of(SERVICE "UnaryCall", &t);
    struct grpc_reply out;
    WANT(grpc_unary(w->channel, w->a, &in, &out) == OK);
    WANT(answer_n(out.message, out.n) == 314159);
}

static const struct grpc_pair custom[] = {
    {"x-grpc-test-echo-initial", "test_initial_metadata_value", 27},
    {"x-grpc-test-echo-trailing-bin", "\xab\xab\xab", 3},
};

static void
check_custom(struct client *w, const struct grpc_reply *out)
{
    WANT(has_pair(out->metadata, out->n_metadata, custom[0].name, custom[0].value));
    WANT(has_pair(out->trailers, out->n_trailers, custom[1].name, custom[1].value));
}

static void
custom_metadata(struct client *w)
{
    struct text t = simple_request(w->a, 314159, 271828);
    struct grpc_ask in = ask_of(SERVICE "UnaryCall", &t);
    in.metadata = custom;
    in.n_metadata = 2;
    struct grpc_reply out;
    WANT(grpc_unary(w->channel, w->a, &in, &out) == OK);
    check_custom(w, &out);
    t = text_in(w->a);
    add_parameters(&t, w->a, 314159);
    in.path = SERVICE "FullDuplexCall";
    in.message = (const uint8_t *)t.bytes;
    in.n = t.n;
    struct grpc_stream *s = grpc_open(w->channel, &in);
    grpc_stream_sent(s);
    WANT(grpc_stream_end(s, w->a, &out) == OK);
    check_custom(w, &out);
}

static void
status_of_both(struct client *w, const char *why)
{
    struct text t = text_in(w->a);
    add_status(&t, w->a, UNKNOWN, why);
    struct grpc_ask in = ask_of(SERVICE "UnaryCall", &t);
    struct grpc_reply out;
    WANT(grpc_unary(w->channel, w->a, &in, &out) == UNKNOWN);
    WANT(strcmp(out.why, why) == 0);
    in.path = SERVICE "FullDuplexCall";
    struct grpc_stream *s = grpc_open(w->channel, &in);
    grpc_stream_sent(s);
    WANT(grpc_stream_end(s, w->a, &out) == UNKNOWN);
    WANT(strcmp(out.why, why) == 0);
}

static void
status_code_and_message(struct client *w)
{
    status_of_both(w, "test status message");
}

static void
special_status_message(struct client *w)
{
    status_of_both(w, "\t\ntest with whitespace\r\nand Unicode BMP \xe2\x98\xba and non-BMP "
                      "\xf0\x9f\x98\x88\t\n");
}

static void
unimplemented_method(struct client *w)
{
    struct grpc_ask in = ask_of(SERVICE "UnimplementedCall", NULL);
    struct grpc_reply out;
    WANT(grpc_unary(w->channel, w->a, &in, &out) == UNIMPLEMENTED);
}

static void
unimplemented_service(struct client *w)
{
    struct grpc_ask in = ask_of("/grpc.testing.UnimplementedService/UnimplementedCall", NULL);
    struct grpc_reply out;
    WANT(grpc_unary(w->channel, w->a, &in, &out) == UNIMPLEMENTED);
}

static const size_t request_sizes[] = {27182, 8, 1828, 45904};
static const size_t answer_sizes[] = {31415, 9, 2653, 58979};
enum { N_SIZES = 4 };

static void
client_streaming(struct client *w)
{
    struct grpc_ask in = ask_of(SERVICE "StreamingInputCall", NULL);
    in.message = NULL;
    struct grpc_stream *s = grpc_open(w->channel, &in);
    for (int i = 0; i < N_SIZES; i++) {
        struct text t = text_in(w->a);
        interop_add_payload(&t, w->a, ANSWER_PAYLOAD, request_sizes[i]);
        WANT(grpc_stream_send(s, (const uint8_t *)t.bytes, t.n));
    }
    grpc_stream_sent(s);
    const uint8_t *message;
    size_t n;
    WANT(grpc_stream_next(s, &message, &n));
    struct text wanted = text_in(w->a);
    proto_add_int(&wanted, 1, 74922);
    if (!w->wrong)
        WANT(n == wanted.n && memcmp(message, wanted.bytes, n) == 0);
    struct grpc_reply out;
    WANT(grpc_stream_end(s, w->a, &out) == OK);
}

static void
server_streaming(struct client *w)
{
    struct text t = text_in(w->a);
    for (int i = 0; i < N_SIZES; i++)
        add_parameters(&t, w->a, answer_sizes[i]);
    struct grpc_ask in = ask_of(SERVICE "StreamingOutputCall", &t);
    struct grpc_stream *s = grpc_open(w->channel, &in);
    grpc_stream_sent(s);
    const uint8_t *message;
    size_t n;
    int i = 0;
    for (; grpc_stream_next(s, &message, &n); i++)
        WANT(i < N_SIZES && answer_n(message, n) == answer_sizes[i]);
    WANT(i == N_SIZES);
    struct grpc_reply out;
    WANT(grpc_stream_end(s, w->a, &out) == OK);
}

/* Sends one, and takes its answer. */
static void
ping(struct client *w, struct grpc_stream *s, int i)
{
    struct text t = text_in(w->a);
    add_parameters(&t, w->a, answer_sizes[i]);
    interop_add_payload(&t, w->a, PAYLOAD, request_sizes[i]);
    WANT(grpc_stream_send(s, (const uint8_t *)t.bytes, t.n));
    const uint8_t *message;
    size_t n;
    WANT(grpc_stream_next(s, &message, &n));
    if (!w->wrong)
        WANT(answer_n(message, n) == answer_sizes[i]);
}

static void
ping_pong(struct client *w)
{
    struct grpc_ask in = ask_of(SERVICE "FullDuplexCall", NULL);
    in.message = NULL;
    struct grpc_stream *s = grpc_open(w->channel, &in);
    for (int i = 0; i < N_SIZES; i++)
        ping(w, s, i);
    grpc_stream_sent(s);
    const uint8_t *message;
    size_t n;
    WANT(!grpc_stream_next(s, &message, &n));
    struct grpc_reply out;
    WANT(grpc_stream_end(s, w->a, &out) == OK);
}

static void
empty_stream(struct client *w)
{
    struct grpc_ask in = ask_of(SERVICE "FullDuplexCall", NULL);
    in.message = NULL;
    struct grpc_stream *s = grpc_open(w->channel, &in);
    grpc_stream_sent(s);
    const uint8_t *message;
    size_t n;
    WANT(!grpc_stream_next(s, &message, &n));
    struct grpc_reply out;
    WANT(grpc_stream_end(s, w->a, &out) == OK);
}

static void
cancel_after_begin(struct client *w)
{
    struct grpc_ask in = ask_of(SERVICE "StreamingInputCall", NULL);
    in.message = NULL;
    struct grpc_stream *s = grpc_open(w->channel, &in);
    grpc_stream_cancel(s);
    struct grpc_reply out;
    WANT(grpc_stream_end(s, w->a, &out) == CANCELLED);
}

static void
cancel_after_first_response(struct client *w)
{
    struct grpc_ask in = ask_of(SERVICE "FullDuplexCall", NULL);
    in.message = NULL;
    struct grpc_stream *s = grpc_open(w->channel, &in);
    ping(w, s, 0);
    grpc_stream_cancel(s);
    struct grpc_reply out;
    WANT(grpc_stream_end(s, w->a, &out) == CANCELLED);
}

static void
timeout_on_sleeping_server(struct client *w)
{
    struct text t = text_in(w->a);
    interop_add_payload(&t, w->a, PAYLOAD, 27182);
    struct grpc_ask in = ask_of(SERVICE "FullDuplexCall", &t);
    in.deadline_us = env.mono_us() + MILLISECOND_US;
    struct grpc_stream *s = grpc_open(w->channel, &in);
    struct grpc_reply out;
    WANT(grpc_stream_end(s, w->a, &out) == DEADLINE_EXCEEDED);
}

static const struct {
    const char *name;
    void (*run)(struct client *w);
} cases[] = {
    {"empty_unary", empty_unary},
    {"large_unary", large_unary},
    {"custom_metadata", custom_metadata},
    {"status_code_and_message", status_code_and_message},
    {"special_status_message", special_status_message},
    {"unimplemented_method", unimplemented_method},
    {"unimplemented_service", unimplemented_service},
    {"client_streaming", client_streaming},
    {"server_streaming", server_streaming},
    {"ping_pong", ping_pong},
    {"empty_stream", empty_stream},
    {"cancel_after_begin", cancel_after_begin},
    {"cancel_after_first_response", cancel_after_first_response},
    {"timeout_on_sleeping_server", timeout_on_sleeping_server},
};

int
main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    struct loop *loop = loop_new();
    struct grpc_tls tls = {0};
    if (argc > 4)
        tls = (struct grpc_tls){argv[2], argv[3], argv[4]};
    const struct grpc_channel_options o = {.target = argv[1], .tls = argc > 4 ? &tls : NULL};
    struct client w = {.channel = grpc_channel_new(loop, &o)};
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        w.a = arena_new();
        w.wrong = NULL;
        cases[i].run(&w);
        printf("%s: %s\n", cases[i].name, w.wrong ? w.wrong : "ok");
        wrong += w.wrong != NULL;
        arena_free(w.a);
    }
    grpc_channel_free(w.channel);
    loop_free(loop);
    return wrong > 0;
}
