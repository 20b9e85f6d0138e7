/* gRPC: our server against our client. */
#include "net/grpc_test.h"

TEST(a_unary_call_is_answered)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_reply out;
    check_int(ask(&p, "/t.T/Echo", "hello", &out), OK);
    check_text(reply_text(&p, &out), "hello");
    check_int(ask(&p, "/t.T/Thread", "from a thread", &out), OK);
    check_text(reply_text(&p, &out), "from a thread");
    check_int(ask(&p, "/t.T/Echo", "", &out), OK);
    check_int((int)out.n, 0);
    check_int((int)grpc_channel_figures(p.channel).calls, 3);
    check_int((int)grpc_channel_figures(p.channel).connections, 1);
    check_int((int)grpc_channel_figures(p.channel).under_way, 0);
    place_end(&p);
}

TEST(each_status_and_its_message_come_across)
{
    static const char *const whys[] = {"", "short", "100 % größer als\n\t\"alles\" \x7f ✓",
                                       "a%41b"};
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_reply out;
    for (int st = CANCELLED; st <= UNAUTHENTICATED; st++)
        for (size_t i = 0; i < sizeof whys / sizeof whys[0]; i++) {
            const char *message = arena_printf(p.arena, "%c%s", st, whys[i]);
            test_check_int("status", st, whys[i], ask(&p, "/t.T/Fail", message, &out), st);
            check_text(out.why, whys[i]);
        }
    check_int(ask(&p, "/t.T/Nowhere", "", &out), UNIMPLEMENTED);
    check_text(out.why, "there is no such rpc");
    place_end(&p);
}

TEST(metadata_goes_both_ways_binary_too)
{
    static const struct grpc_pair pairs[] = {
        {"souk-request-id", "r 1, and \"more\"~", 16},
        {"bytes-bin", "\0\1\2\377\n", 5},
        {"empty-bin", "", 0},
        {"empty", "", 0},
        {"grpc-status-details-bin", "\10\5", 2},
        {"twice", "a", 1},
        {"twice", "b", 1},
    };
    enum { N = sizeof pairs / sizeof pairs[0] };
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_ask in = ask_of("/t.T/Pairs", "m");
    in.metadata = pairs;
    in.n_metadata = N;
    struct grpc_reply out;
    check_int(grpc_unary(p.channel, p.arena, &in, &out), OK);
    check_int((int)out.n_metadata, N);
    check_int((int)out.n_trailers, N);
    for (size_t i = 0; i < out.n_metadata && i < out.n_trailers && i < N; i++) {
        check_text(out.metadata[i].name, pairs[i].name);
        check(out.metadata[i].value_n == pairs[i].value_n &&
              memcmp(out.metadata[i].value, pairs[i].value, pairs[i].value_n) == 0);
        check(out.trailers[i].value_n == pairs[i].value_n &&
              memcmp(out.trailers[i].value, pairs[i].value, pairs[i].value_n) == 0);
    }
    place_end(&p);
}

/* What cannot go, or is too much, is refused before it is sent. */
TEST(metadata_that_cannot_go_is_refused)
{
    static const struct grpc_pair bad[] = {
        {"Capital", "x", 1}, {"line", "a\nb", 3},        {"grpc-timeout", "1S", 2},
        {":path", "/x", 2},  {"utf8", "\303\244", 2},    {"", "x", 1},
        {"te", "x", 1},      {"content-type", "x/y", 3},
    };
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_ask in = ask_of("/t.T/Echo", "m");
    struct grpc_reply out;
    in.n_metadata = 1;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        in.metadata = &bad[i];
        test_check_int("row", (int)i, bad[i].name, grpc_unary(p.channel, p.arena, &in, &out),
                       RESOURCE_EXHAUSTED);
    }
    static char large[GRPC_METADATA_BYTES_MAX + 1];
    memset(large, 'x', sizeof large);
    in.metadata = &(struct grpc_pair){"large", large, sizeof large};
    check_int(grpc_unary(p.channel, p.arena, &in, &out), RESOURCE_EXHAUSTED);
    struct grpc_pair many[GRPC_METADATA_MAX + 1];
    for (int i = 0; i <= GRPC_METADATA_MAX; i++)
        many[i] = (struct grpc_pair){"n", "1", 1};
    in.metadata = many;
    in.n_metadata = GRPC_METADATA_MAX + 1;
    check_int(grpc_unary(p.channel, p.arena, &in, &out), RESOURCE_EXHAUSTED);
    check_int(atomic_load(&p.seen), 0);
    place_end(&p);
}

