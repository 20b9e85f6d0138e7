/* What base/ promises, case by case. */
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/env.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/text.h"
#include "test/test.h"

#define count_of(array) (sizeof(array) / sizeof(array)[0])

TEST(a_status_has_grpcs_name_and_https_twin)
{
    static const struct {
        enum status st;
        const char *name;
        int http;
    } cases[] = {
        {OK, "OK", 200},
        {INVALID_ARGUMENT, "INVALID_ARGUMENT", 400},
        {UNAUTHENTICATED, "UNAUTHENTICATED", 401},
        {PERMISSION_DENIED, "PERMISSION_DENIED", 403},
        {NOT_FOUND, "NOT_FOUND", 404},
        {ALREADY_EXISTS, "ALREADY_EXISTS", 409},
        {RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", 429},
        {UNAVAILABLE, "UNAVAILABLE", 503},
        {DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", 504},
        {(enum status)99, "UNKNOWN", 500},
        {(enum status) - 1, "UNKNOWN", 500},
    };
    for (size_t i = 0; i < count_of(cases); i++) {
        check_text(status_name(cases[i].st), cases[i].name);
        check_int(status_http(cases[i].st), cases[i].http);
    }
}

TEST(an_arena_gives_zeroed_memory_aligned_for_anything)
{
    struct arena *a = arena_new();
    for (size_t round = 0; round < 3; round++) {
        size_t asked = 0;
        for (size_t size = 0; size < 40000; size = size * 3 + 1) {
            unsigned char *p = arena_alloc(a, size);
            check((uintptr_t)p % 16 == 0);
            for (size_t i = 0; i < size; i++)
                if (p[i] != 0)
                    test_complain(__FILE__, __LINE__, "a byte is not zero");
            memset(p, 0xaa, size);
            asked += size;
        }
        check_int((long long)arena_used(a), (long long)asked);
        arena_reset(a);
        check_int((long long)arena_used(a), 0);
    }
    arena_free(a);
    arena_free(NULL);
}

TEST(allocations_of_an_arena_do_not_overlap)
{
    enum { PIECES = 500 };
    struct arena *a = arena_new();
    char *pieces[PIECES];
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = arena_alloc(a, i * 7 % 900);
        memset(pieces[i], (int)(i % 251), i * 7 % 900);
    }
    for (size_t i = 0; i < PIECES; i++)
        for (size_t j = 0; j < i * 7 % 900; j++)
            if ((unsigned char)pieces[i][j] != i % 251)
                test_complain(__FILE__, __LINE__, "a piece was written over");
    arena_free(a);
}

TEST(what_grows_keeps_what_it_holds)
{
    struct arena *a = arena_new();
    char *p = arena_grow(a, NULL, 0, 3);
    memcpy(p, "ab", 3);
    for (size_t n = 3; n < 100000; n = n * 2 + 1)
        p = arena_grow(a, p, n, n * 2 + 1);
    check_text(p, "ab");
    char *other = arena_strdup(a, "other");
    p = arena_grow(a, p, 3, 10); /* no longer the newest */
    check_text(p, "ab");
    check_text(other, "other");
    arena_free(a);
}

static char told[8];

static void
tell(void *letter)
{
    size_t n = strlen(told);
    told[n] = *(const char *)letter;
}

TEST(what_was_deferred_runs_newest_first)
{
    struct arena *a = arena_new();
    char letters[] = "abc";
    for (int i = 0; i < 3; i++)
        arena_defer(a, tell, &letters[i]);
    arena_reset(a);
    check_text(told, "cba");
    arena_defer(a, tell, &letters[1]);
    arena_free(a);
    check_text(told, "cbab");
}

TEST(an_arena_formats_and_copies_text)
{
    struct arena *a = arena_new();
    check_text(arena_printf(a, "%d %s", 7, "x"), "7 x");
    char *long_text = arena_printf(a, "%0300d", 1);
    check_int((long long)strlen(long_text), 300);
    check_text(arena_strdup(a, NULL), "");
    check_text(arena_strndup(a, "abcdef", 3), "abc");
    check_text(arena_strndup(a, "ab", 9), "ab");
    check(memcmp(arena_copy(a, "a\0b", 3), "a\0b", 3) == 0);
    arena_free(a);
}

TEST(text_grows_as_it_is_added_to)
{
    struct arena *a = arena_new();
    struct text t = text_in(a);
    check_text(t.bytes, "");
    text_add(&t, "n=");
    text_add_int(&t, INT64_MIN);
    text_add_char(&t, ',');
    text_printf(&t, "%s-%d", "x", 5);
    text_add_n(&t, "yz", 1);
    check_text(t.bytes, "n=-9223372036854775808,x-5y");
    for (int i = 0; i < 5000; i++)
        text_add(&t, "0123456789");
    check_int((long long)t.n, 27 + 50000);
    check_int((long long)strlen(t.bytes), (long long)t.n);
    arena_free(a);
}

TEST(json_strings_are_escaped)
{
    static const char *const cases[][2] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x1f", "\"\\u0001\\u001f\""},
        {"h\xc3\xa9 \xf0\x9f\x8e\x9f", "\"h\xc3\xa9 \xf0\x9f\x8e\x9f\""},
        {"</script>", "\"</script>\""},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < count_of(cases); i++) {
        struct text t = text_in(a);
        text_add_json(&t, cases[i][0]);
        check_text(t.bytes, cases[i][1]);
    }
    arena_free(a);
}

