/* gRPC's server with peers that mean harm, or are none: raw frames. */
#include "net/grpc_test.h"
#include "net/hostile_test.h"

/* POST, http, the path, :authority a, content-type application/grpc (HPACK, static table). */
#define CALL(length, path)                                                                         \
    "\x83\x86\x44" length path "\x41\x01"                                                          \
    "a\x5f\x10"                                                                                    \
    "application/grpc"

static const char call_echo[] = CALL("\x09", "/t.T/Echo");
static const char call_hold[] = CALL("\x09", "/t.T/Hold");
static const char call_chat[] = CALL("\x09", "/t.T/Chat");

/* The raw client of net_test.h speaks to a gRPC server too. */
static struct world
peer_begin(struct place *p)
{
    place_begin(p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    return (struct world){.arena = p->arena, .port = grpc_server_port(p->server)};
}

/* Still serves others. */
static void
peer_end(struct place *p)
{
    struct grpc_reply out;
    check_int(ask(p, "/t.T/Echo", "fine", &out), OK);
    place_end(p);
}

static void
add_call(struct text *t, uint32_t id, int flags, const char *block, size_t n)
{
    add_frame(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | flags, id, block, n);
}

TEST(rapid_resets_of_calls_end_in_goaway_calm_down)
{
    struct place p;
    struct world w = peer_begin(&p);
    struct text t = hostile_begin(&w);
    for (uint32_t id = 1; id < 6000; id += 2) {
        add_call(&t, id, 0, call_hold, sizeof call_hold - 1);
        add_frame(&t, NGHTTP2_DATA, 1, id, "\0\0\0\0\0", 5);
        add_frame(&t, NGHTTP2_RST_STREAM, 0, id, "\0\0\0\x08", 4);
    }
    check_hostile(&w, &t, NGHTTP2_ENHANCE_YOUR_CALM);
    check(atomic_load(&p.seen) < 1200);

    t = hostile_begin(&w); /* the same, where we are made to reset (CVE-2025-8671) */
    for (uint32_t id = 1; id < 6000; id += 2) {
        add_call(&t, id, 0, call_hold, sizeof call_hold - 1);
        add_frame(&t, NGHTTP2_WINDOW_UPDATE, 0, id, "\x7f\xff\xff\xff", 4);
    }
    check_hostile(&w, &t, NGHTTP2_ENHANCE_YOUR_CALM);
    peer_end(&p);
}

TEST(floods_of_empty_frames_of_a_call_are_cut_off)
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
    struct place p;
    struct world w = peer_begin(&p);
    for (size_t i = 0; i < sizeof floods / sizeof floods[0]; i++) {
        struct text t = hostile_begin(&w);
        add_call(&t, 1, 0, call_chat, sizeof call_chat - 1);
        for (int j = 0; j < 5000; j++)
            add_frame(&t, floods[i].type, 0, floods[i].type == NGHTTP2_DATA, floods[i].payload,
                      floods[i].n);
        struct text heard = converse(&w, t.bytes, t.n);
        check(!memmem(heard.bytes, heard.n, "timeout", 7));
    }
    peer_end(&p);
}

TEST(a_flood_of_continuations_of_a_call_is_cut_off)
{
    struct place p;
    struct world w = peer_begin(&p);
    struct text t = hostile_begin(&w);
    add_frame(&t, NGHTTP2_HEADERS, 0, 1, call_hold, sizeof call_hold - 1);
    for (int i = 0; i < 20000; i++)
        add_frame(&t, NGHTTP2_CONTINUATION, 0, 1, "\x00\x01x\x01y", 5);
    struct text heard = converse(&w, t.bytes, t.n);
    check(!memmem(heard.bytes, heard.n, "timeout", 7));
    check_int(atomic_load(&p.seen), 0);
    peer_end(&p);
}

/* One field of 4,000 bytes, named again ten thousand times by a byte each. */
TEST(a_bomb_of_header_compression_is_reset_unread)
{
    struct place p;
    struct world w = peer_begin(&p);
    struct text t = hostile_begin(&w), block = text_in(w.arena);
    text_add_n(&block, call_echo, sizeof call_echo - 1);
    char *field = arena_alloc(w.arena, 4000);
    memset(field, 'x', 4000);
    text_add_n(&block, "\x40\x01n\x7f\xa1\x1e", 6); /* a new name, and 4,000 = 127 + 33 + 30·128 */
    text_add_n(&block, field, 4000);
    memset(field, '\xbe', 4000);
    for (int i = 0; i < 3; i++)
        text_add_n(&block, field, 4000);
    add_call(&t, 1, 0, block.bytes, block.n);
    check(reset_error(&w, &t, 1) >= 0);
    check_int(atomic_load(&p.seen), 0);
    peer_end(&p);
}