TEST(messages_of_many_sizes_come_back_whole)
{
    static const size_t sizes[] = {1, 16378, 16379, 16384, 65530, 262144, 999999, 4194303, 4 << 20};
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    uint8_t *bytes = arena_alloc(p.arena, 4 << 20);
    for (size_t i = 0; i < 4 << 20; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 13));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct grpc_ask in = ask_of("/t.T/Thread", "");
        in.message = bytes;
        in.n = sizes[i];
        struct grpc_reply out;
        test_check_int("row", (int)i, "status", grpc_unary(p.channel, p.arena, &in, &out), OK);
        check(out.n == sizes[i] && memcmp(out.message, bytes, out.n) == 0);
    }
    place_end(&p);
}

TEST(a_message_beyond_the_limit_is_refused_on_either_side)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){.message_max = 1000},
                (struct grpc_channel_options){.message_max = 5000});
    char *bytes = arena_alloc(p.arena, 5002);
    memset(bytes, 'x', 5001);
    struct grpc_reply out;
    check_int(ask(&p, "/t.T/Echo", bytes, &out), RESOURCE_EXHAUSTED); /* ours */
    check_int(atomic_load(&p.seen), 0);
    bytes[1001] = '\0';
    check_int(ask(&p, "/t.T/Echo", bytes, &out), RESOURCE_EXHAUSTED); /* the server's */
    check_text(out.why, "the message is too large");
    check_int(atomic_load(&p.seen), 0);
    bytes[1000] = '\0';
    check_int(ask(&p, "/t.T/Echo", bytes, &out), OK);
    struct grpc_channel *whole = p.channel;
    struct grpc_channel *small = grpc_channel_new(
        p.loop, &(struct grpc_channel_options){.target = p.target, .message_max = 100});
    p.channel = small;
    check_int(ask(&p, "/t.T/Flood", "", &out), RESOURCE_EXHAUSTED); /* ours, of an answer */
    check_text(out.why, "the answer is too large");
    p.channel = whole;
    grpc_channel_free(small);
    place_end(&p);
}

TEST(a_call_ends_at_its_deadline_whatever_the_peer_does)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_reply out;
    check_int(ask(&p, "/t.T/Echo", "", &out), OK);
    struct grpc_ask in = ask_of("/t.T/Hold", "");
    in.deadline_us = env.mono_us() + 30 * MILLISECOND_US;
    check_int(grpc_unary(p.channel, p.arena, &in, &out), DEADLINE_EXCEEDED);
    check(env.mono_us() >= in.deadline_us);
    in.deadline_us = env.mono_us() - 1;
    check_int(grpc_unary(p.channel, p.arena, &in, &out), DEADLINE_EXCEEDED);
    until(calls_held(&p) == 1);
    until(grpc_cancelled(p.held[0])); /* by us, or by its own clock */
    release_calls(&p);
    check_int(ask(&p, "/t.T/Echo", "still there", &out), OK);
    place_end(&p);
}

TEST(the_handler_of_a_call_whose_deadline_passed_is_told)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_reply out;
    struct grpc_ask in = ask_of("/t.T/Wait", "");
    in.deadline_us = env.mono_us() + 30 * MILLISECOND_US;
    check_int(grpc_unary(p.channel, p.arena, &in, &out), DEADLINE_EXCEEDED);
    until(atomic_load(&p.cancelled) == 1);
    place_end(&p);
}