TEST(utf8_is_well_formed_as_unicodes_table_3_7_says)
{
    static const struct {
        const char *bytes;
        size_t n;
        bool valid;
    } cases[] = {
        {"", 0, true},
        {"a", 1, true},
        {"\x7f", 1, true},
        {"a\0b", 3, false}, /* NUL is ours to refuse */
        {"\x80", 1, false},
        {"\xbf", 1, false},
        {"\xc0\x80", 2, false},
        {"\xc1\xbf", 2, false},
        {"\xc2\x80", 2, true},
        {"\xdf\xbf", 2, true},
        {"\xc2", 1, false},
        {"\xc2\x7f", 2, false},
        {"\xc2\xc0", 2, false},
        {"\xe0\x9f\xbf", 3, false},
        {"\xe0\xa0\x80", 3, true},
        {"\xe1\x80\x80", 3, true},
        {"\xec\xbf\xbf", 3, true},
        {"\xed\x9f\xbf", 3, true},
        {"\xed\xa0\x80", 3, false}, /* a surrogate */
        {"\xed\xbf\xbf", 3, false},
        {"\xee\x80\x80", 3, true},
        {"\xef\xbf\xbf", 3, true},
        {"\xef\xbf", 2, false},
        {"\xe1\x80\x7f", 3, false},
        {"\xf0\x8f\xbf\xbf", 4, false},
        {"\xf0\x90\x80\x80", 4, true},
        {"\xf1\x80\x80\x80", 4, true},
        {"\xf3\xbf\xbf\xbf", 4, true},
        {"\xf4\x8f\xbf\xbf", 4, true},
        {"\xf4\x90\x80\x80", 4, false},
        {"\xf5\x80\x80\x80", 4, false},
        {"\xff", 1, false},
        {"\xf1\x80\x80", 3, false},
        {"\xf1\x80\x80\xc0", 4, false},
    };
    /* Each alone, and at every place of a word of ASCII. */
    for (size_t i = 0; i < count_of(cases); i++) {
        for (size_t before = 0; before < 20; before++) {
            char bytes[64];
            memset(bytes, 'x', sizeof bytes);
            memcpy(bytes + before, cases[i].bytes, cases[i].n);
            check(utf8_valid(bytes, before + cases[i].n + 10) == cases[i].valid);
            bool whole = utf8_valid(bytes, before + cases[i].n);
            check(whole == cases[i].valid);
        }
    }
    check_int((long long)utf8_length("h\xc3\xa9 \xf0\x9f\x8e\x9f"), 4);
    check_int((long long)utf8_length(""), 0);
}