TEST(more_calls_than_streams_are_refused)
{
    struct place p;
    struct world w = peer_begin(&p);
    struct text t = hostile_begin(&w);
    for (uint32_t id = 1; id < 2 * 1010; id += 2)
        add_call(&t, id, 0, call_echo, sizeof call_echo - 1);
    check_int(reset_error(&w, &t, 2 * 1009 + 1), NGHTTP2_REFUSED_STREAM);
    check_int(atomic_load(&p.seen), 0);
    peer_end(&p);
}

/* Messages that begin and do not end take memory only so far. */
TEST(messages_that_do_not_end_are_refused_beyond_a_bound)
{
    enum { STREAMS = 10, PIECE = 16000, PIECES = 240 };
    struct place p;
    struct world w = peer_begin(&p);
    struct text t = hostile_begin(&w);
    uint8_t *piece = arena_alloc(w.arena, PIECE);
    piece[2] = 0x3f; /* announces 4,128,768 bytes */
    for (uint32_t id = 1; id < 2 * STREAMS; id += 2) {
        add_call(&t, id, 0, call_echo, sizeof call_echo - 1);
        for (int i = 0; i < PIECES; i++)
            add_frame(&t, NGHTTP2_DATA, 0, id, i ? piece + 8 : piece, PIECE - 8);
    }
    check_int(reset_error(&w, &t, 2 * STREAMS - 1), NGHTTP2_REFUSED_STREAM);
    check_int(atomic_load(&p.seen), 0);
    peer_end(&p);
}

/* Asks for much and gives no window: what waits is bounded, and the handlers hear of it. */
TEST(answers_that_nobody_reads_do_not_pile_up)
{
    struct place p;
    struct world w = peer_begin(&p);
    struct text t = text_in(w.arena);
    text_add(&t, NGHTTP2_CLIENT_MAGIC);
    add_frame(&t, NGHTTP2_SETTINGS, 0, 0, "\0\4\0\0\0\0", 6);
    static const char call_flood[] = CALL("\x0a", "/t.T/Flood");
    for (uint32_t id = 1; id < 2 * 100; id += 2) {
        add_call(&t, id, 0, call_flood, sizeof call_flood - 1);
        add_frame(&t, NGHTTP2_DATA, 1, id, "\0\0\0\0\0", 5);
    }
    int fd = dial(&w);
    say_n(fd, t.bytes, t.n);
    until(atomic_load(&p.seen) == 100);
    until(atomic_load(&p.cancelled) > 10); /* of a hundred, each with up to a MiB */
    close(fd);
    until(atomic_load(&p.cancelled) == 100);
    peer_end(&p);
}

/* ---- what is no gRPC ------------------------------------------------------------------------- */

/* The value of this field in what was heard, of any HEADERS; "" if it is not there. */
static const char *
field_heard(struct world *w, const struct text *heard, const char *name)
{
    nghttp2_hd_inflater *inflater;
    if (nghttp2_hd_inflate_new(&inflater) != 0)
        abort();
    const uint8_t *b = (const uint8_t *)heard->bytes;
    const char *value = "";
    for (size_t at = 0, n; at + FRAME_HEAD <= heard->n; at += FRAME_HEAD + n) {
        n = (size_t)b[at] << 16 | (size_t)b[at + 1] << 8 | b[at + 2];
        if (b[at + 3] != NGHTTP2_HEADERS || at + FRAME_HEAD + n > heard->n)
            continue;
        const uint8_t *in = b + at + FRAME_HEAD;
        for (size_t left = n; left > 0;) {
            nghttp2_nv nv;
            int flags = 0;
            ssize_t used = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, in, left, 1);
            if (used < 0)
                break;
            in += used;
            left -= (size_t)used;
            if ((flags & NGHTTP2_HD_INFLATE_EMIT) && nv.namelen == strlen(name) &&
                memcmp(nv.name, name, nv.namelen) == 0)
                value = arena_strndup(w->arena, (const char *)nv.value, nv.valuelen);
        }
        nghttp2_hd_inflate_end_headers(inflater);
    }
    nghttp2_hd_inflate_del(inflater);
    return value;
}

