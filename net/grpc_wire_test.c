/* gRPC's words: timeouts, base64, grpc-message, messages in pieces. */
#include "net/grpc_wire.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "net/internal.h"
#include "net/proto_wire.h"
#include "test/test.h"

TEST(timeouts_are_read_and_written)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t us;
    } rows[] = {
        {"1H", true, HOUR_US},
        {"2M", true, 2 * MINUTE_US},
        {"99999999S", true, 99999999 * SECOND_US},
        {"0m", true, 0},
        {"7m", true, 7000},
        {"00000001u", true, 1},
        {"1n", true, 1},
        {"1001n", true, 2},
        {"", false, 0},
        {"m", false, 0},
        {"1", false, 0},
        {"-1m", false, 0},
        {"1.5S", false, 0},
        {"100000000u", false, 0},
        {"1s", false, 0},
        {" 1m", false, 0},
        {"1m ", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t us = -1;
        bool ok = grpc_timeout_parse(rows[i].text, strlen(rows[i].text), &us);
        test_check_int("row", (int)i, rows[i].text, ok, rows[i].ok);
        test_check_int("row", (int)i, rows[i].text, us, rows[i].ok ? rows[i].us : -1);
    }
    static const struct {
        int64_t us;
        const char *text;
    } out[] = {
        {-5, "1u"},
        {1, "1u"},
        {99999999, "99999999u"},
        {100000000, "100000m"},
        {100000001, "100001m"},
        {99999999 * MILLISECOND_US + 1, "100000S"},
        {INT64_MAX, "99999999H"},
    };
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
        char text[GRPC_TIMEOUT_CHARS];
        grpc_timeout_format(out[i].us, text);
        check_text(text, out[i].text);
    }
}

TEST(base64_with_and_without_padding)
{
    static const struct {
        const char *bytes, *text, *padded;
    } rows[] = {
        {"", "", ""},
        {"f", "Zg", "Zg=="},
        {"fo", "Zm8", "Zm8="},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg", "Zm9vYg=="},
        {"\xff\xfe\xfb", "//77", "//77"},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n, wanted = strlen(rows[i].bytes);
        check_text(grpc_base64_encode(a, rows[i].bytes, wanted, &n), rows[i].text);
        check_int((int)n, (int)strlen(rows[i].text));
        const uint8_t *got = grpc_base64_decode(a, rows[i].text, strlen(rows[i].text), &n);
        check(got && n == wanted && memcmp(got, rows[i].bytes, n) == 0);
        got = grpc_base64_decode(a, rows[i].padded, strlen(rows[i].padded), &n);
        check(got && n == wanted && memcmp(got, rows[i].bytes, n) == 0);
    }
    static const char *const bad[] = {"Z", "Zg=", "Z===", "====", "Zm 8", "Zm-_", "Zg==Zg==", "="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t n;
        test_check_int("bad", (int)i, bad[i], !grpc_base64_decode(a, bad[i], strlen(bad[i]), &n),
                       1);
    }
    arena_free(a);
}

TEST(messages_of_failures_are_percent_encoded)
{
    static const struct {
        const char *why, *text;
    } rows[] = {
        {"plain, with ~!\"", "plain, with ~!\""},
        {"100%", "100%25"},
        {"\t\n\x7f", "%09%0A%7F"},
        {"\xc3\xa9\xf0\x9f\x98\x80", "%C3%A9%F0%9F%98%80"},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check_text(grpc_why_encode(a, rows[i].why), rows[i].text);
        check_text(grpc_why_decode(a, rows[i].text, strlen(rows[i].text)), rows[i].why);
    }
    static const struct {
        const char *text, *why;
    } odd[] = {
        {"%", "%"},       {"%4", "%4"},   {"%zz", "%zz"},         {"%41%", "A%"},
        {"a%00b", "a?b"}, {"%ff!", "?!"}, {"%c3%a9", "\xc3\xa9"},
    };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        check_text(grpc_why_decode(a, odd[i].text, strlen(odd[i].text)), odd[i].why);
    char *large = arena_alloc(a, 4000); /* cut between two characters */
    for (size_t i = 0; i < 3998; i += 2)
        memcpy(large + i, "\xc3\xa9", 2);
    large[0] = 'x';
    large[1] = 'y';
    check_int((int)strlen(grpc_why_encode(a, large)), 2 + 511 * 6);
    large[1] = '\xc3';
    memmove(large + 1, large + 2, 3990);
    check_int((int)strlen(grpc_why_encode(a, large)), 1 + 511 * 6);
    arena_free(a);
}