TEST(more_calls_than_the_channel_has_are_refused_at_once)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){.calls_max = 1});
    struct grpc_ask in = ask_of("/t.T/Chat", "");
    struct grpc_stream *s = grpc_open(p.channel, &in);
    struct grpc_reply out;
    check_int(ask(&p, "/t.T/Echo", "", &out), RESOURCE_EXHAUSTED);
    grpc_stream_sent(s);
    check_int(grpc_stream_end(s, p.arena, &out), OK);
    check_int(ask(&p, "/t.T/Echo", "", &out), OK);
    place_end(&p);
}

TEST(a_unix_socket_serves_too)
{
    struct place p;
    char listen[120];
    snprintf(listen, sizeof listen, "unix:%s/grpc.sock", test_dir());
    place_begin(&p, (struct grpc_server_options){.listen = listen},
                (struct grpc_channel_options){0});
    struct grpc_reply out;
    check_int(ask(&p, "/t.T/Who", "", &out), OK);
    check_text(reply_text(&p, &out), "unix ");
    place_end(&p);
}

TEST(a_name_is_resolved)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    char target[40];
    snprintf(target, sizeof target, "localhost:%d", grpc_server_port(p.server));
    struct grpc_channel *old = p.channel;
    p.channel = grpc_channel_new(p.loop, &(struct grpc_channel_options){.target = target});
    struct grpc_reply out;
    check_int(ask(&p, "/t.T/Who", "", &out), OK);
    check_text(reply_text(&p, &out), "127.0.0.1 ");
    grpc_channel_free(p.channel);
    p.channel = old;
    place_end(&p);
}

TEST(targets_that_cannot_be_used_say_why)
{
    static const char *const targets[] = {"nonsense", "host:99999",  ":80",
                                          "unix:",    "127.0.0.1:1", "no-such-host.invalid:80"};
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_channel *old = p.channel;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        p.channel = grpc_channel_new(p.loop, &(struct grpc_channel_options){.target = targets[i]});
        struct grpc_reply out;
        struct grpc_ask in = ask_of("/t.T/Echo", "");
        in.deadline_us = env.mono_us() + 200 * MILLISECOND_US;
        test_check_int("target", (int)i, targets[i], grpc_unary(p.channel, p.arena, &in, &out),
                       UNAVAILABLE);
        check(out.why[0]);
        grpc_channel_free(p.channel);
    }
    p.channel = old;
    place_end(&p);
}

/* ---- many messages --------------------------------------------------------------------------- */

TEST(many_messages_from_the_client_are_one_answer)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    static uint8_t bytes[70000];
    struct grpc_ask in = ask_of("/t.T/Sizes", "abc");
    struct grpc_stream *s = grpc_open(p.channel, &in);
    check(grpc_stream_send(s, bytes, 70000));
    check(grpc_stream_send(s, bytes, 0));
    check(grpc_stream_send(s, bytes, 1));
    grpc_stream_sent(s);
    const uint8_t *message;
    size_t n;
    check(grpc_stream_next(s, &message, &n));
    check_text(arena_strndup(p.arena, (const char *)message, n), "3 70000 0 1 ");
    check(!grpc_stream_next(s, &message, &n));
    struct grpc_reply out;
    check_int(grpc_stream_end(s, p.arena, &out), OK);

    in.message = NULL; /* and none at all */
    s = grpc_open(p.channel, &in);
    grpc_stream_sent(s);
    check(grpc_stream_next(s, &message, &n));
    check_int((int)n, 0);
    check_int(grpc_stream_end(s, p.arena, &out), OK);
    place_end(&p);
}

TEST(many_messages_from_the_server_come_in_order)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_ask in = ask_of("/t.T/Many", "\xc8");
    struct grpc_stream *s = grpc_open(p.channel, &in);
    grpc_stream_sent(s);
    const uint8_t *message;
    size_t n;
    int count = 0;
    while (grpc_stream_next(s, &message, &n))
        check(n == 1 && message[0] == count++);
    check_int(count, 200);
    struct grpc_reply out;
    check_int(grpc_stream_end(s, p.arena, &out), OK);
    place_end(&p);
}

