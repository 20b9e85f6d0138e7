/* HTTP/2 with peers that mean harm: raw frames. */
#include "net/hostile_test.h"

/* :method GET, :scheme http, :path /hold, :authority a (HPACK, static table). */
static const char get_echo[] = "\x82\x86\x44\x05/echo\x41\x01"
                               "a";
static const char get_hold[] = "\x82\x86\x44\x05/hold\x41\x01"
                               "a";

TEST(rapid_resets_end_in_goaway_calm_down)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct text t = hostile_begin(&w);
    for (uint32_t id = 1; id < 2000; id += 2) {
        add_frame(&t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, id, get_echo, sizeof get_echo - 1);
        add_frame(&t, NGHTTP2_RST_STREAM, 0, id, "\0\0\0\x08", 4);
    }
    check_hostile(&w, &t, NGHTTP2_ENHANCE_YOUR_CALM);
    check(atomic_load(&w.seen) < 200);

    /* The same, where we are made to reset: a window too wide (CVE-2025-8671). */
    t = hostile_begin(&w);
    for (uint32_t id = 1; id < 2000; id += 2) {
        add_frame(&t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, id, get_echo, sizeof get_echo - 1);
        add_frame(&t, NGHTTP2_WINDOW_UPDATE, 0, id, "\x7f\xff\xff\xff", 4);
    }
    check_hostile(&w, &t, NGHTTP2_ENHANCE_YOUR_CALM);
    world_end(&w);
}

TEST(floods_of_empty_frames_end_in_goaway_calm_down)
{
    static const struct {
        int type;
        const char *payload;
        size_t n;
    } floods[] = {
        {NGHTTP2_PING, "12345678", 8},
        {NGHTTP2_SETTINGS, "\0\3\0\0\0\x64", 6},
        {NGHTTP2_DATA, "", 0},
    };
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    for (size_t i = 0; i < sizeof floods / sizeof floods[0]; i++) {
        struct text t = hostile_begin(&w);
        bool of_stream = floods[i].type == NGHTTP2_DATA;
        if (of_stream)
            add_frame(&t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, get_hold,
                      sizeof get_hold - 1);
        for (int j = 0; j < 5000; j++)
            add_frame(&t, floods[i].type, 0, of_stream, floods[i].payload, floods[i].n);
        int fd = dial(&w);
        say_n(fd, t.bytes, t.n);
        struct text heard = hear_all(w.arena, fd);
        close(fd);
        /* nghttp2 itself drops a peer whose acknowledgements pile up, without a word. */
        check(!memmem(heard.bytes, heard.n, "timeout", 7));
        check(goaway_error(&heard) == NGHTTP2_ENHANCE_YOUR_CALM || floods[i].type == NGHTTP2_PING ||
              floods[i].type == NGHTTP2_SETTINGS);
    }
    world_end(&w);
}

TEST(a_flood_of_continuations_is_cut_off)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct text t = hostile_begin(&w);
    static const unsigned char literal[] = {0, 1, 'x', 0x7f, 0xfe, 0x7b}; /* of 15,997 bytes */
    char *block = arena_alloc(w.arena, 16000);
    memset(block, 'y', 16000);
    memcpy(block, literal, sizeof literal);
    add_frame(&t, NGHTTP2_HEADERS, 0, 1, get_hold, sizeof get_hold - 1);
    for (int i = 0; i < 2000; i++)
        add_frame(&t, NGHTTP2_CONTINUATION, 0, 1, block, 16000);
    struct text heard = converse(&w, t.bytes, t.n);
    check(!memmem(heard.bytes, heard.n, "timeout", 7));
    check_int(atomic_load(&w.seen), 0);
    world_end(&w);
}

