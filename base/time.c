#include "base/time.h"

#include <stdio.h>
#include <string.h>

static int64_t days_of(int64_t year, int month, int day);
static void date_of(int64_t days, int64_t *year, int *month, int *day);
static int days_in_month(int year, int month);
static int64_t floor_div(int64_t a, int64_t b);
static bool take_digits(const char **p, int n, int *ret);
static bool take_char(const char **p, char c);
static bool take_date(const char **p, int64_t *ret_days);
static bool take_clock(const char **p, int64_t *ret_us);
static bool take_offset(const char **p, int64_t *ret_us);

const char *
time_format(struct arena *a, int64_t time_us)
{
    int64_t days = floor_div(time_us, DAY_US), rest = time_us - days * DAY_US, year;
    int month, day;
    date_of(days, &year, &month, &day);

    int seconds = (int)(rest / SECOND_US), fraction = (int)(rest % SECOND_US);
    char tail[12] = "Z";
    if (fraction != 0)
        snprintf(tail, sizeof tail, ".%06dZ", fraction);
    return arena_printf(a, "%04lld-%02d-%02dT%02d:%02d:%02d%s", (long long)year, month, day,
                        seconds / 3600, seconds / 60 % 60, seconds % 60, tail);
}

bool
time_parse(const char *text, int64_t *ret_us)
{
    const char *p = text ? text : "";
    int64_t days, clock_us, offset_us;
    if (!take_date(&p, &days) || !(take_char(&p, 'T') || take_char(&p, 't')) ||
        !take_clock(&p, &clock_us) || !take_offset(&p, &offset_us) || *p)
        return false;
    *ret_us = days * DAY_US + clock_us - offset_us;
    return true;
}

const char *
date_format(struct arena *a, int64_t time_us)
{
    int64_t year;
    int month, day;
    date_of(floor_div(time_us, DAY_US), &year, &month, &day);
    return arena_printf(a, "%04lld-%02d-%02d", (long long)year, month, day);
}

bool
date_parse(const char *text, int64_t *ret_us)
{
    const char *p = text ? text : "";
    int64_t days;
    if (!take_date(&p, &days) || *p)
        return false;
    *ret_us = days * DAY_US;
    return true;
}

/* Days since 1970-01-01 in the Gregorian calendar, and back: years are counted from March, so that
 * a leap day is the last of its year (Howard Hinnant, "chrono-compatible low-level date
 * algorithms"). */
static int64_t
days_of(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = floor_div(year, 400), year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void
date_of(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    int64_t era = floor_div(days, 146097), day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t from_march = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * from_march + 2) / 5 + 1);
    *month = (int)(from_march < 10 ? from_march + 3 : from_march - 9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

static int
days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

static int64_t
floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Exactly n digits. */
static bool
take_digits(const char **p, int n, int *ret)
{
    int number = 0;
    for (int i = 0; i < n; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return false;
        number = number * 10 + (**p - '0');
    }
    *ret = number;
    return true;
}

static bool
take_char(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static bool
take_date(const char **p, int64_t *ret_days)
{
    int year, month, day;
    if (!take_digits(p, 4, &year) || !take_char(p, '-') || !take_digits(p, 2, &month) ||
        !take_char(p, '-') || !take_digits(p, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    *ret_days = days_of(year, month, day);
    return true;
}

/* "12:00:00" or "12:00:00.25"; what is finer than a microsecond is cut off. */
static bool
take_clock(const char **p, int64_t *ret_us)
{
    int hours, minutes, seconds;
    if (!take_digits(p, 2, &hours) || !take_char(p, ':') || !take_digits(p, 2, &minutes) ||
        !take_char(p, ':') || !take_digits(p, 2, &seconds))
        return false;
    if (hours > 23 || minutes > 59 || seconds > 59)
        return false;

    int64_t us = ((int64_t)hours * 60 + minutes) * MINUTE_US + seconds * SECOND_US;
    if (take_char(p, '.')) {
        int digit;
        int64_t worth = SECOND_US / 10;
        if (!take_digits(p, 1, &digit))
            return false;
        us += digit * worth;
        while (take_digits(p, 1, &digit)) {
            worth /= 10;
            us += digit * worth;
        }
    }
    *ret_us = us;
    return true;
}

static bool
take_offset(const char **p, int64_t *ret_us)
{
    *ret_us = 0;
    if (take_char(p, 'Z') || take_char(p, 'z'))
        return true;
    int64_t sign = **p == '-' ? -1 : 1;
    int hours, minutes;
    if (!(take_char(p, '+') || take_char(p, '-')) || !take_digits(p, 2, &hours) ||
        !take_char(p, ':') || !take_digits(p, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_us = sign * ((int64_t)hours * 60 + minutes) * MINUTE_US;
    return true;
}