TEST(what_is_no_call_is_told_so)
{
    static const struct {
        const char *block;
        size_t n;
        const char *wanted;
    } rows[] = {
        {"\x83\x86\x44\x02/x\x41\x01"
         "a\x5f\x10"
         "application/json",
         27, "415"},
        {"\x83\x86\x44\x02/x\x41\x01"
         "a",
         9, "415"},
        {"\x82\x86\x44\x02/x\x41\x01"
         "a\x5f\x10"
         "application/grpc",
         27, "405"},
    };
    struct place p;
    struct world w = peer_begin(&p);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text t = hostile_begin(&w);
        add_call(&t, 1, NGHTTP2_FLAG_END_STREAM, rows[i].block, rows[i].n);
        add_frame(&t, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
        struct text heard = converse(&w, t.bytes, t.n);
        check_text(field_heard(&w, &heard, ":status"), rows[i].wanted);
    }
    static const char plain[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct text heard = converse(&w, plain, sizeof plain - 1);
    check_text(statuses(w.arena, &heard), "415");
    peer_end(&p);
}

/* What a call ends with, of which all was sent by raw frames: its trailers-only answer. */
TEST(calls_that_are_malformed_end_with_a_status)
{
    static const struct {
        const char *what, *data;
        size_t n;
        int flags, status;
        const char *extra;
        size_t extra_n;
    } rows[] = {
        {"nothing", "", 0, 1, UNIMPLEMENTED, "", 0},
        {"two", "\0\0\0\0\0\0\0\0\0\0", 10, 1, UNIMPLEMENTED, "", 0},
        {"cut off", "\0\0\0\0\2x", 6, 1, INTERNAL, "", 0},
        {"cut prefix", "\0\0", 2, 1, INTERNAL, "", 0},
        {"too large", "\0\377\0\0\0", 5, 0, RESOURCE_EXHAUSTED, "", 0},
        {"compressed", "\1\0\0\0\1x", 6, 1, INTERNAL, "", 0},
        {"gzip", "\1\0\0\0\1x", 6, 1, UNIMPLEMENTED, "\x00\x0dgrpc-encoding\x04gzip", 20},
        {"timeout", "\0\0\0\0\0", 5, 1, RESOURCE_EXHAUSTED, "\x00\x0cgrpc-timeout\x01x", 16},
        {"no base64", "\0\0\0\0\0", 5, 1, RESOURCE_EXHAUSTED, "\x00\x05x-bin\x01?", 9},
    };
    struct place p;
    struct world w = peer_begin(&p);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text t = hostile_begin(&w), block = text_in(w.arena);
        text_add_n(&block, call_echo, sizeof call_echo - 1);
        text_add_n(&block, rows[i].extra, rows[i].extra_n);
        add_call(&t, 1, 0, block.bytes, block.n);
        add_frame(&t, NGHTTP2_DATA, rows[i].flags, 1, rows[i].data, rows[i].n);
        add_frame(&t, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
        struct text heard = converse(&w, t.bytes, t.n);
        test_check_int(rows[i].what, (int)i, "status", atoi(field_heard(&w, &heard, "grpc-status")),
                       rows[i].status);
    }
    check_int(atomic_load(&p.seen), 0);
    peer_end(&p);
}

/* Its client only waits: the server ends it by its own clock, and tells the handler. */
TEST(a_call_whose_deadline_passes_is_ended_by_the_server)
{
    struct place p;
    struct world w = peer_begin(&p);
    struct text t = hostile_begin(&w), block = text_in(w.arena);
    static const char call_wait[] = CALL("\x09", "/t.T/Wait");
    text_add_n(&block, call_wait, sizeof call_wait - 1);
    text_add_n(&block,
               "\x00\x0cgrpc-timeout\x03"
               "20m",
               18);
    add_call(&t, 1, 0, block.bytes, block.n);
    add_frame(&t, NGHTTP2_DATA, 1, 1, "\0\0\0\0\0", 5);
    add_frame(&t, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    struct text heard = converse(&w, t.bytes, t.n);
    check_text(field_heard(&w, &heard, "grpc-status"), "4");
    until(atomic_load(&p.cancelled) == 1);
    peer_end(&p);
}

TEST(random_damage_to_calls_harms_nobody_else)
{
    struct place p;
    struct world w = peer_begin(&p);
    unsigned seed = 11;
    for (int i = 0; i < 1500; i++) {
        struct text t = hostile_begin(&w);
        for (uint32_t id = 1; id < 8; id += 2) {
            add_call(&t, id, 0, id == 3 ? call_chat : call_echo, sizeof call_echo - 1);
            add_frame(&t, NGHTTP2_DATA, id != 3, id, "\0\0\0\0\3abc", 8);
        }
        add_frame(&t, NGHTTP2_DATA, 1, 3, "\0\0\0\0\3abc", 8);
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
    peer_end(&p);
}