TEST(broken_frames_end_the_connection)
{
    static const struct {
        int type, flags;
        uint32_t stream;
        int payload_n;
        const char *payload;
        int wanted;
    } rows[] = {
        {NGHTTP2_DATA, 0, 0, 1, "x", NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_DATA, 0, 1, 1, "x", NGHTTP2_PROTOCOL_ERROR}, /* idle */
        {NGHTTP2_HEADERS, 4, 0, sizeof get_hold - 1, get_hold, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_HEADERS, 4, 2, sizeof get_hold - 1, get_hold, NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_HEADERS, 4, 1, 6, "\xff\xff\xff\xff\xff\xff", NGHTTP2_COMPRESSION_ERROR},
        {NGHTTP2_HEADERS, 4, 1, 1, "\xbf", NGHTTP2_COMPRESSION_ERROR},
        {NGHTTP2_SETTINGS, 0, 0, 5, "12345", NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_SETTINGS, 0, 1, 0, "", NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_SETTINGS, 0, 0, 6, "\0\4\xff\xff\xff\xff", NGHTTP2_FLOW_CONTROL_ERROR},
        {NGHTTP2_PING, 0, 0, 7, "1234567", NGHTTP2_FRAME_SIZE_ERROR},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, 4, "\0\0\0\0", NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, 4, "\x7f\xff\xff\xff", NGHTTP2_FLOW_CONTROL_ERROR},
        {NGHTTP2_CONTINUATION, 4, 1, 0, "", NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_PUSH_PROMISE, 4, 1, 4, "\0\0\0\2", NGHTTP2_PROTOCOL_ERROR},
        {NGHTTP2_RST_STREAM, 0, 1, 4, "\0\0\0\x08", NGHTTP2_PROTOCOL_ERROR},
    };
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text t = hostile_begin(&w);
        add_frame(&t, rows[i].type, rows[i].flags, rows[i].stream, rows[i].payload,
                  (size_t)rows[i].payload_n);
        struct text heard = converse(&w, t.bytes, t.n);
        test_check_int("row", (int)i, "error", goaway_error(&heard), rows[i].wanted);
    }
    struct text t = text_in(w.arena);
    text_add(&t, NGHTTP2_CLIENT_MAGIC "this is no frame at all, is it?");
    struct text heard = converse(&w, t.bytes, t.n);
    check(!memmem(heard.bytes, heard.n, "timeout", 7));
    t = text_in(w.arena);
    text_add(&t, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    heard = converse(&w, t.bytes, t.n);
    check_text(statuses(w.arena, &heard), "505");
    world_end(&w);
}

/* What is said is a plausible session with a few bytes changed; sanitizers see what goes wrong. */
TEST(random_damage_harms_nobody_else)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    unsigned seed = 7;
    for (int i = 0; i < 1500; i++) {
        struct text t = hostile_begin(&w);
        for (uint32_t id = 1; id < 8; id += 2)
            add_frame(&t, NGHTTP2_HEADERS, 5, id, get_echo, sizeof get_echo - 1);
        add_frame(&t, NGHTTP2_PING, 0, 0, "12345678", 8);
        add_frame(&t, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
        size_t start = strlen(NGHTTP2_CLIENT_MAGIC);
        for (int j = 0; j < 1 + i % 4; j++) {
            seed = seed * 1103515245 + 12345;
            t.bytes[start + (seed >> 8) % (t.n - start)] = (char)(seed >> 24);
        }
        int fd = dial(&w);
        say_n(fd, t.bytes, t.n);
        shutdown(fd, SHUT_WR);
        hear_all(w.arena, fd);
        close(fd);
    }
    static const char ask[] = "GET /echo HTTP/1.0\r\n\r\n";
    struct text t = converse(&w, ask, sizeof ask - 1);
    check_text(statuses(w.arena, &t), "200");
    world_end(&w);
}

TEST(a_name_in_capitals_is_malformed)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct text t = hostile_begin(&w), block = text_in(w.arena);
    text_add_n(&block, get_hold, sizeof get_hold - 1);
    text_add_n(&block, "\x00\x01X\x01y", 5);
    add_frame(&t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1,
              block.bytes, block.n);
    check_int(reset_error(&w, &t, 1), NGHTTP2_PROTOCOL_ERROR);
    check_int(atomic_load(&w.seen), 0);
    world_end(&w);
}

TEST(more_streams_than_allowed_are_refused)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct text t = hostile_begin(&w);
    char upload[] = "\x83\x86\x44\x05/echo\x41\x01"
                    "a"; /* a POST that does not end */
    for (uint32_t id = 1; id < 2 * 150; id += 2)
        add_frame(&t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, id, upload, sizeof upload - 1);
    check_int(reset_error(&w, &t, 299), NGHTTP2_REFUSED_STREAM);
    check_int(atomic_load(&w.seen), 0);
    world_end(&w);
}