/* More than all windows and queues hold goes to and fro; then nobody takes it for a while. */
TEST(a_chat_of_large_messages_does_not_stall)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    uint8_t *bytes = arena_alloc(p.arena, 1 << 20);
    struct grpc_ask in = ask_of("/t.T/Chat", "first");
    struct grpc_stream *s = grpc_open(p.channel, &in);
    const uint8_t *message;
    size_t n;
    check(grpc_stream_next(s, &message, &n));
    for (int i = 0; i < 30; i++) {
        bytes[0] = (uint8_t)i;
        check(grpc_stream_send(s, bytes, 1 << 20));
        check(grpc_stream_next(s, &message, &n));
        check(n == 1 << 20 && message[0] == i);
    }
    for (int i = 0; i < 4; i++)
        check(grpc_stream_send(s, bytes, 1 << 20));
    grpc_stream_sent(s);
    int count = 0;
    while (grpc_stream_next(s, &message, &n))
        count++;
    check_int(count, 4);
    struct grpc_reply out;
    check_int(grpc_stream_end(s, p.arena, &out), OK);
    place_end(&p);
}

TEST(a_stream_that_its_client_cancels_ends_on_both_sides)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_ask in = ask_of("/t.T/Flood", "");
    struct grpc_stream *s = grpc_open(p.channel, &in);
    grpc_stream_sent(s);
    const uint8_t *message;
    size_t n;
    usleep(50000); /* so that more comes than may wait */
    for (int i = 0; i < 200; i++)
        check(grpc_stream_next(s, &message, &n));
    grpc_stream_cancel(s);
    struct grpc_reply out;
    check_int(grpc_stream_end(s, p.arena, &out), CANCELLED);
    until(atomic_load(&p.cancelled) == 1);
    place_end(&p);
}

/* ---- health ---------------------------------------------------------------------------------- */

static int
health(struct place *p, const char *service, enum status *ret)
{
    const char *message =
        service[0] ? arena_printf(p->arena, "\n%c%s", (int)strlen(service), service) : "";
    struct grpc_reply out;
    *ret = ask(p, "/grpc.health.v1.Health/Check", message, &out);
    return *ret == OK && out.n == 2 && out.message[0] == 8 ? out.message[1] : -1;
}

TEST(health_says_what_it_was_told)
{
    static const char *const services[] = {"t.T", NULL};
    struct place p;
    place_begin(&p, (struct grpc_server_options){.services = services},
                (struct grpc_channel_options){0});
    enum status st;
    check_int(health(&p, "", &st), 1);
    check_int(health(&p, "t.T", &st), 1);
    check_int(health(&p, "t.U", &st), -1);
    check_int(st, NOT_FOUND);
    struct grpc_ask in = ask_of("/grpc.health.v1.Health/Watch", "\n\3t.T");
    struct grpc_stream *s = grpc_open(p.channel, &in);
    grpc_stream_sent(s);
    const uint8_t *message;
    size_t n;
    check(grpc_stream_next(s, &message, &n) && n == 2 && message[1] == 1);
    grpc_server_healthy(p.server, false);
    check(grpc_stream_next(s, &message, &n) && n == 2 && message[1] == 2);
    check_int(health(&p, "t.T", &st), 2);
    grpc_server_healthy(p.server, true);
    check(grpc_stream_next(s, &message, &n) && n == 2 && message[1] == 1);
    grpc_server_drain(p.server, 10 * SECOND_US); /* which does not wait for who watches */
    check(grpc_stream_next(s, &message, &n) && n == 2 && message[1] == 2);
    check(!grpc_stream_next(s, &message, &n));
    struct grpc_reply out;
    check_int(grpc_stream_end(s, p.arena, &out), UNAVAILABLE);
    place_end(&p);
}
