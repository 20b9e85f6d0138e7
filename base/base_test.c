/* What base/ promises, case by case. */
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/env.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/money.h"
#include "base/status.h"
#include "base/text.h"
#include "base/time.h"
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

TEST(ids_sort_by_when_they_were_made)
{
    struct arena *a = arena_new();
    const int64_t now_us = INT64_C(1795305600123456);
    const char *last = id_make(a, "ord", 0);
    for (int64_t later_us = MILLISECOND_US; later_us < 300 * 365 * DAY_US; later_us *= 3) {
        const char *id = id_make(a, "ord", later_us);
        check(id_valid("ord", id));
        check(strcmp(last, id) < 0);
        last = id;
    }
    const char *id = id_make(a, "ord", now_us);
    check_int((long long)strlen(id), 3 + 1 + ID_BODY_CHARS);
    check_int(id_time_us(id), now_us / 1000 * 1000);
    check(strcmp(id, id_make(a, "ord", now_us)) != 0);
    arena_free(a);
}

TEST(a_derived_id_is_always_the_same_and_keeps_the_time)
{
    struct arena *a = arena_new();
    const char *from = id_make(a, "req", INT64_C(1795305600123000));
    const char *id = id_derive(a, "ord", from, "order");
    check_text(id_derive(a, "ord", from, "order"), id);
    check_int(id_time_us(id), INT64_C(1795305600123000));
    check(id_valid("ord", id));
    check(strcmp(id + 4, id_derive(a, "pay", from, "order") + 4) != 0);
    check(strcmp(id, id_derive(a, "ord", from, "orders")) != 0);
    check(strcmp(id, id_derive(a, "ord", from, NULL)) != 0);
    check_int(id_time_us(id_derive(a, "usr", "ada@example.org", NULL)), 0);
    arena_free(a);
}

TEST(what_is_no_id_of_ours_is_told_apart)
{
    static const char *const none[] = {
        "",
        "ord",
        "ord_",
        "ord_01j",
        "ord_8zzzzzzzzzzzzzzzzzzzzzzzzz",  /* more than 128 bits */
        "ord_01j00000000000000000000000x", /* too long */
        "ord_01J00000000000000000000000",  /* upper case */
        "ord_01i00000000000000000000000",  /* i, l, o and u are no digits */
        "_01j00000000000000000000000",
        "usr_01j00000000000000000000000",
    };
    for (size_t i = 0; i < count_of(none); i++)
        check(!id_valid("ord", none[i]));
    check(!id_valid("ord", NULL));
    check(id_valid("ord", "ord_01j00000000000000000000000"));
    for (size_t i = 0; i + 1 < count_of(none); i++)
        check_int(id_time_us(none[i]), -1);
    check_int(id_time_us(NULL), -1);
}

TEST(currencies_have_iso_4217s_exponents)
{
    static const struct {
        const char *code;
        int exponent;
    } cases[] = {
        {"EUR", 2},  {"USD", 2},   {"GBP", 2},  {"CHF", 2},  {"ZWG", 2},  {"AED", 2},
        {"XCG", 2},  {"JPY", 0},   {"KRW", 0},  {"ISK", 0},  {"BIF", 0},  {"XPF", 0},
        {"UYI", 0},  {"KWD", 3},   {"BHD", 3},  {"TND", 3},  {"CLF", 4},  {"UYW", 4},
        {"XXX", -1}, {"XAU", -1},  {"XTS", -1}, {"DEM", -1}, {"HRK", -1}, {"eur", -1},
        {"EU", -1},  {"EURO", -1}, {"", -1},    {"R U", -1}, {"D A", -1},
    };
    for (size_t i = 0; i < count_of(cases); i++)
        check_int(currency_exponent(cases[i].code), cases[i].exponent);
    check_int(currency_exponent(NULL), -1);
}

