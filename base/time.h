/* Time as text.  Inside, time is UTC microseconds since 1970 in an int64_t. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

#define SECOND_US INT64_C(1000000)
#define MILLISECOND_US INT64_C(1000)
#define MINUTE_US (60 * SECOND_US)
#define HOUR_US (60 * MINUTE_US)
#define DAY_US (24 * HOUR_US)

/* "2026-11-22T12:00:00Z", with six decimals only where they are not zero (RFC 3339). */
const char *time_format(struct arena *a, int64_t time_us);
/* RFC 3339, any offset, to UTC.  False for anything else, leap seconds included. */
bool time_parse(const char *text, int64_t *ret_us);
/* "2026-11-22" for the UTC day. */
const char *date_format(struct arena *a, int64_t time_us);
bool date_parse(const char *text, int64_t *ret_us);
