/* Ranges of days. */
#include "analytics/range.h"
#include "base/text.h"
#include "base/time.h"
#include "test/test.h"

TEST(a_range_is_read_as_it_is_asked_for)
{
    static const struct {
        const char *from, *to, *first, *last;
        int64_t days; /* 0: refused */
    } cases[] = {
        {"", "", "2026-10-24", "2026-11-22", 30},
        {"2026-11-22", "", "2026-11-22", "2026-11-22", 1},
        {"2026-11-01", "2026-11-03", "2026-11-01", "2026-11-03", 3},
        {"", "2024-03-01", "2024-02-01", "2024-03-01", 30},
        {"2026-11-23", "", "", "", 0},
        {"2026-11-03", "2026-11-01", "", "", 0},
        {"2025-11-22", "2026-11-22", "2025-11-22", "2026-11-22", 366},
        {"2025-11-21", "2026-11-22", "", "", 0},
        {"2026-02-29", "2026-03-01", "", "", 0},
        {"2026-02-01", "2026-13-01", "", "", 0},
        {"0000-00-00", "", "", "", 0},
    };
    int64_t now_us = 0;
    check(time_parse("2026-11-22T23:59:59Z", &now_us));
    struct arena *a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct range range = {.first = "", .last = ""};
        const char *why = "";
        bool read = range_read(a, cases[i].from, cases[i].to, now_us, &range, &why);
        check(read == (cases[i].days > 0));
        check(read || *why);
        check_text(range.first, cases[i].first);
        check_text(range.last, cases[i].last);
        check_int(range.days, cases[i].days);
        if (read) {
            check_int(range_place(&range, range.first), 0);
            check_int(range_place(&range, range.last), range.days - 1);
        }
    }
    arena_free(a);
}