TEST(integers_are_read_whole_or_not_at_all)
{
    static const struct {
        const char *text;
        bool valid;
        int64_t n;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"42", true, 42},
        {"-42", true, -42},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.0", false, 0},
        {"0x1", false, 0},
        {NULL, false, 0},
    };
    for (size_t i = 0; i < count_of(cases); i++) {
        int64_t n = -7;
        check(int_parse(cases[i].text, &n) == cases[i].valid);
        check_int(n, cases[i].valid ? cases[i].n : -7);
    }
}

TEST(base64url_goes_there_and_back_and_refuses_the_rest)
{
    static const char *const cases[][2] = {
        {"", ""},        {"f", "Zg"},        {"fo", "Zm8"},
        {"foo", "Zm9v"}, {"foob", "Zm9vYg"}, {"\xfb\xff", "-_8"},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < count_of(cases); i++) {
        const char *bytes = cases[i][0], *text = cases[i][1];
        size_t n = 99;
        check_text(base64url_encode(a, bytes, strlen(bytes)), text);
        char *back = base64url_decode(a, text, strlen(text), &n);
        check(back && n == strlen(bytes) && memcmp(back, bytes, n) == 0);
    }
    static const char *const malformed[] = {"Z",    "Zg==", "Zh",   "Zm9",
                                            "Zm+v", "Zm/v", "Zm 9", "Zm9vZ"};
    for (size_t i = 0; i < count_of(malformed); i++) {
        size_t n;
        check(base64url_decode(a, malformed[i], strlen(malformed[i]), &n) == NULL);
    }
    check_text(hex_encode(a, "\x00\xff\x1a", 3), "00ff1a");
    arena_free(a);
}

TEST(small_helpers_of_text)
{
    check(text_equal(NULL, "") && text_equal("a", "a") && !text_equal("a", NULL));
    check(text_empty(NULL) && text_empty("") && !text_empty(" "));
    check(text_starts("orders.x", "orders.") && !text_starts("orders", "orders.") &&
          text_starts("a", ""));
    check(secret_equal("abc", "abc", 3) && !secret_equal("abc", "abd", 3));
}

TEST(sha256_and_hmac_give_the_published_answers)
{
    struct arena *a = arena_new();
    uint8_t digest[SHA256_BYTES];
    sha256("abc", 3, digest); /* FIPS 180-4 */
    check_text(hex_encode(a, digest, sizeof digest),
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, digest); /* RFC 4231, case 2 */
    check_text(hex_encode(a, digest, sizeof digest),
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    check(hash64("", 0) == UINT64_C(0xcbf29ce484222325));
    check(hash64("a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
    arena_free(a);
}

TEST(no_two_splits_of_the_same_letters_share_a_digest)
{
    uint8_t one[SHA256_BYTES], two[SHA256_BYTES], three[SHA256_BYTES];
    sha256_parts((const char *const[]){"ab", "c"}, 2, one);
    sha256_parts((const char *const[]){"a", "bc"}, 2, two);
    sha256_parts((const char *const[]){"abc", ""}, 2, three);
    check(memcmp(one, two, sizeof one) != 0);
    check(memcmp(one, three, sizeof one) != 0);
    check(memcmp(two, three, sizeof one) != 0);
}

TEST(the_real_world_has_clocks_randomness_and_files)
{
    int64_t before_us = env.mono_us();
    check(env.mono_us() >= before_us);
    check(env.now_us() > INT64_C(1700000000000000));
    uint8_t one[16] = {0}, two[16] = {0};
    env.random(one, sizeof one);
    env.random(two, sizeof two);
    check(memcmp(one, two, sizeof one) != 0);
    check_int(env.file_open("/does/not/exist", 0, 0), -1);
    check(!env.single_thread);
}
