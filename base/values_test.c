/* Ids, money and time: what base/ promises of values, case by case. */
#include "base/ids.h"
#include "base/money.h"
#include "base/time.h"
#include "test/test.h"

#define count_of(array) (sizeof(array) / sizeof(array)[0])

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