/* However the bytes are cut, the messages are the same. */
TEST(messages_are_put_together_from_any_pieces)
{
    static const uint8_t wire[] = "\0\0\0\0\0"
                                  "\0\0\0\0\3abc"
                                  "\0\0\0\0\1z";
    for (size_t piece = 1; piece <= sizeof wire - 1; piece++) {
        struct grpc_reader r = {0};
        char found[32] = "";
        for (size_t at = 0; at < sizeof wire - 1; at += piece) {
            const uint8_t *bytes = wire + at;
            size_t n = sizeof wire - 1 - at < piece ? sizeof wire - 1 - at : piece;
            while (n > 0) {
                struct chunk *message = NULL;
                if (grpc_read(&r, &bytes, &n, 3, &message) != GRPC_WHOLE)
                    continue;
                strncat(found, message->bytes, message->n);
                strcat(found, ";");
                free(message);
            }
        }
        check_text(found, ";abc;z;");
        check(grpc_reader_between(&r));
    }
    static const struct {
        const char *bytes;
        enum grpc_progress wanted;
    } rows[] = {{"\0\0\0\0\4", GRPC_TOO_LARGE},
                {"\0\377\377\377\377", GRPC_TOO_LARGE},
                {"\1\0\0\0\1", GRPC_COMPRESSED},
                {"\0\0\0\0\3", GRPC_MORE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct grpc_reader r = {0};
        const uint8_t *bytes = (const uint8_t *)rows[i].bytes;
        size_t n = 5;
        struct chunk *message;
        test_check_int("row", (int)i, "progress", grpc_read(&r, &bytes, &n, 3, &message),
                       rows[i].wanted);
        check(i != 3 || !grpc_reader_between(&r));
        grpc_reader_free(&r);
    }
}

TEST(metadata_that_comes_is_decoded_within_bounds)
{
    struct arena *a = arena_new();
    struct grpc_pairs p = {0};
#define ADD(name, value)                                                                           \
    grpc_pairs_add(&p, a, (const uint8_t *)(name), strlen(name), (const uint8_t *)(value),         \
                   strlen(value))
    ADD("grpc-status", "0");
    ADD("te", "trailers");
    ADD(":path", "/");
    check_int((int)p.n, 0);
    ADD("a", "b");
    ADD("x-bin", "AAE=,Ag");
    check_int((int)p.n, 3);
    check(p.list[1].value_n == 2 && p.list[2].value_n == 1 && p.list[2].value[0] == 2);
    check(!p.wrong);
    ADD("y-bin", "?");
    check(p.wrong);
    p = (struct grpc_pairs){0};
    for (int i = 0; i < GRPC_METADATA_MAX; i++)
        ADD("n", "1");
    check(!p.wrong);
    ADD("n", "1");
    check(p.wrong && p.n == GRPC_METADATA_MAX);
#undef ADD
    arena_free(a);
}

TEST(protocol_buffers_are_read_and_written)
{
    struct arena *a = arena_new();
    struct text t = text_in(a);
    proto_add_int(&t, 1, 300);
    proto_add_bytes(&t, 20, "abc", 3);
    text_add_n(&t, "\x2d\1\2\3\4\x31\1\2\3\4\5\6\7\10", 14); /* fixed32 5, fixed64 6 */
    struct proto_in in = proto_in(t.bytes, t.n);
    struct proto_field f;
    check(proto_next(&in, &f) && f.number == 1 && f.value == 300 && !f.bytes);
    check(proto_next(&in, &f) && f.number == 20 && f.n == 3 && memcmp(f.bytes, "abc", 3) == 0);
    check(proto_next(&in, &f) && f.number == 5 && f.n == 4);
    check(proto_next(&in, &f) && f.number == 6 && f.n == 8);
    check(!proto_next(&in, &f) && !in.broken);
    static const char *const bad[] = {
        "\x08", "\x0a\5abc", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x0b", "\x0d\1\2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        in = proto_in(bad[i], strlen(bad[i]));
        test_check_int("bad", (int)i, "next", proto_next(&in, &f), 0);
        check(in.broken);
    }
    arena_free(a);
}
