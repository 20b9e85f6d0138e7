#include "analytics/range.h"

#include <assert.h>

#include "base/text.h"
#include "base/time.h"

bool
range_read(struct arena *a, const char *from, const char *to, int64_t now_us, struct range *ret,
           const char **why)
{
    int64_t last_us = now_us - now_us % DAY_US, first_us;
    if (!text_empty(to) && !date_parse(to, &last_us)) {
        *why = arena_printf(a, "to: there is no day %s", to);
        return false;
    }
    first_us = last_us - (RANGE_DAYS_DEFAULT - 1) * DAY_US;
    if (!text_empty(from) && !date_parse(from, &first_us)) {
        *why = arena_printf(a, "from: there is no day %s", from);
        return false;
    }
    int64_t days = (last_us - first_us) / DAY_US + 1;
    if (days < 1 || days > RANGE_DAYS_MAX) {
        *why = days < 1 ? "from is behind to"
                        : arena_printf(a, "%lld days; %d at most", (long long)days, RANGE_DAYS_MAX);
        return false;
    }
    *ret = (struct range){date_format(a, first_us), date_format(a, last_us), first_us, days};
    return true;
}

int64_t
range_place(const struct range *range, const char *day)
{
    int64_t day_us = range->first_us;
    bool is_day = date_parse(day, &day_us);
    int64_t place = (day_us - range->first_us) / DAY_US;
    assert(is_day && place >= 0 && place < range->days);
    (void)is_day;
    return place;
}