TEST(money_is_read_and_written_exactly)
{
    static const struct {
        const char *text, *currency;
        int64_t minor; /* -1: refused */
        const char *back;
    } cases[] = {
        {"42.99", "EUR", 4299, "42.99"},
        {"42.9", "EUR", 4290, "42.90"},
        {"42", "EUR", 4200, "42.00"},
        {"0.05", "EUR", 5, "0.05"},
        {"0", "EUR", 0, "0.00"},
        {"042.99", "EUR", 4299, "42.99"},
        {"500", "JPY", 500, "500"},
        {"1.234", "KWD", 1234, "1.234"},
        {"0.0001", "CLF", 1, "0.0001"},
        {"90071992547409.91", "EUR", MONEY_MINOR_MAX, "90071992547409.91"},
        {"90071992547409.92", "EUR", -1, NULL},
        {"9007199254740991", "EUR", -1, NULL},
        {"99999999999999999999999", "JPY", -1, NULL},
        {"500.0", "JPY", -1, NULL},
        {"1.999", "EUR", -1, NULL},
        {"-1", "EUR", -1, NULL},
        {"+1", "EUR", -1, NULL},
        {"", "EUR", -1, NULL},
        {".5", "EUR", -1, NULL},
        {"5.", "EUR", -1, NULL},
        {"1,5", "EUR", -1, NULL},
        {"1.5 ", "EUR", -1, NULL},
        {"1e3", "EUR", -1, NULL},
        {"1.2.3", "KWD", -1, NULL},
        {"1", "XXX", -1, NULL},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < count_of(cases); i++) {
        int64_t minor = -1;
        check(money_parse(cases[i].text, cases[i].currency, &minor) == (cases[i].minor >= 0));
        check_int(minor, cases[i].minor);
        if (cases[i].back)
            check_text(money_format(a, minor, cases[i].currency), cases[i].back);
    }
    check_text(money_format(a, -5, "EUR"), "-0.05");
    arena_free(a);
}

TEST(money_never_overflows)
{
    int64_t sum = -7;
    check(money_add(1, 2, &sum) && sum == 3);
    check(money_times(450, 3, &sum) && sum == 1350);
    check(money_times(450, 0, &sum) && sum == 0);
    sum = -7;
    check(!money_add(MONEY_MINOR_MAX, 1, &sum));
    check(!money_add(1, -2, &sum));
    check(!money_add(INT64_MAX, INT64_MAX, &sum));
    check(!money_times(MONEY_MINOR_MAX, 2, &sum));
    check(!money_times(INT64_MAX, INT64_MAX, &sum));
    check(!money_times(-1, 2, &sum));
    check_int(sum, -7);
}

TEST(time_is_read_and_written_as_rfc_3339)
{
    static const struct {
        const char *text;
        int64_t time_us;
        const char *back;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0, NULL},
        {"2026-11-22T12:00:00Z", INT64_C(1795348800000000), NULL},
        {"2000-02-29T23:59:59Z", INT64_C(951868799000000), NULL},
        {"1969-12-31T23:59:59.999999Z", -1, NULL},
        {"0001-01-01T00:00:00Z", INT64_C(-62135596800000000), NULL},
        {"9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999), NULL},
        {"2026-11-22T12:00:00.000001Z", INT64_C(1795348800000001), NULL},
        {"2026-11-22T12:00:00.5Z", INT64_C(1795348800500000), "2026-11-22T12:00:00.500000Z"},
        {"2026-11-22T12:00:00.0000019Z", INT64_C(1795348800000001), "2026-11-22T12:00:00.000001Z"},
        {"2026-11-22t12:00:00z", INT64_C(1795348800000000), "2026-11-22T12:00:00Z"},
        {"2026-11-22T13:30:00+01:30", INT64_C(1795348800000000), "2026-11-22T12:00:00Z"},
        {"2026-11-21T22:00:00-14:00", INT64_C(1795348800000000), "2026-11-22T12:00:00Z"},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < count_of(cases); i++) {
        int64_t time_us = -7;
        check(time_parse(cases[i].text, &time_us));
        check_int(time_us, cases[i].time_us);
        check_text(time_format(a, time_us), cases[i].back ? cases[i].back : cases[i].text);
    }
    arena_free(a);
}

TEST(every_day_of_eight_centuries_goes_there_and_back)
{
    struct arena *a = arena_new();
    for (int64_t day = -146097; day <= 146097; day++) {
        int64_t back;
        const char *text = date_format(a, day * DAY_US + DAY_US - 1);
        if (!date_parse(text, &back) || back != day * DAY_US)
            test_complain(__FILE__, __LINE__, text);
        if (day % 1024 == 0)
            arena_reset(a);
    }
    arena_free(a);
}

TEST(what_is_no_time_is_refused)
{
    static const char *const none[] = {
        "",
        "2026-11-22",
        "2026-11-22T12:00:00",
        "2026-11-22 12:00:00Z",
        "2026-11-22T12:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T12:60:00Z",
        "2026-12-31T23:59:60Z", /* a leap second */
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-11-22T12:00:00.Z",
        "2026-11-22T12:00:00+0100",
        "2026-11-22T12:00:00+24:00",
        "2026-11-22T12:00:00ZZ",
        "26-11-22T12:00:00Z",
        "-026-11-22T12:00:00Z",
    };
    int64_t time_us = -7;
    for (size_t i = 0; i < count_of(none); i++)
        check(!time_parse(none[i], &time_us));
    check(!time_parse(NULL, &time_us));
    check(!date_parse("2026-11-22T12:00:00Z", &time_us));
    check(!date_parse("2026-2-03", &time_us));
    check_int(time_us, -7);
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
